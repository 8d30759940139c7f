"""What becomes of nodes: their order, their scores, the texts they are read by; and that the caller's own stay."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

import resift
from llama_index.postprocessor.resift import ResiftRerank
from resift.testing import FakeRanker

QUERY = "what does a panda eat?"


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    """Return how to ask: by the method, or by the coroutine."""
    return str(request.param)


async def ask(way: str, rerank: ResiftRerank, nodes: list[NodeWithScore], **query: Any) -> list[NodeWithScore]:
    query = query or {"query_str": QUERY}
    if way == "async":
        return await rerank.apostprocess_nodes(nodes, **query)
    return rerank.postprocess_nodes(nodes, **query)


def scoring(scores: Mapping[str, float] | Iterable[float], **told: Any) -> FakeRanker:
    """Return a ranker with a score for each text, or for each in turn."""
    if isinstance(scores, Mapping):
        return FakeRanker(scorer=lambda query, text, instruction: scores[text], **told)
    turn = iter(scores)
    return FakeRanker(scorer=lambda query, text, instruction: next(turn), **told)


def nodes_of(*texts: str, scores: Sequence[float | None] = ()) -> list[NodeWithScore]:
    """Return nodes whose ids are their positions."""
    given = [*scores, *[None] * len(texts)]
    return [NodeWithScore(node=TextNode(id_=str(at), text=text), score=given[at]) for at, text in enumerate(texts)]


def places(nodes: Iterable[NodeWithScore]) -> list[tuple[int, float | None]]:
    """Return each node's former position and its score."""
    return [(int(node.node_id), node.score) for node in nodes]


def notes(nodes: Iterable[NodeWithScore], key: str) -> list[Any]:
    """Return what the nodes' metadata holds."""
    return [node.metadata.get(key) for node in nodes]


# order and scores


async def test_nodes_come_in_order_of_relevance(way: str) -> None:
    """The best node comes first, with the score that resift gives its text."""
    texts = ["Paris is in France.", "A panda will eat bamboo all day.", "a panda"]
    expected = resift.load().rank(QUERY, texts)

    found = await ask(way, ResiftRerank(), nodes_of(*texts))

    assert places(found) == [(hit.index, hit.score) for hit in expected]
    assert found[0].text == "A panda will eat bamboo all day."


async def test_i1_nothing_comes_of_nothing(way: str) -> None:
    """I1: no nodes are reranked to none, and nobody is asked."""
    ranker = FakeRanker()

    assert await ask(way, ResiftRerank(ranker=ranker), []) == []
    assert ranker.asked == []


async def test_i2_a_query_is_needed(way: str) -> None:
    """I2: without a query, with two or with a blank one a ValueError says so, whatever shall pass."""
    rerank = ResiftRerank(ranker=FakeRanker(), on_error="pass")

    with pytest.raises(ValueError, match="pass query_str="):
        await ask(way, rerank, nodes_of("a", "b"), query_str=None)
    with pytest.raises(ValueError, match="pass query_str="):
        await ask(way, rerank, [], query_str=None)
    with pytest.raises(ValueError, match="both query_str and query_bundle"):
        await ask(way, rerank, nodes_of("a"), query_str="q", query_bundle=QueryBundle("q"))
    with pytest.raises(ValueError, match="the query is blank"):
        await ask(way, rerank, nodes_of("a"), query_str=" ")


async def test_i2_a_text_is_no_bundle(way: str) -> None:
    """I2: a query in the place of a bundle is refused with the name of its own place, and is not repeated."""
    with pytest.raises(resift.InvalidInput, match=r"must be a QueryBundle, not str; or pass query_str=") as caught:
        await ask(way, ResiftRerank(), nodes_of("a"), query_bundle=QUERY)
    assert QUERY not in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (None, "nodes must be a list of NodeWithScore, not NoneType"),
        ("secret", "nodes must be a list of NodeWithScore, not str"),
        ([TextNode(text="secret")], r"nodes\[0\] must be a NodeWithScore, not TextNode; wrap it in NodeWithScore"),
        ([*nodes_of("a"), "secret"], r"nodes\[1\] must be a NodeWithScore, not str"),
    ],
)
async def test_what_is_no_node_is_refused(way: str, nodes: Any, message: str) -> None:
    """Who passes something else than nodes with scores is told which, without its text."""
    with pytest.raises(resift.InvalidInput, match=message) as caught:
        await ask(way, ResiftRerank(on_error="pass"), nodes)
    assert "secret" not in str(caught.value)


async def test_any_iterable_of_nodes_will_do(way: str) -> None:
    """A tuple or a generator of nodes is as good as a list."""
    ranker = FakeRanker()
    for nodes in (tuple(nodes_of("a", "b")), (node for node in nodes_of("a", "b"))):
        assert len(await ask(way, ResiftRerank(ranker=ranker), nodes)) == 2  # type: ignore[arg-type]


async def test_a_bundle_is_a_query(way: str) -> None:
    """A query bundle asks with its query, not with what was embedded for it."""
    ranker = FakeRanker()

    await ask(
        way, ResiftRerank(ranker=ranker), nodes_of("a"), query_bundle=QueryBundle("q", custom_embedding_strs=["z"])
    )

    assert [call["query"] for call in ranker.asked] == ["q"]


@pytest.mark.parametrize("settings", [{}, {"keep_retrieval_score": True}, {"on_error": "pass"}])
async def test_i3_the_callers_nodes_stay_as_they_are(way: str, settings: dict[str, Any]) -> None:
    """I3: neither the wrappers nor the nodes nor their metadata change, whatever is noted on what is returned."""
    fails: list[Exception] = [resift.ScoringFailed("no")] if settings.get("on_error") else []
    nodes = nodes_of("a", "b", scores=[0.5, 0.25])
    for node in nodes:
        node.node.metadata["tags"] = ["x"]
    before, inner = [node.to_dict() for node in nodes], [node.node for node in nodes]

    found = await ask(
        way,
        ResiftRerank(ranker=scoring({"tags: ['x']\n\na": 1.0, "tags: ['x']\n\nb": 2.0}, fails=fails), **settings),
        nodes,
    )

    assert [node.to_dict() for node in nodes] == before
    assert [node.node for node in nodes] == inner
    assert not {id(node) for node in found} & {id(node) for node in nodes}
    assert all(not settings or node.metadata is not inner[int(node.node_id)].metadata for node in found)


async def test_i3_nodes_are_not_copied_without_need(way: str) -> None:
    """I3: the returned wrappers are new, and hold the very nodes that came."""
    nodes = nodes_of("a", "b")

    found = await ask(way, ResiftRerank(ranker=scoring({"a": 1.0, "b": 2.0})), nodes)

    assert [node.node is nodes[int(node.node_id)].node for node in found] == [True, True]


async def test_i3_a_wrapper_keeps_its_class(way: str) -> None:
    """I3: what somebody adds to NodeWithScore comes along."""

    class Marked(NodeWithScore):
        mark: str

    (found,) = await ask(way, ResiftRerank(), [Marked(node=TextNode(text="a"), mark="kept")])

    assert isinstance(found, Marked)
    assert found.mark == "kept"


async def test_i4_scores_are_plain_numbers(way: str) -> None:
    """I4: a ranker's own kind of number becomes a Python float, which JSON can hold."""
    ranker = scoring({"a": np.float32(0.25)})  # type: ignore[arg-type]  # as some rankers do
    nodes = nodes_of("a")
    nodes[0].score = np.float32(0.5)  # type: ignore[assignment]  # as some postprocessors do
    rerank = ResiftRerank(ranker=ranker, keep_retrieval_score=True, on_error="pass")

    (found,) = await ask(way, rerank, nodes)
    ranker.fails.append(resift.ScoringFailed("no"))
    (passed,) = await ask(way, rerank, nodes)

    assert (type(found.score), type(passed.score)) == (float, float)
    assert '"retrieval_score": 0.5' in found.to_json()
    assert '"score": 0.25' in found.to_json()
    assert '"score": 0.5' in passed.to_json()


@pytest.mark.parametrize(("top_n", "kept"), [(None, [1, 2, 0]), (1, [1]), (2, [1, 2]), (3, [1, 2, 0]), (9, [1, 2, 0])])
async def test_i15_top_n_cuts(way: str, top_n: int | None, kept: list[int]) -> None:
    """I15: the best `top_n` are returned, or all; and the setting is what it was."""
    rerank = ResiftRerank(ranker=scoring({"a": 0.0, "b": 2.0, "c": 1.0}), top_n=top_n)

    assert [at for at, _ in places(await ask(way, rerank, nodes_of("a", "b", "c")))] == kept
    assert rerank.top_n == top_n


@pytest.mark.parametrize("top_n", [0, -1, True, 1.5, "3"])
def test_i15_a_top_n_that_means_nothing_is_refused(top_n: Any) -> None:
    """I15: at the construction and at an assignment, with a word on what to do."""
    with pytest.raises(resift.InvalidInput, match=r"top_n must be a whole number from 1 up, .* leave it out"):
        ResiftRerank(top_n=top_n)
    rerank = ResiftRerank(top_n=2)
    with pytest.raises(ValueError, match="top_n must be a whole number from 1 up"):
        rerank.top_n = top_n
    assert rerank.top_n == 2


@pytest.mark.parametrize(
    ("threshold", "top_n", "kept"),
    [(0.0, None, [1, 2, 0]), (0.5, None, [1, 2]), (0.5, 1, [1]), (3.0, None, []), (-1, None, [1, 2, 0, 3])],
)
async def test_a_threshold_counts_before_top_n(way: str, threshold: float, top_n: int | None, kept: list[int]) -> None:
    """Scores from the threshold up are kept, itself and 0.0 included, and `top_n` of these."""
    ranker = scoring({"a": 0.0, "b": 2.0, "c": 0.5, "d": -0.5})
    rerank = ResiftRerank(ranker=ranker, score_threshold=threshold, top_n=top_n)

    assert [at for at, _ in places(await ask(way, rerank, nodes_of("a", "b", "c", "d")))] == kept


@pytest.mark.parametrize("threshold", [math.nan, "high", True])
def test_a_threshold_that_means_nothing_is_refused(threshold: Any) -> None:
    """What is no number is refused, when it is given and when it is assigned."""
    with pytest.raises(resift.InvalidInput, match="threshold must be a number"):
        ResiftRerank(score_threshold=threshold)
    with pytest.raises(ValueError, match="threshold must be a number"):
        ResiftRerank().score_threshold = threshold


async def test_settings_for_the_nodes_may_be_assigned(way: str) -> None:
    """What becomes of the nodes can be changed between calls."""
    rerank = ResiftRerank(ranker=scoring({"a": 0.0, "b": 2.0}))
    rerank.top_n, rerank.score_threshold = 1, 1.0

    assert places(await ask(way, rerank, nodes_of("a", "b"))) == [(1, 2.0)]


async def test_settings_of_a_call_are_those_of_its_beginning() -> None:
    """What is assigned while a call is under way holds from the next one on."""
    ranker = scoring({"a": 0.0, "b": 2.0}, delay_s=0.05)
    rerank = ResiftRerank(ranker=ranker, top_n=3)
    call = asyncio.create_task(ask("async", rerank, nodes_of("a", "b", "")))
    async with asyncio.timeout(10):
        while not ranker.at_once:  # noqa: ASYNC110 - the ranker counts, and signals nothing
            await asyncio.sleep(0.001)

    rerank.top_n, rerank.score_threshold = 1, 1.0

    assert places(await call) == [(1, 2.0), (0, 0.0), (2, None)]
    assert places(await ask("async", rerank, nodes_of("a", "b", ""))) == [(1, 2.0)]


async def test_i16_equal_ids_have_scores_of_their_own(way: str) -> None:
    """I16: a node that comes twice comes out twice, each with the score of its own text."""
    nodes = [NodeWithScore(node=TextNode(id_="same", text=text)) for text in ("a", "b", "a")]

    found = await ask(way, ResiftRerank(ranker=scoring({"a": 1.0, "b": 2.0})), nodes)

    assert [(node.node_id, node.text, node.score) for node in found] == [
        ("same", "b", 2.0),
        ("same", "a", 1.0),
        ("same", "a", 1.0),
    ]


async def test_i16_equal_ids_count_once_on_demand(way: str) -> None:
    """I16: with `deduplicate`, the first node of each id is ranked, is returned, and passes where the ranker fails."""
    nodes = [
        NodeWithScore(node=TextNode(id_=id_, text=text), score=score)
        for id_, text, score in [("1", "a", 0.25), ("2", "b", 0.5), ("1", "a", 0.75), ("1", "c", 1.0), ("3", " ", 0.5)]
    ]
    ranker = scoring({"a": 1.0, "b": 2.0})
    rerank = ResiftRerank(ranker=ranker, deduplicate=True, keep_retrieval_score=True, on_error="pass")

    found = await ask(way, rerank, [*nodes, nodes[-1]])
    ranker.fails.append(resift.ScoringFailed("no"))

    assert ranker.texts_asked == [["a", "b"]]
    assert places(found) == [(2, 2.0), (1, 1.0), (3, None)]
    assert notes(found, "retrieval_score") == [0.5, 0.25, 0.5]
    assert places(await ask(way, rerank, nodes)) == [(1, 0.25), (2, 0.5), (3, 0.5)]


async def test_i17_order_is_that_of_numbers(way: str) -> None:
    """I17: negative scores and 0.0 are scores like others, and equal ones keep the order in which they came."""
    scores = {"a": -1.0, "b": 0.0, "c": -0.5, "d": 0.0, "e": 0.5}

    found = await ask(way, ResiftRerank(ranker=scoring(scores)), nodes_of(*scores))

    assert places(found) == [(4, 0.5), (1, 0.0), (3, 0.0), (2, -0.5), (0, -1.0)]


async def test_nodes_without_a_score_come_last(way: str) -> None:
    """What an endpoint gave no score stands behind the others with none, and is left out by a threshold."""
    ranker = scoring({"b": -1.0, "d": 1.0}, drops=frozenset({"a", "c"}))
    nodes = nodes_of("a", "b", "c", "d", scores=[0.9, 0.8, 0.7, 0.6])

    assert places(await ask(way, ResiftRerank(ranker=ranker), nodes)) == [(3, 1.0), (1, -1.0), (0, None), (2, None)]
    assert places(await ask(way, ResiftRerank(ranker=ranker, top_n=3), nodes)) == [(3, 1.0), (1, -1.0), (0, None)]
    assert places(await ask(way, ResiftRerank(ranker=ranker, score_threshold=-5), nodes)) == [(3, 1.0), (1, -1.0)]


# texts


async def texts_told(way: str, node: BaseNode, **settings: Any) -> list[Any]:
    """Return the texts that a ranker is told for one node."""
    ranker = FakeRanker()
    await ask(way, ResiftRerank(ranker=ranker, **settings), [NodeWithScore(node=node, score=0.5)])
    return [text for texts in ranker.texts_asked for text in texts]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ({}, "a: 1\nllm: 3\n\nbody"),
        ({"metadata_mode": MetadataMode.EMBED}, "a: 1\nllm: 3\n\nbody"),
        ({"metadata_mode": "llm"}, "a: 1\nembed: 2\n\nbody"),
        ({"metadata_mode": MetadataMode.ALL}, "a: 1\nembed: 2\nllm: 3\n\nbody"),
        ({"metadata_mode": "none"}, "body"),
    ],
)
async def test_i6_the_metadata_mode_decides_what_is_read(way: str, mode: dict[str, Any], text: str) -> None:
    """I6: a node is read as it is embedded, or as the mode says."""
    node = TextNode(
        text="body",
        metadata={"a": 1, "embed": 2, "llm": 3},
        excluded_embed_metadata_keys=["embed"],
        excluded_llm_metadata_keys=["llm"],
    )

    assert await texts_told(way, node, **mode) == [text]


@pytest.mark.parametrize(
    "node",
    [
        TextNode(text="body"),
        IndexNode(text="body", index_id="elsewhere", obj=TextNode(text="other")),
        ImageNode(text="body", image_path="panda.png"),
        Document(text="body"),
        Node(text_resource=MediaResource(text="body")),
        Node(text_resource=MediaResource(text="body"), image_resource=MediaResource(path=Path("panda.png"))),
    ],
    ids=lambda node: type(node).__name__,
)
@pytest.mark.parametrize("mode", ["embed", "none"])
async def test_i7_every_kind_of_node_is_read(way: str, mode: Literal["embed", "none"], node: BaseNode) -> None:
    """I6, I7: each kind of node has its text read, in every mode, and comes back as what it is."""
    rerank = ResiftRerank(ranker=scoring({"body": 2.0}), metadata_mode=mode)

    (found,) = await ask(way, rerank, [NodeWithScore(node=node, score=0.5)])

    assert (found.node is node, found.score) == (True, 2.0)


def textless() -> list[BaseNode]:
    """Return one of each kind of node that has nothing to read, with their positions as ids."""
    return [
        ImageNode(id_="1", image_path="panda.png"),
        Node(id_="2", image_resource=MediaResource(path=Path("panda.png"))),
        Document(id_="3", audio_resource=MediaResource(path=Path("panda.wav"))),
        TextNode(id_="4", text=" \n"),
        Node(id_="5"),
    ]


@pytest.mark.parametrize("settings", [{}, {"textless": "last"}])
async def test_i7_textless_nodes_come_last(way: str, settings: dict[str, Any]) -> None:
    """I7: a node without a text is not told to the ranker, and comes last, with no score."""
    ranker = scoring({"a": -1.0, "b": 1.0}, drops=frozenset({"c"}))
    a, b, c = nodes_of("a", "b", "c")
    nodes = [a, *(NodeWithScore(node=node, score=0.5) for node in textless()), b, c]
    b.node.id_, c.node.id_ = "6", "7"

    found = places(await ask(way, ResiftRerank(ranker=ranker, **settings), nodes))

    assert ranker.texts_asked == [["a", "b", "c"]]
    assert found == [(6, 1.0), (0, -1.0), (7, None), (1, None), (2, None), (3, None), (4, None), (5, None)]
    assert places(await ask(way, ResiftRerank(ranker=ranker, top_n=4, **settings), nodes)) == found[:4]
    assert places(await ask(way, ResiftRerank(ranker=ranker, score_threshold=-9, **settings), nodes)) == found[:2]


async def test_i7_textless_nodes_drop_out_on_demand(way: str) -> None:
    """I7: `textless="drop"` leaves them out, also where the ranker fails."""
    nodes = [NodeWithScore(node=node, score=0.5) for node in [*textless(), TextNode(id_="6", text="a")]]
    ranker = scoring({"a": 1.0})
    rerank = ResiftRerank(ranker=ranker, textless="drop", on_error="pass")

    assert places(await ask(way, rerank, nodes)) == [(6, 1.0)]
    ranker.fails.append(resift.ScoringFailed("no"))
    assert places(await ask(way, rerank, nodes)) == [(6, 0.5)]


async def test_i7_nodes_may_all_be_textless(way: str) -> None:
    """I7: where there is nothing to read, nobody is asked."""
    ranker = FakeRanker()
    nodes = [NodeWithScore(node=node) for node in textless()]

    assert places(await ask(way, ResiftRerank(ranker=ranker), nodes)) == [(at, None) for at in range(1, 6)]
    assert await ask(way, ResiftRerank(ranker=ranker, textless="drop"), nodes) == []
    assert ranker.asked == []


def test_an_unknown_way_with_textless_nodes_is_refused() -> None:
    """There are two, and the error names them."""
    with pytest.raises(ValueError, match=r"textless\n.*'last' or 'drop'"):
        ResiftRerank(textless="first")  # type: ignore[arg-type]


# notes


@pytest.mark.parametrize("mode", list(MetadataMode))
async def test_i5_notes_are_never_read(way: str, mode: MetadataMode) -> None:
    """I5: a second rerank reads the very texts that the first one read, and so does the language model."""
    ranker = scoring({}, drops=frozenset({"file: f\n\nbody", "body"}))
    rerank = ResiftRerank(ranker=ranker, keep_retrieval_score=True, metadata_mode=mode)
    nodes = [NodeWithScore(node=TextNode(text="body", metadata={"file": "f"}), score=0.5)]

    first = await ask(way, rerank, nodes)
    await ask(way, rerank, first)

    assert notes(first, "retrieval_score") == [0.5]
    assert ranker.texts_asked[0] == ranker.texts_asked[1]
    for reads in (MetadataMode.LLM, MetadataMode.EMBED):
        assert first[0].get_content(reads) == nodes[0].get_content(reads)


async def test_i5_the_notes_of_others_are_not_read_either(way: str) -> None:
    """I5: a retrieval score that another postprocessor left in plain sight is no part of the text."""
    node = TextNode(text="body", metadata={"retrieval_score": 0.9, "file": "f"})

    assert await texts_told(way, node) == ["file: f\n\nbody"]
    assert node.metadata == {"retrieval_score": 0.9, "file": "f"}


async def test_i5_the_first_stage_is_what_is_kept(way: str) -> None:
    """I5: reranked twice, a node tells the score of the retrieval, not that of the rerank before."""
    rerank = ResiftRerank(ranker=scoring([7.0, 8.0]), keep_retrieval_score=True)

    (once,) = await ask(way, rerank, nodes_of("a", scores=[0.5]))
    (twice,) = await ask(way, rerank, [once])

    assert (once.score, twice.score) == (7.0, 8.0)
    assert notes([once, twice], "retrieval_score") == [0.5, 0.5]
    assert twice.node.excluded_embed_metadata_keys == ["retrieval_score"]


async def test_i5_nothing_is_noted_unasked(way: str) -> None:
    """I5: metadata stays as it is where no score is to be kept, or there is none."""
    (plain,) = await ask(way, ResiftRerank(), nodes_of("a", scores=[0.5]))
    (scoreless,) = await ask(way, ResiftRerank(keep_retrieval_score=True), nodes_of("a"))

    assert plain.metadata == scoreless.metadata == {}


# failures


async def test_errors_are_raised(way: str) -> None:
    """What the ranker raises reaches the caller as it is."""
    failure = resift.ScoringFailed("no")

    with pytest.raises(resift.ScoringFailed) as caught:
        await ask(way, ResiftRerank(ranker=FakeRanker(fails=[failure])), nodes_of("a"))

    assert caught.value is failure


async def test_nodes_may_pass_as_they_came(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """With `on_error="pass"`, nodes keep order and score, and tell the error without anybody reading it as text."""
    nodes = [*nodes_of("a", "", "b", scores=[0.1, 0.3, 0.2])]
    rerank = ResiftRerank(ranker=FakeRanker(fails=[resift.EndpointUnavailable("gone")] * 2), on_error="pass")

    found = await ask(way, rerank, nodes)
    rerank.top_n, rerank.score_threshold = 2, 9.0
    fewer = await ask(way, rerank, nodes)

    assert places(found) == [(0, 0.1), (1, 0.3), (2, 0.2)]
    assert places(fewer) == [(0, 0.1), (1, 0.3)]
    assert notes(found, "rerank_error") == ["EndpointUnavailable"] * 3
    assert [node.get_content(MetadataMode.LLM) for node in found] == ["a", "", "b"]
    assert [node.get_content(MetadataMode.EMBED) for node in found] == ["a", "", "b"]
    assert len(caplog.records) == 2


async def test_a_rerank_after_a_failed_one_reads_the_same(way: str) -> None:
    """The note on a failure is no part of the text of the next rerank."""
    ranker = scoring({"a": 1.0}, fails=[resift.ScoringFailed("no")])
    rerank = ResiftRerank(ranker=ranker, on_error="pass", metadata_mode=MetadataMode.ALL)

    assert places(await ask(way, rerank, await ask(way, rerank, nodes_of("a")))) == [(0, 1.0)]


async def test_two_failures_are_noted_once(way: str) -> None:
    """Where a second rerank fails too, its note takes the place of the first one's."""
    gone, late = resift.EndpointUnavailable("gone"), resift.DeadlineExceeded("late")
    rerank = ResiftRerank(ranker=FakeRanker(fails=[gone, late]), on_error="pass")

    (node,) = await ask(way, rerank, await ask(way, rerank, nodes_of("a")))

    assert notes([node], "rerank_error") == ["DeadlineExceeded"]
    assert node.node.excluded_embed_metadata_keys == node.node.excluded_llm_metadata_keys == ["rerank_error"]


async def test_mistakes_never_pass(way: str) -> None:
    """A model that does not exist is an error, whatever shall pass."""
    rerank = ResiftRerank("no/such-folder/at-all", on_error="pass")

    with pytest.raises(resift.ModelNotFound):
        await ask(way, rerank, nodes_of("a"))
