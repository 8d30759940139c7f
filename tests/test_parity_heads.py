"""
Language models with answers or heads of their own say here what their authors' code computes.

None of them has a package that could be installed here: each reference is the few lines of its model card, written
anew on the classes of transformers.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaModel, Qwen2VLConfig, Qwen2VLForConditionalGeneration

import headed
import resift
import tiny
from resift.errors import InvalidInput, ModelUnsupported
from resift.scoring.families import LogitScale

LOGIT, SCORE = 2e-6, 1e-6
DOCUMENTS = list(tiny.DOCUMENTS)

Write = Callable[[str, str, str], str]


def _ids(directory: Path, texts: Sequence[str], *, max_length: int = 10**6) -> list[list[int]]:
    """Return what a tokenizer makes of each text, its own special tokens around it."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(max_length)
    return [each.ids for each in tokenizer.encode_batch(list(texts))]


def _found(
    ranker: resift.LocalRanker, query: str, documents: Sequence[str], instruction: str | None = None
) -> list[list[int]]:
    prepared = ranker._hold.family.prepare(query, documents, instruction)  # noqa: SLF001 - what the model is fed
    return [[*prepared.prefix.tolist(), *tokens.ids.tolist()] for tokens in prepared.sequences]


def _shared(ranker: resift.LocalRanker) -> int:
    return len(ranker._hold.family.prepare(tiny.QUERY, DOCUMENTS[3:6], None).prefix)  # noqa: SLF001 - the same


def _assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


# the logit of one token


def _zerank(query: str, document: str, instruction: str) -> str:
    asked = f"<query>{query}</query>\n<instruction>{instruction}</instruction>" if instruction else query
    return f"<|im_start|>system\n{asked}<|im_end|>\n<|im_start|>user\n{document}<|im_end|>\n<|im_start|>assistant\n"


def _contextual(query: str, document: str, instruction: str) -> str:
    told = f" {instruction}" if instruction else ""
    return (
        "Check whether a given document contains information helpful to answer the query.\n"
        f"<Document> {document}\n<Query> {query}{told} ??"
    )


@dataclass(frozen=True)
class Answering:
    """A language model, how its card asks it, and the token whose logit is the score."""

    like: str
    kind: str
    write: Write
    answer: str | int
    instruction: str = ""
    sliding_window: int | None = None


ANSWERING = {
    "zerank-1": Answering("zeroentropy/zerank-1", "qwen3", _zerank, "Yes"),
    "zerank-1-small": Answering("zeroentropy/zerank-1-small", "qwen3", _zerank, "Yes"),
    "zerank-2": Answering("zeroentropy/zerank-2", "qwen3", _zerank, "Yes"),
    "zerank-2, told": Answering("zeroentropy/zerank-2-reranker", "qwen3", _zerank, "Yes", "Prefer short texts."),
    "contextual 1b": Answering("ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b", "qwen3", _contextual, 0),
    "contextual 2b, told": Answering(
        "ContextualAI/ctxl-rerank-v2-instruct-multilingual-2b", "qwen3", _contextual, 0, "Prefer what is new."
    ),
    "contextual 6b": Answering("ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b", "mistral", _contextual, 0),
    "contextual 6b, with a window": Answering(
        "ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b", "mistral", _contextual, 0, sliding_window=16
    ),
}


@pytest.mark.parametrize("query", [tiny.QUERY, "  pandas?\n", tiny.LONG_QUERY], ids=["question", "blanks", "long"])
@pytest.mark.parametrize("model", ANSWERING.values(), ids=ANSWERING)
def test_an_answer_parity(model: Answering, query: str, tmp_path: Path) -> None:
    """A model reads the ids of its card's prompt, and its score is the logit of one token after them."""
    config = {} if model.sliding_window is None else {"sliding_window": model.sliding_window}
    directory = tiny.build(model.kind, tmp_path, **config)
    ids = _ids(directory, [model.write(query, document, model.instruction) for document in DOCUMENTS])
    reference = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    answer = tokenizer.token_to_id(model.answer) if isinstance(model.answer, str) else model.answer
    with torch.inference_mode():
        expected = [float(reference(input_ids=torch.tensor([each])).logits[0, -1, answer]) for each in ids]

    with resift.load(directory, like=model.like, device="cpu") as ranker:
        told = model.instruction or None
        assert _found(ranker, query, DOCUMENTS, told) == ids
        _assert_close(ranker.score(query, DOCUMENTS, instruction=told), expected, LOGIT)


def test_a_logit_is_shifted_before_it_is_divided() -> None:
    """What authors subtract from a logit is in its own measure, whatever they divide the rest by."""
    scale = LogitScale(sigmoid_by_default=True, shift=3.0, spread=2.0)
    logits = np.array([5.0, 3.0], dtype=np.float32)

    _assert_close(scale.apply(logits, None), [1 / (1 + np.exp(-1.0)), 0.5], 1e-9)
    _assert_close(scale.apply(logits, False), logits, 0.0)  # noqa: FBT003 - as a caller says it


@pytest.mark.parametrize("name", ["zerank-1", "zerank-1-small", "zerank-2"])
def test_a_zerank_probability(name: str, tmp_path: Path) -> None:
    """In [0, 1], zerank's logit is divided by five first, as its authors did."""
    directory = tiny.build("qwen3", tmp_path)
    options: dict[str, Any] = {"like": f"zeroentropy/{name}", "device": "cpu"}
    with resift.load(directory, **options) as raw, resift.load(directory, normalize=True, **options) as bounded:
        logits, chances = (np.array(each.score(tiny.QUERY, DOCUMENTS)) for each in (raw, bounded))

    _assert_close(chances, 1 / (1 + np.exp(-logits / 5)), 1e-9)


def test_a_query_in_front_is_shared(tmp_path: Path) -> None:
    """What stands in front of the documents is computed once: zerank's query, and nothing of a query behind them."""
    directory = tiny.build("qwen3", tmp_path)
    with resift.load(directory, like="zeroentropy/zerank-2", device="cpu") as ranker:
        assert _shared(ranker) > 15
    contextual = "ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b"
    with resift.load(directory, like=contextual, device="cpu") as ranker:
        query = _ids(directory, [tiny.QUERY])[0]
        head = _ids(directory, [_contextual("", "", "").partition("<Query>")[0]])[0]
        assert _shared(ranker) <= len(head) < len(head) + len(query)


def test_a_document_in_front_gives_way_to_the_query(tmp_path: Path) -> None:
    """Where the query comes last, a document that is too long is cut, and the query stays whole."""
    directory = tiny.build("qwen3", tmp_path)
    end = _ids(directory, [f"\n<Query> {tiny.QUERY} ??"])[0]
    options: dict[str, Any] = {"like": "ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b", "device": "cpu"}
    with resift.load(directory, max_length=80, **options) as ranker:
        found = _found(ranker, tiny.QUERY, DOCUMENTS[-2:])
        assert list(map(len, found)) == [80, 80]
        assert [ids[-len(end) :] for ids in found] == [end, end]
        assert ranker.rank(tiny.QUERY, DOCUMENTS[-2:]).truncated == 2
        with pytest.raises(InvalidInput, match="max_length=80"):
            ranker.score(tiny.LONG_QUERY, DOCUMENTS[-2:])


# heads of their own


@dataclass(frozen=True)
class Headed:
    """A checkpoint as its authors publish it, and their score for one sequence of ids."""

    directory: Path
    score: Callable[[list[int]], float]


@pytest.fixture
def nemotron(tmp_path: Path) -> Headed:
    """Llama whose tokens look both ways: the mean of all, one linear layer."""
    directory = headed.nemotron(tmp_path)
    saved = json.loads((directory / "config.json").read_text())
    model: Any = LlamaModel(LlamaConfig(**saved | {"model_type": "llama", "attn_implementation": "eager"}))
    weights = load_file(directory / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in weights.items() if "model." in name})

    def score(ids: list[int]) -> float:
        everything = torch.zeros(1, 1, len(ids), len(ids))  # what is added to the weights: nothing is hidden
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([ids]), attention_mask=everything).last_hidden_state
        return float(states[0].mean(dim=0) @ weights["score.weight"][0])

    return Headed(directory, score)


@pytest.mark.parametrize("max_length", [8192, 64])
def test_a_bidirectional_llama_parity(max_length: int, nemotron: Headed) -> None:
    """Llama made to look both ways reads its card's prompt, and scores as with a mask that hides nothing."""
    texts = [f"question:{tiny.QUERY} \n \n passage:{document}" for document in DOCUMENTS]
    ids = _ids(nemotron.directory, texts, max_length=max_length)
    expected = [nemotron.score(each) for each in ids]

    like = "nvidia/llama-nemotron-rerank-1b-v2"
    with resift.load(nemotron.directory, like=like, device="cpu", max_length=max_length) as ranker:
        assert _found(ranker, tiny.QUERY, DOCUMENTS) == ids
        assert ids[0][0] == 2  # the tokenizer's own beginning
        assert _shared(ranker) == 0  # what comes first has looked at what comes last
        _assert_close(ranker.score(tiny.QUERY, DOCUMENTS), expected, LOGIT)
        alone = [ranker.score(tiny.QUERY, [document])[0] for document in DOCUMENTS[::5]]
    _assert_close(alone, expected[::5], LOGIT)


def test_a_temperature_divides_the_logit(nemotron: Headed) -> None:
    """A logit that its authors divide by a temperature is divided."""
    scores = []
    for temperature in (1.0, 0.5):
        headed.say(nemotron.directory, temperature=temperature)
        with resift.load(nemotron.directory, like="nvidia/llama-nemotron-rerank-1b-v2", device="cpu") as ranker:
            scores.append(np.array(ranker.score(tiny.QUERY, DOCUMENTS[:5])))

    _assert_close(scores[1], scores[0] * 2, LOGIT)


def test_a_bidirectional_llama_that_pools_otherwise_is_refused(nemotron: Headed) -> None:
    """A pooling that is not known is named."""
    headed.say(nemotron.directory, pooling="weighted")

    with pytest.raises(ModelUnsupported, match="'weighted'"):
        resift.load(nemotron.directory, like="nvidia/llama-nemotron-rerank-1b-v2", device="cpu")


def test_a_bidirectional_llama_in_half_precision(nemotron: Headed) -> None:
    """In bfloat16 it looks both ways as well, and says nearly the same."""
    options: dict[str, Any] = {"like": "nvidia/llama-nemotron-rerank-1b-v2", "device": "cpu"}
    with (
        resift.load(nemotron.directory, **options) as exact,
        resift.load(nemotron.directory, dtype="bfloat16", **options) as half,
    ):
        scores = [np.array(each.score(tiny.QUERY, DOCUMENTS)) for each in (exact, half)]

    assert 1e-5 < np.abs(scores[0] - scores[1]).max() < 0.05


WIDTH = 32
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "vocab_size": 1024,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]},
}


@pytest.fixture(params=["as first published", "as saved today"])
def jina_m0(request: pytest.FixtureRequest, tmp_path: Path) -> Headed:
    """Qwen2-VL with two linear layers in the place of its words, in both ways to name its weights."""
    directory = tiny.build("qwen2", tmp_path)
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    torch.manual_seed(0)
    config = Qwen2VLConfig(text_config=TEXT, vision_config=vision)
    model: Any = Qwen2VLForConditionalGeneration(config)
    head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
    for weight in [*model.model.language_model.parameters(), *head.parameters()]:
        if weight.dim() > 1:
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    weights = {name: weight.clone() for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    saved: dict[str, Any] = json.loads(config.to_json_string())
    if request.param == "as first published":
        weights = {
            name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): weight
            for name, weight in weights.items()
        }
        saved = TEXT | {"rope_theta": 1e6, "model_type": "qwen2_vl", "vision_config": vision}
        del saved["rope_parameters"]
        saved["rope_scaling"] = {"type": "mrope", "mrope_section": [2, 1, 1]}
    saved |= {"architectures": ["JinaVLForRanking"], "auto_map": {"AutoModel": "modeling.JinaVLForRanking"}}
    (directory / "config.json").write_text(json.dumps(saved))
    save_file(
        weights | {f"score.{name}": weight for name, weight in head.state_dict().items()},
        directory / "model.safetensors",
        {"format": "pt"},
    )

    def score(ids: list[int]) -> float:
        with torch.inference_mode():
            states = model.model(input_ids=torch.tensor([ids])).last_hidden_state
            return float(torch.sigmoid(head(states[0, -1]) - 2.65))

    return Headed(directory, score)


def test_the_text_of_a_vision_model_parity(jina_m0: Headed) -> None:
    """jina-reranker-m0 reads texts without its eyes: the ids of its card, and the probability of the whole model."""
    texts = [f"**Document**:\n{document}\n**Query**:\n{tiny.QUERY}" for document in DOCUMENTS]
    ids = [[*each, 100] for each in _ids(jina_m0.directory, texts)]
    expected = [jina_m0.score(each) for each in ids]

    with resift.load(jina_m0.directory, like="jinaai/jina-reranker-m0", device="cpu") as ranker:
        assert _found(ranker, tiny.QUERY, DOCUMENTS) == ids
        scores = ranker.score(tiny.QUERY, DOCUMENTS)
        _assert_close(scores, expected, SCORE)
        assert max(scores) - min(scores) > 1e-2


def test_a_long_document_leaves_room_for_the_query(jina_m0: Headed) -> None:
    """jina-reranker-m0 keeps 512 tokens of its length for the query, and ends in its token whatever is cut."""
    long = "bamboo panda " * 20000
    with resift.load(jina_m0.directory, like="jinaai/jina-reranker-m0", device="cpu") as ranker:
        (found,) = _found(ranker, tiny.QUERY, [long])
    around = len(_ids(jina_m0.directory, ["**Document**:\n"])[0]) + len(
        _ids(jina_m0.directory, [f"\n**Query**:\n{tiny.QUERY}"])[0]
    )

    assert len(found) == around + 10240 - 512 + 1
    assert found[-1] == 100


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A checkpoint that does not say what such a model says is refused by that."""
    directory = tiny.build("distilbert-cross", tmp_path)

    with pytest.raises(ModelUnsupported, match="num_hidden_layers"):
        resift.load(directory, like="BAAI/bge-reranker-v2-minicpm-layerwise", device="cpu")


@pytest.mark.parametrize(
    ("kind", "like", "said"),
    [
        ("llama", "nvidia/llama-nemotron-rerank-1b-v2", r"holds no score\.weight"),
        ("qwen2", "nvidia/llama-nemotron-rerank-1b-v2", r"does not compute with, .*k_proj\.bias"),
        ("qwen2", "jinaai/jina-reranker-m0", r"holds no score\.0\.weight"),
    ],
)
def test_a_model_without_such_a_head_is_refused(kind: str, like: str, said: str, tmp_path: Path) -> None:
    """A checkpoint that lacks the head which `like` speaks of, or has more in its layers, is refused."""
    directory = tiny.build(kind, tmp_path)

    with pytest.raises(ModelUnsupported, match=said):
        resift.load(directory, like=like, device="cpu")
