"""`ResiftRerank`: what becomes of documents, row by row of what reranking in LangChain has to get right."""

import asyncio
import copy
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ValidationError

import resift
from langchain_resift import ResiftRerank
from resift.testing import FakeRanker

QUERY = "what is a panda?"

Compress = Callable[..., list[Document]]


class Chunk(Document):
    """A document of somebody else's own kind."""

    page: int = 0


def number(_query: str, text: str, _instruction: str | None) -> float:
    """Score a text by the number that it begins with."""
    return float(text.split(" ", 1)[0])


def ranker(**settings: Any) -> FakeRanker:
    """Return a ranker that goes by the numbers in the texts."""
    return FakeRanker(scorer=number, **settings)


def documents(*texts: str) -> list[Document]:
    """Return documents that know their position."""
    return [Document(text, metadata={"at": at}, id=f"id-{at}") for at, text in enumerate(texts)]


def positions(found: Sequence[Document]) -> list[int]:
    """Return where documents came from."""
    return [document.metadata["at"] for document in found]


def scores(found: Sequence[Document], key: str = "relevance_score") -> list[Any]:
    """Return what stands in the documents' metadata."""
    return [document.metadata.get(key) for document in found]


def compress(rerank: ResiftRerank, *given: Any, **options: Any) -> list[Document]:
    return rerank.compress_documents(*given, **options)


def acompress(rerank: ResiftRerank, *given: Any, **options: Any) -> list[Document]:
    return asyncio.run(rerank.acompress_documents(*given, **options))


both_ways = pytest.mark.parametrize("ask", [compress, acompress])


# what goes in


@both_ways
def test_l1_no_documents_cost_nothing(ask: Compress) -> None:
    """No documents are no documents: no ranker is asked, no model is opened, whatever the query."""
    fake = ranker()

    assert ask(ResiftRerank(ranker=fake), [], QUERY) == []
    assert ask(ResiftRerank(model="nobody/nothing"), (), " ") == []
    assert ask(ResiftRerank(base_url="http://127.0.0.1:9", top_n=3), [], QUERY) == []
    assert fake.asked == []


@both_ways
def test_l2_what_was_handed_in_stays(ask: Compress) -> None:
    """Documents come back as copies with metadata of their own; those that were handed in stay as they are."""
    nested = {"tags": ["a"]}
    given = [Document("1 a", metadata={"nested": nested, "relevance_score": 0.5}), Document("2 b", metadata={})]
    before = copy.deepcopy(given)

    found = ask(ResiftRerank(ranker=ranker(), keep_retrieval_score=True), given, QUERY)

    assert given == before
    assert all(new is not old and new.metadata is not old.metadata for new, old in zip(found[::-1], given, strict=True))
    assert found[1].metadata["nested"] is nested  # values are shared, not copied in depth
    assert found[1].metadata == {"nested": nested, "retrieval_score": 0.5, "relevance_score": 1.0}


@both_ways
def test_l2_a_failure_leaves_documents_alone_too(ask: Compress) -> None:
    """Documents that are passed on as they came are copies as well."""
    given = documents("1 a", "2 b")
    before = copy.deepcopy(given)
    fake = ranker(fails=[resift.EndpointUnavailable("down")])

    found = ask(ResiftRerank(ranker=fake, on_error="pass"), given, QUERY)

    assert given == before
    assert all(new is not old and new.metadata is not old.metadata for new, old in zip(found, given, strict=True))


@both_ways
def test_l3_documents_keep_what_they_are(ask: Compress) -> None:
    """Ids, types and the fields of others' own kinds of documents come back."""
    given = [Document("1 a", id="first"), Chunk(page_content="2 b", id="second", page=7)]

    found = ask(ResiftRerank(ranker=ranker()), given, QUERY)

    assert [document.id for document in found] == ["second", "first"]
    assert [document.type for document in found] == ["Document", "Document"]
    assert isinstance(found[0], Chunk)
    assert found[0].page == 7
    assert type(found[1]) is Document


@both_ways
def test_l4_scores_are_plain_numbers(ask: Compress) -> None:
    """A score is Python's float, whatever the ranker returns, so that documents can be written as JSON."""

    def numpys(query: str, text: str, instruction: str | None) -> Any:
        return np.float32(number(query, text, instruction))

    (found,) = ask(ResiftRerank(ranker=FakeRanker(scorer=numpys)), documents("1.5 a"), QUERY)

    assert type(found.metadata["relevance_score"]) is float
    assert json.loads(found.model_dump_json())["metadata"]["relevance_score"] == 1.5


# scores


@both_ways
def test_l5_the_score_goes_where_it_is_wanted(ask: Compress) -> None:
    """`score_key` names the place of the score; what stands elsewhere in the metadata stays."""
    given = [Document("1 a", metadata={"relevance_score": "high", "score": 0.1})]

    (found,) = ask(ResiftRerank(ranker=ranker(), score_key="score"), given, QUERY)

    assert found.metadata == {"relevance_score": "high", "score": 1.0}


@pytest.mark.parametrize(("keep", "key"), [(True, "retrieval_score"), ("vector_score", "vector_score")])
def test_l5_an_earlier_score_is_kept_if_wanted(keep: bool | str, key: str) -> None:  # noqa: FBT001 - a setting's value
    """`keep_retrieval_score` moves the score that was there, and adds nothing where there was none."""
    given = [Document("1 a", metadata={"relevance_score": 0.0}), Document("2 b"), Document("3 c")]
    given[2].metadata["relevance_score"] = None

    found = compress(ResiftRerank(ranker=ranker(), keep_retrieval_score=keep), given, QUERY)

    assert [document.metadata for document in found] == [
        {"relevance_score": 3.0},
        {"relevance_score": 2.0},
        {"relevance_score": 1.0, key: 0.0},
    ]


def test_l5_reranking_twice_leaves_no_litter() -> None:
    """Documents that are reranked twice have the score of their retrieval and the last one, and nothing else."""
    given = [Document("1 a", metadata={"relevance_score": 0.25})]
    first = ResiftRerank(ranker=ranker(), keep_retrieval_score=True)
    second = ResiftRerank(ranker=FakeRanker(scorer=lambda *_: 9.0), keep_retrieval_score=True)
    failing = ResiftRerank(ranker=ranker(fails=[resift.ScoringFailed("no")]), on_error="pass")

    passed = compress(failing, given, QUERY)
    once = compress(first, passed, QUERY)
    twice = compress(second, once, QUERY)

    assert passed[0].metadata == {"relevance_score": 0.25, "rerank_error": "ScoringFailed"}
    assert once[0].metadata == {"relevance_score": 1.0, "retrieval_score": 0.25}
    assert twice[0].metadata == {"relevance_score": 9.0, "retrieval_score": 0.25}


def test_l5_an_earlier_score_is_not_taken_for_a_new_one() -> None:
    """A document that the ranker gave no score has none, though a retriever had left one in its place."""
    given = documents("1 a", "2 b")
    for document in given:
        document.metadata["relevance_score"] = 0.9
    fake = ranker(drops=frozenset({"2 b"}))

    found = compress(ResiftRerank(ranker=fake, keep_retrieval_score=True), given, QUERY)

    assert [document.metadata for document in found] == [
        {"at": 0, "relevance_score": 1.0, "retrieval_score": 0.9},
        {"at": 1, "retrieval_score": 0.9},
    ]


@pytest.mark.parametrize("key", ["score_key", "keep_retrieval_score"])
def test_l5_an_empty_text_is_no_place(key: str) -> None:
    """A key without a letter is refused."""
    with pytest.raises(ValidationError, match=key):
        ResiftRerank.model_validate({key: ""})


@pytest.mark.parametrize(
    ("score_key", "keep"),
    [
        ("rerank_error", False),
        ("relevance_score", "relevance_score"),
        ("relevance_score", "rerank_error"),
        ("retrieval_score", True),
    ],
)
def test_l5_two_things_never_share_a_place(score_key: str, keep: bool | str) -> None:  # noqa: FBT001 - a setting's value
    """Keys that would overwrite each other are refused, at construction and where they are assigned."""
    with pytest.raises(ValidationError, match="must be different keys"):
        ResiftRerank(score_key=score_key, keep_retrieval_score=keep)

    rerank = ResiftRerank()
    with pytest.raises(ValidationError, match="must be different keys"):
        _assign(rerank, score_key, keep)
    assert (rerank.score_key, rerank.keep_retrieval_score) in [("relevance_score", False), (score_key, False)]


def _assign(rerank: ResiftRerank, score_key: str, keep: bool | str) -> None:  # noqa: FBT001 - a setting's value
    rerank.score_key = score_key
    rerank.keep_retrieval_score = keep


@both_ways
def test_l10_top_n_keeps_the_best(ask: Compress) -> None:
    """`top_n` keeps so many, all where it is None or more than there are; a call may say its own."""
    given = documents("1 a", "3 b", "2 c")

    def kept(as_set: int | None, **options: Any) -> list[int]:
        return positions(ask(ResiftRerank(ranker=ranker(), top_n=as_set), given, QUERY, **options))

    assert kept(None) == [1, 2, 0]
    assert kept(2) == [1, 2]
    assert kept(9) == [1, 2, 0]
    assert kept(2, top_n=1) == [1]
    assert kept(1, top_n=None) == [1]


@both_ways
def test_l10_numpys_numbers_are_numbers(ask: Compress) -> None:
    """A `top_n` that numpy counted and a threshold that numpy computed are taken, as settings and at the call."""
    given = documents("1 a", "3 b", "2 c")
    rerank = ResiftRerank(ranker=ranker(), top_n=np.int64(2), score_threshold=np.float32(2.5))  # type: ignore[arg-type]

    assert type(rerank.top_n) is int
    assert positions(ask(rerank, given, QUERY)) == [1]
    assert positions(ask(rerank, given, QUERY, top_n=np.int64(2), score_threshold=np.float32(1))) == [1, 2]


@pytest.mark.parametrize("top_n", [0, -1, True, 2.0, "2", np.arange(2)])
def test_l10_a_top_n_that_keeps_nothing_is_refused(top_n: Any) -> None:
    """A `top_n` below 1, or that is no whole number, is a ValueError: at construction, when assigned, at the call."""
    rerank = ResiftRerank(ranker=ranker(), top_n=3)
    with pytest.raises(ValueError, match="top_n"):
        ResiftRerank(top_n=top_n)
    with pytest.raises(ValueError, match="top_n"):
        rerank.top_n = top_n
    with pytest.raises(ValueError, match="top_n"):
        compress(rerank, documents("1 a"), QUERY, top_n=top_n)
    assert rerank.top_n == 3


@both_ways
def test_l11_the_threshold_comes_first(ask: Compress) -> None:
    """`score_threshold` keeps scores from it up, then `top_n` the best of them; nothing may be left."""
    given = documents("-1 a", "0 b", "2 c", "1 d")

    def kept(**settings: Any) -> list[int]:
        return positions(ask(ResiftRerank(ranker=ranker(), **settings), given, QUERY))

    assert kept(score_threshold=0.0) == [2, 3, 1]
    assert kept(score_threshold=0) == [2, 3, 1]
    assert kept(score_threshold=0.0, top_n=2) == [2, 3]
    assert kept(score_threshold=2.5) == []
    strict = ResiftRerank(ranker=ranker(), score_threshold=2.0)
    assert positions(ask(strict, given, QUERY)) == [2]
    assert positions(ask(strict, given, QUERY, score_threshold=0.0)) == [2, 3, 1]


@pytest.mark.parametrize("threshold", [float("nan"), True, "0.5"])
def test_l11_a_threshold_that_is_no_number_is_refused(threshold: Any) -> None:
    """A threshold that compares with nothing is a ValueError: at construction, when assigned, at the call."""
    rerank = ResiftRerank(ranker=ranker())
    with pytest.raises(ValueError, match="score_threshold"):
        ResiftRerank(score_threshold=threshold)
    with pytest.raises(ValueError, match="score_threshold"):
        rerank.score_threshold = threshold
    with pytest.raises(ValueError, match="threshold"):
        compress(rerank, documents("1 a"), QUERY, score_threshold=threshold)
    assert rerank.score_threshold is None


@both_ways
def test_l12_ties_keep_their_order(ask: Compress) -> None:
    """Documents of equal scores stay in the order in which they came."""
    found = ask(ResiftRerank(ranker=ranker()), documents("1 a", "2 b", "1 c", "2 d", "1 e"), QUERY)

    assert positions(found) == [1, 3, 0, 2, 4]


@both_ways
def test_l12_a_score_that_is_none_never_reorders(ask: Compress) -> None:
    """NaN is an error; documents without a score come last, as they came, and not at all where there is a threshold."""
    given = documents("1 a", "2 b", "3 c", "4 d")
    dropping = ranker(drops=frozenset({"2 b", "3 c"}))

    with pytest.raises(resift.ScoringFailed, match="finite"):
        ask(ResiftRerank(ranker=ranker()), documents("1 a", "nan b"), QUERY)
    found = ask(ResiftRerank(ranker=dropping), given, QUERY)
    assert positions(found) == [3, 0, 1, 2]
    assert scores(found) == [4.0, 1.0, None, None]
    assert positions(ask(ResiftRerank(ranker=dropping, score_threshold=0.0), given, QUERY)) == [3, 0]


@both_ways
@pytest.mark.parametrize("on_error", ["raise", "pass"])
@pytest.mark.parametrize("query", ["", " \n\t"])
def test_l13_a_blank_query_is_a_mistake(ask: Compress, on_error: Any, query: str) -> None:
    """A query of no words is refused, in either way to ask, and also where failures are passed over."""
    fake = ranker()

    with pytest.raises(resift.InvalidInput, match="blank"):
        ask(ResiftRerank(ranker=fake, on_error=on_error), documents("1 a"), query)
    with pytest.raises(resift.InvalidInput, match="blank"):  # before any model is looked for
        ask(ResiftRerank(model="nobody/nothing", on_error=on_error), documents("1 a"), query)
    assert fake.asked == []


@both_ways
def test_l14_blank_documents_keep_their_places(ask: Compress) -> None:
    """Documents without words get scores like all others, and no other document's score moves."""
    given = documents("", "Paris is in France.", " \n", "A panda is a bear.")
    with resift.load() as plain:
        expected = plain.score(QUERY, [document.page_content for document in given])

    found = ask(ResiftRerank(), given, QUERY)

    assert positions(found)[0] == 3
    assert scores(found) == [expected[at] for at in positions(found)]
    assert len(ask(ResiftRerank(), documents("", " "), QUERY)) == 2


@both_ways
def test_l15_copies_stay_copies(ask: Compress) -> None:
    """Documents of the same text or the same id all come back, each in its place and with its own metadata."""
    given = [Document(text, id="same", metadata={"at": at}) for at, text in enumerate(["1 a", "2 b", "1 a"])]

    found = ask(ResiftRerank(ranker=ranker()), given, QUERY)

    assert positions(found) == [1, 0, 2]
    assert [document.id for document in found] == ["same"] * 3


@both_ways
def test_l20_many_documents_are_ranked_whole(ask: Compress) -> None:
    """Thousands of documents are put in one order."""
    given = documents(*(f"{(at * 7919) % 3001} text" for at in range(3001)))

    found = ask(ResiftRerank(ranker=ranker()), given, QUERY)

    assert scores(found) == [float(at) for at in reversed(range(3001))]


@both_ways
def test_l23_metadata_is_nobodys_business(ask: Compress) -> None:
    """Whatever stands in the metadata comes back as the same object, and so do keys that are no texts."""
    when, thing = datetime(2026, 1, 2, tzinfo=UTC), SimpleNamespace(a=1)
    given = [Document("1 a", metadata={"when": when, "thing": thing, 3: "three", "nothing": None})]

    (found,) = ask(ResiftRerank(ranker=ranker()), given, QUERY)

    assert found.metadata["when"] is when
    assert found.metadata["thing"] is thing
    assert found.metadata[3] == "three"
    assert found.metadata["nothing"] is None


# what the model reads


@both_ways
def test_the_page_content_is_what_is_read(ask: Compress) -> None:
    """Without `fields` a model reads the page content as it is."""
    fake = ranker()

    ask(ResiftRerank(ranker=fake), documents("1 a", "2 b"), QUERY)

    assert fake.texts_asked == [["1 a", "2 b"]]


@both_ways
def test_fields_are_read_before_the_page_content(ask: Compress) -> None:
    """`fields` puts metadata before the page content, in the named order, where a document has any of it."""
    fake = FakeRanker()
    given = [
        Document("one", metadata={"year": 0, "title": "First", "unread": "x"}),
        Document("two", metadata={"title": None}),
        Document("three", metadata={"title": ""}),
    ]

    ask(ResiftRerank(ranker=fake, fields=["title", "year"]), given, QUERY)

    assert fake.texts_asked == [
        [{"title": "First", "year": 0, "text": "one"}, "two", {"title": "", "text": "three"}],
    ]
    assert list(fake.asked[0]["documents"][0]) == ["title", "year", "text"]


def test_fields_reach_a_model_as_lines() -> None:
    """What the model reads of fields is resift's own form of them, so that a title helps to find."""
    given = [Document("It eats bamboo."), Document("It eats bamboo.", metadata={"title": "The giant panda"})]

    found = compress(ResiftRerank(fields=["title"]), given, QUERY)

    with resift.load() as plain:
        expected = plain.score(QUERY, ["It eats bamboo.", "title: The giant panda\ntext: It eats bamboo."])
    assert scores(found) == expected[::-1]
    assert found[0].metadata["title"] == "The giant panda"


def test_fields_that_nobody_has_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """Where no document has any of the fields the contents are ranked, and a warning names what may be misspelt."""
    rerank = ResiftRerank(ranker=ranker(), fields=["titel"])

    with caplog.at_level(logging.WARNING, logger="langchain_resift"):
        found = compress(rerank, documents("1 a", "2 b"), QUERY)
        compress(rerank, [], QUERY)

    assert positions(found) == [1, 0]
    assert caplog.messages == ["none of 2 documents has any of the fields 'titel'; check how they are spelt"]


@pytest.mark.parametrize("fields", [["title", "text"], [], "title"])
def test_fields_that_mean_nothing_are_refused(fields: Any) -> None:
    """A field with the content's own name, no field at all and a single text are refused."""
    with pytest.raises(ValidationError, match="fields"):
        ResiftRerank(fields=fields)


@both_ways
def test_an_instruction_reaches_the_ranker(ask: Compress) -> None:
    """The instruction is that of the call, else the one that was set, which may change."""
    fake = ranker()
    rerank = ResiftRerank(ranker=fake, instruction="find bears")

    ask(rerank, documents("1 a"), QUERY)
    rerank.instruction = "find birds"
    ask(rerank, documents("1 a"), QUERY)
    ask(rerank, documents("1 a"), QUERY, instruction="find fish")

    assert [call["instruction"] for call in fake.asked] == ["find bears", "find birds", "find fish"]


def test_fields_given_later_do_not_count() -> None:
    """A list of fields that its owner changes later changes nothing here, and copies cannot change each other's."""
    fields = ["title"]
    rerank = ResiftRerank(fields=fields)
    fields.append("text")

    assert rerank.fields == ("title",)
    assert copy.deepcopy(rerank).fields == ("title",)
    assert json.loads(rerank.model_dump_json())["fields"] == ["title"]


@pytest.mark.parametrize("given", [None, "a panda", Document("a panda")])
@both_ways
def test_what_is_no_list_is_named(ask: Compress, given: Any) -> None:
    """Something that is no list of documents is refused by what it is, and no text of it is shown."""
    with pytest.raises(resift.InvalidInput, match=f"must be a list of Documents, not {type(given).__name__};"):
        ask(ResiftRerank(), given, QUERY)


@both_ways
def test_what_is_no_document_is_named(ask: Compress) -> None:
    """Something that is no Document is refused by its position, and no text of it is shown."""
    with pytest.raises(resift.InvalidInput, match=r"documents\[1\] must be a Document of langchain_core, not str"):
        ask(ResiftRerank(), [Document("a"), "a panda"], QUERY)


# failures


@both_ways
def test_a_failure_is_raised(ask: Compress) -> None:
    """What a ranker raises is raised, and never an empty list."""
    with pytest.raises(resift.EndpointUnavailable, match="down"):
        ask(ResiftRerank(ranker=ranker(fails=[resift.EndpointUnavailable("down")])), documents("1 a"), QUERY)


@both_ways
def test_a_failure_is_passed_over_if_wanted(ask: Compress, caplog: pytest.LogCaptureFixture) -> None:
    """With on_error="pass" the first `top_n` documents come back as they came, marked, and a warning is logged."""
    given = documents("1 a", "2 b", "3 c")
    given[0].metadata["relevance_score"] = 0.7
    fake = ranker(fails=[resift.EndpointUnavailable("down")])
    rerank = ResiftRerank(ranker=fake, on_error="pass", top_n=2)

    found = ask(rerank, given, QUERY)

    assert positions(found) == [0, 1]
    assert scores(found, "rerank_error") == ["EndpointUnavailable"] * 2
    assert scores(found) == [0.7, None]
    assert "EndpointUnavailable" in caplog.text
    assert QUERY not in caplog.text
    assert positions(ask(rerank, given, QUERY)) == [2, 1]


@both_ways
def test_mistakes_are_never_passed_over(ask: Compress) -> None:
    """What stays wrong until somebody corrects it is raised whatever is wanted of failures."""
    fake = ranker(fails=[resift.ModelNotFound("no such model")])

    with pytest.raises(resift.ModelNotFound):
        ask(ResiftRerank(ranker=fake, on_error="pass"), documents("1 a"), QUERY)


def test_it_is_a_document_compressor() -> None:
    """LangChain takes it wherever a document compressor goes."""
    assert isinstance(ResiftRerank(), BaseDocumentCompressor)
