"""
Models say here what plain transformers says: the snippets of model cards, and forward passes without any cleverness.

The reference reads one sequence at a time, unpadded, with tokenizer.json as it is.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

import resift
import tiny
from resift.scoring.families import Prepared
from resift.scoring.planning import Tokens

LOGIT = 2e-6  # packed rows are not summed in the order of rows alone; the reference differs as much from itself
SCORE = 1e-6  # behind a sigmoid
HALF = 0.05  # what bfloat16 loses where numbers are near 1

QUERIES = {"short": tiny.QUERY, "long": tiny.LONG_QUERY}
DOCUMENTS = list(tiny.DOCUMENTS)

Build = Callable[..., Path]
Ids = list[list[int]]


@dataclass(frozen=True)
class Prompted:
    """A prompted model: what it is read as, and the tokens whose logits are its answer."""

    kind: str
    like: str
    answers: tuple[str, ...]
    architecture: str = ""
    """The class of a classifier that says the same, if there is one."""

    def open(self, directory: Path, **options: Any) -> resift.LocalRanker:
        return resift.load(directory, like=self.like, device="cpu", normalize=False, **options)

    def answer_ids(self, directory: Path) -> list[int]:
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        return _ids_of(tokenizer, self.answers)


PROMPTED = {
    "mxbai": Prompted("qwen2", "mixedbread-ai/mxbai-rerank-base-v2", ("1", "0"), "Qwen2ForSequenceClassification"),
    "qwen3": Prompted("qwen3", "Qwen/Qwen3-Reranker-0.6B", ("yes", "no"), "Qwen3ForSequenceClassification"),
    "gemma": Prompted("gemma", "BAAI/bge-reranker-v2-gemma", ("Yes",), "GemmaForSequenceClassification"),
    "gemma2": Prompted("gemma2", "BAAI/bge-reranker-v2-gemma", ("Yes",)),  # bounds its logits behind the projection
}
CONVERTIBLE = {name: model for name, model in PROMPTED.items() if model.architecture}


def _ids_of(tokenizer: Tokenizer, pieces: Sequence[str]) -> list[int]:
    """Tokenise each piece alone and join the ids."""
    return [token for piece in pieces for token in tokenizer.encode(piece, add_special_tokens=False).ids]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a maker of tiny models, each in a directory of its own."""
    return lambda kind, **config: tiny.build(kind, tmp_path_factory.mktemp(kind), **config)


def _prepare(
    ranker: resift.LocalRanker, query: str, documents: Sequence[str], instruction: str | None = None
) -> Prepared:
    return ranker._hold.family.prepare(query, documents, instruction)  # noqa: SLF001 - there is no other way to see


def _read(ranker: resift.LocalRanker, query: str, documents: Sequence[str], instruction: str | None = None) -> Ids:
    """Return the ids that resift lets the model read."""
    prepared = _prepare(ranker, query, documents, instruction)
    return [[*prepared.prefix.tolist(), *tokens.ids.tolist()] for tokens in prepared.sequences]


def _tensor(ids: Any) -> torch.Tensor:
    return torch.tensor([np.asarray(ids, dtype=np.int64).tolist()])


def _classify(model: Any, sequences: Sequence[Tokens]) -> list[float]:
    """Return the one logit that a classifier gives each sequence."""
    logits = []
    for sequence in sequences:
        types = {} if sequence.types is None else {"token_type_ids": _tensor(sequence.types)}
        with torch.inference_mode():
            logits.append(float(model(input_ids=_tensor(sequence.ids), **types).logits))
    return logits


def _answer(model: Any, ids: Ids, answers: Sequence[int]) -> list[float]:
    """Return what a language model answers to each sequence: a logit after it, less that of the other answer if any."""
    asked = []
    for sequence in ids:
        with torch.inference_mode():
            logits = model(input_ids=_tensor(sequence)).logits[0, -1]
        first, *second = (float(logits[answer]) for answer in answers)
        asked.append(first - sum(second))
    return asked


def _assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


# prompted language models


@pytest.mark.parametrize("model", PROMPTED.values(), ids=PROMPTED)
def test_answer_parity(model: Prompted, build: Build) -> None:
    """Reading two rows of the vocabulary gives what the logits of the whole vocabulary give."""
    directory = build(model.kind)
    reference = AutoModelForCausalLM.from_pretrained(directory)
    with model.open(directory) as ranker:
        expected = _answer(reference, _read(ranker, tiny.QUERY, DOCUMENTS), model.answer_ids(directory))
        _assert_close(ranker.score(tiny.QUERY, DOCUMENTS), expected, LOGIT)


def _as_classifier(directory: Path, model: Prompted) -> Path:
    """Turn a language model into a classifier whose one row is what the answers' rows say."""
    weights = load_file(directory / "model.safetensors")
    output = weights.pop("lm_head.weight", weights["model.embed_tokens.weight"])
    first, *second = (output[answer] for answer in model.answer_ids(directory))
    weights["score.weight"] = (first - sum(second))[None]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config |= {"architectures": [model.architecture], "id2label": {"0": "relevant"}, "label2id": {"relevant": 0}}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("model", CONVERTIBLE.values(), ids=CONVERTIBLE)
def test_conversion_parity(model: Prompted, build: Build) -> None:
    """A prompted model that was converted to a classifier says the same about the same ids."""
    with model.open(build(model.kind)) as ranker:
        ids = _read(ranker, tiny.QUERY, DOCUMENTS)
        expected = ranker.score(tiny.QUERY, DOCUMENTS)
    directory = _as_classifier(build(model.kind), model)
    reference = AutoModelForSequenceClassification.from_pretrained(directory)
    sequences = [Tokens(np.array(sequence, dtype=np.int32)) for sequence in ids]

    with model.open(directory) as ranker:
        assert _read(ranker, tiny.QUERY, DOCUMENTS) == ids
        found = ranker.score(tiny.QUERY, DOCUMENTS)
    _assert_close(found, expected, LOGIT)
    _assert_close(found, _classify(reference, sequences), LOGIT)


@pytest.mark.parametrize("model", PROMPTED.values(), ids=PROMPTED)
def test_shared_prefix_parity(model: Prompted, build: Build) -> None:
    """What documents share is computed once for all of them, and each scores as if it were the only one."""
    with model.open(build(model.kind)) as ranker:
        shared = _prepare(ranker, tiny.QUERY, DOCUMENTS).prefix
        together = ranker.score(tiny.QUERY, DOCUMENTS)
        alone = [ranker.score(tiny.QUERY, [document])[0] for document in DOCUMENTS]
    assert len(shared) > 20
    _assert_close(together, alone, LOGIT)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma"])
def test_a_model_that_looks_ahead_shares_nothing(kind: str, build: Build) -> None:
    """Where tokens see those behind them, what comes first is read anew with each document, and scores are exact."""
    model = next(each for each in PROMPTED.values() if each.kind == kind)
    directory = build(kind, is_causal=False)
    reference = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")
    causal = _answer(AutoModelForCausalLM.from_pretrained(build(kind)), [[5, 6, 7]], [8])
    assert _answer(reference, [[5, 6, 7]], [8]) != pytest.approx(causal, abs=1e-3)

    with model.open(directory) as ranker:
        assert not len(_prepare(ranker, tiny.QUERY, DOCUMENTS).prefix)
        expected = _answer(reference, _read(ranker, tiny.QUERY, DOCUMENTS), model.answer_ids(directory))
        _assert_close(ranker.score(tiny.QUERY, DOCUMENTS), expected, LOGIT)


QWEN3_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
QWEN3_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"


def _qwen3_card(
    directory: Path, query: str, documents: Sequence[str], instruction: str, *, max_length: int
) -> tuple[Ids, list[float]]:
    """Do what the card of Qwen3-Reranker shows: one body cut to its room, a frame around it, padding on the left."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(directory)
    prefix, suffix = (tokenizer.encode(text, add_special_tokens=False) for text in (QWEN3_PREFIX, QWEN3_SUFFIX))
    no, yes = tokenizer.convert_tokens_to_ids(["no", "yes"])
    bodies = [f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}" for document in documents]
    room = max_length - len(prefix) - len(suffix)
    cut = tokenizer(bodies, truncation="longest_first", max_length=room, add_special_tokens=False)["input_ids"]
    ids = [[*prefix, *body, *suffix] for body in cut]
    with torch.inference_mode():
        logits = model(**tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt")).logits[:, -1]
    chances = torch.log_softmax(torch.stack([logits[:, no], logits[:, yes]], dim=1), dim=1)
    return ids, chances[:, 1].exp().tolist()


@pytest.mark.parametrize(
    ("query", "instruction", "max_length"),
    [
        (tiny.QUERY, None, 8192),
        (tiny.LONG_QUERY, None, 8192),
        (tiny.QUERY, "Find what answers the question of a child.", 8192),
        (tiny.QUERY, None, 160),
        (tiny.LONG_QUERY, None, 576),
    ],
)
def test_qwen3_card_parity(query: str, instruction: str | None, max_length: int, build: Build) -> None:
    """Qwen3-Reranker reads the ids of its card and returns that probability of "yes"."""
    directory = build("qwen3")
    ids, scores = _qwen3_card(directory, query, DOCUMENTS, instruction or WEB_SEARCH, max_length=max_length)

    with resift.load(directory, like="Qwen/Qwen3-Reranker-0.6B", device="cpu", max_length=max_length) as ranker:
        assert _read(ranker, query, DOCUMENTS, instruction) == ids
        _assert_close(ranker.score(query, DOCUMENTS, instruction=instruction), scores, SCORE)


# pair cross-encoders


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("max_length", [512, 64])
@pytest.mark.parametrize("kind", ["xlmr-cross", "bert-cross"])
def test_card_parity(kind: str, max_length: int, query: str, build: Build) -> None:
    """A cross-encoder reads the ids of the snippet on its card, the longer text cut first, and returns that logit."""
    directory = build(kind)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    options = {"truncation": True, "max_length": max_length, "return_token_type_ids": kind == "bert-cross"}
    inputs = [tokenizer([[query, document]], return_tensors="pt", **options) for document in DOCUMENTS]
    with torch.inference_mode():
        expected = [float(model(**pair).logits.view(-1)) for pair in inputs]

    with resift.load(directory, device="cpu", max_length=max_length, normalize=False) as ranker:
        assert _read(ranker, query, DOCUMENTS) == [pair["input_ids"][0].tolist() for pair in inputs]
        _assert_close(ranker.score(query, DOCUMENTS), expected, LOGIT)


# half precision


@pytest.mark.parametrize("kind", ["xlmr-cross", "bert-cross", "mxbai", "qwen3", "gemma", "gemma2"])
def test_half_precision_parity(kind: str, build: Build) -> None:
    """In bfloat16 a model says what it says in transformers in bfloat16, and keeps pairs apart that are far apart."""
    model = PROMPTED.get(kind)
    directory = build(model.kind if model else kind)
    options: dict[str, Any] = {"device": "cpu", "normalize": False, "like": model and model.like}
    with resift.load(directory, **options) as ranker:
        exact = np.array(ranker.score(tiny.QUERY, DOCUMENTS))
    with resift.load(directory, dtype="bfloat16", **options) as ranker:
        found = np.array(ranker.score(tiny.QUERY, DOCUMENTS))
        if model:
            reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
            expected = _answer(reference, _read(ranker, tiny.QUERY, DOCUMENTS), model.answer_ids(directory))
        else:
            reference = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.bfloat16)
            expected = _classify(reference, _prepare(ranker, tiny.QUERY, DOCUMENTS).sequences)
    _assert_close(found, expected, HALF)
    assert np.abs(found - exact).max() > 1e-4  # it did run in half precision
    apart = exact[:, None] - exact[None] > 4 * HALF
    assert apart.sum() > 10
    assert (found[:, None] > found[None])[apart].all()


# prompts that a user declares


@dataclass(frozen=True)
class Declared:
    """A prompt, and the same written out by hand."""

    prompt: resift.Prompt
    write: Callable[[str, str, str], tuple[str, ...]]
    kind: str = "qwen3"
    before: tuple[int, ...] = ()


DECLARED = {
    "piece by piece": Declared(
        resift.Prompt(
            pieces=(
                "<|im_start|>user\n",
                "{instruction}\nQuestion: {query}",
                "\n",
                "Text: {document}",
                "\nDoes it help?<|im_end|>\n",
                "<|im_start|>assistant\n",
            ),
            positive="Yes",
            negative="No",
            instruction="Say whether the text helps.",
        ),
        lambda query, document, instruction: (
            "<|im_start|>user\n",
            f"{instruction or 'Say whether the text helps.'}\nQuestion: {query}",
            "\n",
            f"Text: {document}",
            "\nDoes it help?<|im_end|>\n",
            "<|im_start|>assistant\n",
        ),
    ),
    "in one piece": Declared(
        resift.Prompt(pieces=("{query}\n{instruction}\n{document}\n{query}:",), positive="1", negative="0"),
        lambda query, document, instruction: (f"{query}\n{instruction}\n{document}\n{query}:",),
        kind="qwen2",
    ),
    "the document first": Declared(
        resift.Prompt(pieces=("Text: {document}\n", "Query: {query} {instruction} ??"), positive="yes"),
        lambda query, document, instruction: (f"Text: {document}\n", f"Query: {query} {instruction} ??"),
    ),
    "after the beginning": Declared(
        resift.Prompt(
            pieces=("Q: {query}\n", "D: {document}\n", "Relevant?"), positive="Yes", negative="No", begins_with_bos=True
        ),
        lambda query, document, instruction: (f"Q: {query}\n", f"D: {document}\n", "Relevant?"),
        kind="gemma",
        before=(2,),
    ),
}
LOOKALIKE = "Does a {document} or a {query} eat what {instruction} says?"


@pytest.mark.parametrize("instruction", [None, "Look for {query} in {document}."])
@pytest.mark.parametrize("query", [tiny.QUERY, LOOKALIKE], ids=["question", "lookalike"])
@pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)
def test_declared_parity(declared: Declared, query: str, instruction: str | None, build: Build) -> None:
    """A declared prompt is its pieces, each tokenised alone; texts that look like placeholders stay texts."""
    directory, prompt = build(declared.kind), declared.prompt
    told = {} if instruction is None or declared.kind == "gemma" else {"instruction": instruction}
    documents = [*DOCUMENTS, "{document}", "{query} and {instruction}"]
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    written = (declared.write(query, document, told.get("instruction", "")) for document in documents)
    ids = [[*declared.before, *_ids_of(tokenizer, pieces)] for pieces in written]
    answers = _ids_of(tokenizer, [answer for answer in (prompt.positive, prompt.negative) if answer])
    expected = _answer(AutoModelForCausalLM.from_pretrained(directory), ids, answers)

    with resift.load(directory, like=prompt, device="cpu", normalize=False) as ranker:
        assert _read(ranker, query, documents, told.get("instruction")) == ids
        _assert_close(ranker.score(query, documents, **told), expected, LOGIT)
