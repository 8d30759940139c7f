"""Which documents come back from a run: in what order, with what scores, and untouched otherwise."""

import inspect
import logging
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from haystack import Document
from haystack.components.rankers import MetaFieldRanker
from haystack.components.samplers import TopPSampler
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.utils.misc import _deduplicate_documents

import resift
from haystack_integrations.components.rankers.resift import ResiftRanker
from resift.testing import FakeRanker

Ask = Callable[..., list[Document]]

QUERY = "panda"


def pandas(query: str, text: str, instruction: str | None) -> float:
    """Score a text by how often it says panda."""
    return float(text.count("panda"))


def fake(**settings: Any) -> FakeRanker:
    return FakeRanker(scorer=pandas, **settings)


def listed(*contents: str | None, **fields: Any) -> list[Document]:
    """Return documents with these contents, whose ids are their places."""
    return [Document(id=str(place), content=content, **fields) for place, content in enumerate(contents)]


def ids(documents: list[Document]) -> list[str]:
    return [document.id for document in documents]


# signatures


def test_h1_both_ways_to_run_are_declared_alike() -> None:
    """`run` and `run_async` have the same parameters and outputs, so a pipeline may choose either."""
    run, run_async = inspect.signature(ResiftRanker.run), inspect.signature(ResiftRanker.run_async)

    assert run == run_async
    assert inspect.iscoroutinefunction(ResiftRanker.run_async)
    assert ResiftRanker().__haystack_supports_async__  # type: ignore[attr-defined]  # what Haystack's decorator adds
    assert list(run.parameters)[1:] == ["query", "documents", "top_k", "score_threshold", "scale_score"]


def test_h16_every_output_is_declared_and_there(ask: Ask) -> None:
    """The one declared output is in every answer, of an empty call too."""
    ranker = ResiftRanker()
    declared = set(ranker.__haystack_output__._sockets_dict)  # type: ignore[attr-defined]  # noqa: SLF001

    assert declared == {"documents"}
    assert set(ranker.run(query=QUERY, documents=[])) == declared
    assert set(ranker.run(query=QUERY, documents=listed("a panda"))) == declared


# nothing to rank, and documents without text


def test_h8_without_documents_nobody_is_asked(ask: Ask) -> None:
    """An empty list comes back as one, without a call, a model or a key; a blank query does not matter then."""
    ranker = fake()

    assert ask(ResiftRanker(ranker=ranker), query=" ", documents=[]) == []
    assert ask(ResiftRanker("nobody/nothing"), query=QUERY, documents=[]) == []
    assert ranker.asked == []


def test_h9_a_document_without_content_is_ranked_as_an_empty_text(ask: Ask) -> None:
    """Documents of nothing or of a blob keep their place in the order, and a text is sent for each."""
    ranker = fake()
    documents = [
        Document(id="none", content=None),
        Document(id="panda", content="a panda"),
        Document(id="blob", blob=ByteStream(b"\x89PNG", mime_type="image/png")),
        Document(id="titled", blob=ByteStream(b"\x89PNG"), meta={"title": "panda, panda"}),
    ]

    ranked = ask(ResiftRanker(ranker=ranker, meta_fields_to_embed=["title"]), query=QUERY, documents=documents)

    assert ids(ranked) == ["titled", "panda", "none", "blob"]
    assert ranker.asked[0]["documents"] == ["", "a panda", "", "panda, panda\n"]
    assert ranked[0].blob == documents[3].blob


def test_h9_the_same_holds_for_a_model(ask: Ask) -> None:
    """The built-in scorer puts documents without content last, each with a score."""
    ranked = ask(ResiftRanker(), query=QUERY, documents=listed(None, "panda", "   "))

    assert ids(ranked) == ["1", "0", "2"]
    assert [document.score for document in ranked[1:]] == [0.0, 0.0]


# duplicates


def test_h10_one_of_several_documents_with_the_same_id_is_ranked(ask: Ask) -> None:
    """Of documents with the same id the first one with the highest score counts, in the place of the first of all."""
    documents = [
        Document(id="a", content="panda", score=0.1),
        Document(id="b", content="panda"),
        Document(id="a", content="panda, panda", score=0.7),
        Document(id="b", content="panda panda panda", score=-3.0),
        Document(id="a", content="bear", score=0.2),
        Document(id="c", content="bear"),
        Document(id="c", content="panda panda panda panda"),
        Document(id="a", content="panda panda panda panda", score=0.7),
    ]
    ranker = fake()

    ranked = ask(ResiftRanker(ranker=ranker), query=QUERY, documents=documents)

    kept = _deduplicate_documents(documents)
    assert ranker.asked[0]["documents"] == [document.content for document in kept]
    assert [(document.id, document.score) for document in ranked] == [("b", 3.0), ("a", 2.0), ("c", 0.0)]


def test_h10_duplicates_may_stay(ask: Ask) -> None:
    """Without `deduplicate` each document is ranked, whatever its id."""
    documents = [Document(id="a", content="panda"), Document(id="a", content="panda, panda")]

    ranked = ask(ResiftRanker(ranker=fake(), deduplicate=False), query=QUERY, documents=documents)

    assert [document.score for document in ranked] == [2.0, 1.0]


# copies


def test_h11_the_documents_given_stay_as_they_are(ask: Ask) -> None:
    """Documents come back as copies with everything but the score, and nothing of a copy is the original's own meta."""
    original = Document(
        id="a",
        content="a panda",
        meta={"source": "web", "tags": ["bear"]},
        score=0.25,
        embedding=[0.5, 1.5],
        sparse_embedding=SparseEmbedding([1], [2.0]),
        blob=ByteStream(b"1"),
    )
    before = original.to_dict()

    (ranked,) = ask(ResiftRanker(ranker=fake(), keep_retrieval_score=True), query=QUERY, documents=[original])

    assert original.to_dict() == before
    assert ranked is not original
    assert ranked.meta is not original.meta
    assert ranked.to_dict() == before | {"score": 1.0, "retrieval_score": 0.25}


def test_h11_a_documents_own_class_is_kept(ask: Ask) -> None:
    """A subclass of Document comes back as that subclass."""

    class Page(Document):
        """A document of somebody's own."""

    (ranked,) = ask(ResiftRanker(ranker=fake()), query=QUERY, documents=[Page(content="a panda")])

    assert type(ranked) is Page


# scores


def test_h12_scores_are_plain_numbers(ask: Ask) -> None:
    """A score is a Python float, which those who come after a ranker in a pipeline can use."""
    numpy = FakeRanker(scorer=lambda query, text, instruction: np.float32(text.count("panda") / 4))  # type: ignore[arg-type, return-value]
    documents = listed("panda", "panda, panda", "bear", meta={"rating": 1})

    for ranker in (ResiftRanker(), ResiftRanker(ranker=numpy)):
        ranked = ask(ranker, query=QUERY, documents=documents)

        assert [type(document.score) for document in ranked] == [float] * 3
        assert TopPSampler(top_p=0.5).run(documents=ranked)["documents"][0].id == "1"
        assert len(MetaFieldRanker("rating", weight=0.5).run(documents=ranked)["documents"]) == 3


def test_a_document_without_a_score_stands_last(ask: Ask) -> None:
    """What the endpoint gave no score has the score None, behind the others, and goes where there is a threshold."""
    documents = listed("nothing", "panda", score=5.0)
    ranker = ResiftRanker(ranker=fake(drops=frozenset({"nothing"})))

    ranked = ask(ranker, query=QUERY, documents=documents)

    assert [(document.id, document.score) for document in ranked] == [("1", 1.0), ("0", None)]
    assert ids(ask(ranker, query=QUERY, documents=documents, score_threshold=0.0)) == ["1"]


# the retrieval score


@pytest.mark.parametrize(("keep", "field"), [(True, "retrieval_score"), ("bm25", "bm25")])
def test_h13_the_retrieval_score_can_be_kept(ask: Ask, keep: bool | str, field: str) -> None:  # noqa: FBT001
    """The score that a document came with goes into a meta field, without changing the document's id."""
    documents = [Document(content="a panda", score=0.5), Document(content="a bear")]

    ranked = ask(ResiftRanker(ranker=fake(), keep_retrieval_score=keep), query=QUERY, documents=documents)

    assert [document.id for document in ranked] == [document.id for document in documents]
    assert [document.meta for document in ranked] == [{field: 0.5}, {}]


def test_h13_the_score_of_the_first_stage_is_kept(ask: Ask) -> None:
    """Documents that are ranked twice keep the retriever's score, as a float, not that of the first ranker."""
    documents = [Document(content="a panda", score=np.float32(0.5))]  # type: ignore[arg-type]
    ranker = ResiftRanker(ranker=fake(), keep_retrieval_score=True)

    (twice,) = ask(ranker, query=QUERY, documents=ask(ranker, query=QUERY, documents=documents))

    assert (twice.score, twice.meta) == (1.0, {"retrieval_score": 0.5})
    assert type(twice.meta["retrieval_score"]) is float


def test_h13_it_is_left_out_otherwise(ask: Ask) -> None:
    """Without the setting a document's meta is what it was."""
    (ranked,) = ask(ResiftRanker(ranker=fake()), query=QUERY, documents=[Document(content="a panda", score=0.5)])

    assert ranked.meta == {}


# limits, given when the ranker is made and when it runs


CONTENTS = ("panda", "panda panda", "bear")


@pytest.mark.parametrize(
    ("made", "asked", "expected"),
    [
        ({}, {}, ["1", "0", "2"]),
        ({"top_k": 1}, {}, ["1"]),
        ({"top_k": 1}, {"top_k": None}, ["1"]),
        ({"top_k": 1}, {"top_k": 2}, ["1", "0"]),
        ({"top_k": 9}, {}, ["1", "0", "2"]),
        ({}, {"top_k": np.int64(1)}, ["1"]),
        ({"score_threshold": 1.0}, {}, ["1", "0"]),
        ({"score_threshold": 1.0}, {"score_threshold": None}, ["1", "0"]),
        ({"score_threshold": 1.0}, {"score_threshold": 0.0}, ["1", "0", "2"]),
        ({"score_threshold": 1.0, "top_k": 1}, {}, ["1"]),
        ({"score_threshold": 9.0}, {}, []),
    ],
)
def test_h14_limits_of_a_run_replace_those_of_the_ranker(
    ask: Ask, made: dict[str, Any], asked: dict[str, Any], expected: list[str]
) -> None:
    """None is as the ranker was made; anything else counts, 0.0 too."""
    ranker = ResiftRanker(ranker=fake(), **made)

    assert ids(ask(ranker, query=QUERY, documents=listed(*CONTENTS), **asked)) == expected


def test_h14_scale_score_of_a_run_replaces_that_of_the_ranker(ask: Ask) -> None:
    """False is a meaning of its own, and a run without the argument has the ranker's."""
    documents = listed("panda", "a red panda is a small bear")
    scaled, raw, own = (ResiftRanker(scale_score=scale) for scale in (True, False, None))

    high = [document.score for document in ask(raw, query=QUERY, documents=documents)]
    low = [document.score for document in ask(scaled, query=QUERY, documents=documents)]

    assert high != low
    assert [document.score for document in ask(own, query=QUERY, documents=documents)] == high
    assert [document.score for document in ask(scaled, query=QUERY, documents=documents, scale_score=False)] == high
    assert [document.score for document in ask(own, query=QUERY, documents=documents, scale_score=True)] == low
    assert [document.score for document in ask(scaled, query=QUERY, documents=documents, scale_score=None)] == low


@pytest.mark.parametrize("top_k", [0, -1])
def test_h14_a_limit_below_1_is_refused(ask: Ask, top_k: int) -> None:
    """`top_k` must be above 0, when the ranker is made and when it runs, with documents and without."""
    with pytest.raises(ValueError, match=f"top_k must be > 0, but got {top_k}"):
        ResiftRanker(top_k=top_k)
    for documents in ([], listed("a panda")):
        with pytest.raises(ValueError, match=f"top_k must be > 0, but got {top_k}"):
            ask(ResiftRanker(), query=QUERY, documents=documents, top_k=top_k)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 1.5}, "top_k must be a whole number from 1 up, not 1.5"),
        ({"top_k": True}, "top_k must be a whole number from 1 up, not True"),
        ({"score_threshold": float("nan")}, "threshold must be a number, not nan"),
        ({"score_threshold": "0.5"}, "score_threshold must be a number, not str"),
        ({"scale_score": True}, "scale_score=True cannot change the scores of a given ranker"),
        ({"scale_score": 1}, "scale_score must be None, True or False, not int"),
    ],
)
def test_h14_what_means_nothing_is_refused_in_haystacks_words(
    ask: Ask, arguments: dict[str, Any], message: str
) -> None:
    """A mistake is an InvalidInput, which is a ValueError, and names the argument as it was typed."""
    with pytest.raises(resift.InvalidInput, match=message):
        ask(ResiftRanker(ranker=fake()), query=QUERY, documents=listed("a panda"), **arguments)


# queries


@pytest.mark.parametrize("query", ["", " \n", None, 7])
def test_h15_a_blank_query_is_refused(ask: Ask, query: Any) -> None:
    """Nothing can be relevant to a blank query, so it is a ValueError, also where a prefix would hide it."""
    ranker = ResiftRanker(ranker=fake(), query_prefix="Find: ", on_error="pass")

    with pytest.raises(ValueError, match="query"):
        ask(ranker, query=query, documents=listed("a panda"))


# the texts that are ranked


def test_h21_meta_fields_stand_in_front_of_the_content(ask: Ask) -> None:
    """Fields come in their order, falsy values too; those that a document lacks, or has as None, are skipped."""
    ranker = fake()
    metas: list[dict[str, Any]] = [
        {"title": "Pandas", "rank": 0, "wild": False, "note": ""},
        {"rank": 2.5},
        {"title": None, "other": "x"},
    ]
    documents = [Document(content=f"text {place}", meta=meta) for place, meta in enumerate(metas)]

    ask(
        ResiftRanker(ranker=ranker, meta_fields_to_embed=["title", "rank", "wild", "note"], meta_data_separator=" | "),
        query=QUERY,
        documents=documents,
    )

    assert ranker.asked[0]["documents"] == ["Pandas | 0 | False |  | text 0", "2.5 | text 1", "text 2"]


def test_h21_prefixes_and_suffixes_surround_query_and_documents(ask: Ask) -> None:
    """What some models want around their texts is put there, around the meta fields too."""
    ranker = fake()
    component = ResiftRanker(
        ranker=ranker,
        query_prefix="query: ",
        query_suffix="?",
        document_prefix="passage: ",
        document_suffix=".",
        meta_fields_to_embed=["title"],
        meta_data_separator=" - ",
    )

    ask(component, query=QUERY, documents=[Document(content="text", meta={"title": "Title"})])

    assert ranker.asked[0]["query"] == "query: panda?"
    assert ranker.asked[0]["documents"] == ["passage: Title - text."]


def test_the_instruction_reaches_the_ranker(ask: Ask) -> None:
    """What the model is told to look for is told to a given ranker too."""
    ranker = fake()

    ask(ResiftRanker(ranker=ranker, instruction="find bears"), query=QUERY, documents=listed("a panda"))

    assert ranker.asked[0]["instruction"] == "find bears"


def test_h22_many_documents_are_ranked_whole(ask: Ask) -> None:
    """Of some thousand documents each one is ranked, and the best comes first wherever it was."""
    documents = listed(*("bear" for _ in range(2499)), "panda")

    ranked = ask(ResiftRanker(), query=QUERY, documents=documents)

    assert len(ranked) == 2500
    assert ranked[0].id == "2499"


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("a panda", "documents must be a list of Documents, not str"),
        (7, "documents must be a list of Documents, not int"),
        (["a panda"], r"documents\[0\] must be a Document, not str"),
        ([Document(content="a panda"), {"content": "a bear"}], r"documents\[1\] must be a Document, not dict"),
    ],
)
def test_what_is_no_document_is_refused(ask: Ask, documents: Any, message: str) -> None:
    """Something else in place of documents is a mistake that says what was given, and never what stood in it."""
    with pytest.raises(resift.InvalidInput, match=message) as raised:
        ask(ResiftRanker(), query=QUERY, documents=documents)

    assert "panda" not in str(raised.value)


# failures


def test_a_failure_is_raised_as_it_is(ask: Ask) -> None:
    """What goes wrong in the ranker reaches whoever asked."""
    ranker = ResiftRanker(ranker=fake(fails=[resift.ScoringFailed("broken")]))

    with pytest.raises(resift.ScoringFailed, match="broken"):
        ask(ranker, query=QUERY, documents=listed("a panda"))


def test_documents_may_pass_as_they_came(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """With on_error="pass" the first documents come back unranked, marked with the error, and the log says so."""
    ranker = ResiftRanker(
        ranker=fake(fails=[resift.ScoringFailed("broken")]), on_error="pass", top_k=2, keep_retrieval_score=True
    )

    with caplog.at_level(logging.WARNING, "resift"):
        passed = ask(ranker, query=QUERY, documents=listed("bear", "panda", "bear", score=0.5))

    assert ids(passed) == ["0", "1"]
    assert [document.score for document in passed] == [None, None]
    assert passed[0].meta == {"retrieval_score": 0.5, "rerank_error": "ScoringFailed"}
    assert len(caplog.records) == 1
    assert all("rerank_error" not in one.meta for one in ask(ranker, query=QUERY, documents=listed("panda")))


def test_the_documentation_of_a_run_is_typed() -> None:
    """Each argument has a type that Haystack can read, for connections and for tools."""
    hints = typing.get_type_hints(ResiftRanker.run)

    assert hints["query"] is str
    assert hints["documents"] == list[Document]
    assert hints["return"] == dict[str, list[Document]]
