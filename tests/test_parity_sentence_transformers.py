"""
Models say here what they say in sentence-transformers.

Token ids are compared first, because numbers can agree only where ids do. The reference reads one document at a time,
so that its own padding does not count as a difference.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
from tokenizers import Tokenizer

import resift
import tiny
from resift.errors import ModelUnsupported

LOGIT = 2e-6  # packed rows are not summed in the order of rows alone; the reference differs as much from itself
ROUGH = {"deberta-cross": 1e-5}  # the reference is half of that from exact sums, resift a fifth
SCORE = 1e-6  # behind a sigmoid, or between vectors of length 1

QUERIES = {"short": tiny.QUERY, "long": tiny.LONG_QUERY}
DOCUMENTS = list(tiny.DOCUMENTS)
COMBINING, FULL_WIDTH, MASK = DOCUMENTS[14], DOCUMENTS[19], DOCUMENTS[22]

# Where transformers 5 rebuilds a tokenizer from its class, and reads these differently from tokenizer.json.
REBUILT = {
    "xlmr-cross": {COMBINING, FULL_WIDTH},
    "roberta-cross": set(),
    "bert-cross": set(),
    "electra-cross": set(),
    "distilbert-cross": set(),
    "deberta-cross": {FULL_WIDTH},
    "modernbert-cross": set(),
}
TYPED = {"bert-cross", "electra-cross"}
IDENTITY = "torch.nn.modules.linear.Identity"

Build = Callable[..., Path]
Read = dict[str, list[int]]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a maker of tiny models, each in a directory of its own."""
    return lambda kind, **config: tiny.build(kind, tmp_path_factory.mktemp(kind), **config)


@contextmanager
def _watch(model: Any) -> Iterator[list[Read]]:
    """Collect what a model of sentence-transformers is given, which must be one text or pair at a time."""
    seen: list[Read] = []

    def note(_module: object, arguments: tuple[dict[str, Any]]) -> None:
        (ids,), types = arguments[0]["input_ids"].tolist(), arguments[0].get("token_type_ids")
        seen.append({"ids": ids})
        if types is not None and types.any():  # nothing but zeros is as good as no types
            seen[-1]["types"] = types[0].tolist()

    handle = model[0].register_forward_pre_hook(note)
    yield seen
    handle.remove()


def _predict(
    model: CrossEncoder, query: str, documents: Sequence[str], **options: Any
) -> tuple[list[Read], list[float]]:
    """Return what the reference reads, and its raw logits."""
    with _watch(model) as seen:
        options |= {"activation_fn": torch.nn.Identity(), "show_progress_bar": False}
        scores = [float(model.predict([(query, document)], **options)[0]) for document in documents]
    return seen, scores


def _read(
    ranker: resift.LocalRanker, query: str, documents: Sequence[str], instruction: str | None = None
) -> list[Read]:
    """Return what resift lets the model read."""
    prepared = ranker._hold.family.prepare(query, documents, instruction)  # noqa: SLF001 - there is no other way to see
    return [
        {"ids": [*prepared.prefix.tolist(), *tokens.ids.tolist()]}
        | ({} if tokens.types is None else {"types": tokens.types.tolist()})
        for tokens in prepared.sequences
    ]


def _ids(read: list[Read]) -> list[list[int]]:
    return [each["ids"] for each in read]


def _assert_close(found: Any, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


# cross-encoders


@pytest.mark.parametrize("length", QUERIES)
@pytest.mark.parametrize("max_length", [512, 64])
@pytest.mark.parametrize("kind", REBUILT)
def test_pairs_parity(kind: str, max_length: int, length: str, build: Build) -> None:
    """A cross-encoder reads the same ids, cut at the same places, and says the same logits."""
    directory, query = build(kind), QUERIES[length]
    documents = [document for document in DOCUMENTS if document not in REBUILT[kind]]
    if length == "long":
        documents = documents[::3]  # all fill the whole length, so a few show as much as all
    reference = CrossEncoder(str(directory), device="cpu", max_length=max_length, local_files_only=True)
    expected, logits = _predict(reference, query, documents)

    with resift.load(directory, device="cpu", max_length=max_length, normalize=False) as ranker:
        found = _read(ranker, query, documents)
        assert _ids(found) == _ids(expected)
        if kind in TYPED:
            assert found == expected
        _assert_close(ranker.score(query, documents), logits, ROUGH.get(kind, LOGIT))


@pytest.mark.parametrize("kind", REBUILT)
def test_default_parity(kind: str, build: Build) -> None:
    """A cross-encoder that says nothing about it reads what fits and scores in [0, 1]."""
    documents = [document for document in DOCUMENTS if document not in REBUILT[kind]][::-4]  # the longest, and some
    _assert_scores_by_default(build(kind), documents, raw=False)


@pytest.mark.parametrize("kind", REBUILT)
def test_tokenizer_authority(kind: str, build: Build) -> None:
    """Ids are those of tokenizer.json, also of the few texts that a tokenizer rebuilt by transformers 5 reads anew."""
    directory = build(kind)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    written = [each.ids for each in tokenizer.encode_batch([(tiny.QUERY, document) for document in DOCUMENTS])]
    reference = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    read = reference.tokenizer([tiny.QUERY] * len(DOCUMENTS), DOCUMENTS, truncation=True, max_length=512)

    with resift.load(directory, device="cpu", max_length=512) as ranker:
        assert _ids(_read(ranker, tiny.QUERY, DOCUMENTS)) == written
    differing = {text for text, old, new in zip(DOCUMENTS, written, read["input_ids"], strict=True) if old != new}
    assert differing == REBUILT[kind]


@pytest.mark.parametrize(
    ("config", "raw"),
    [
        ({}, False),
        ({"sbert_ce_default_activation_function": IDENTITY}, True),
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, True),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, False),
    ],
)
def test_activation_parity(config: dict[str, Any], *, raw: bool, build: Build) -> None:
    """Where a checkpoint says that its score is a logit, as ms-marco models do, it is; else it is in [0, 1]."""
    _assert_scores_by_default(build("bert-cross", **config), DOCUMENTS, raw=raw)


@pytest.mark.parametrize("activation", [torch.nn.Identity(), torch.nn.Sigmoid()])
def test_saved_parity(activation: torch.nn.Module, build: Build, tmp_path: Path) -> None:
    """A cross-encoder that the reference saved itself scores as it did there, whatever the original said."""
    original = build("bert-cross", sbert_ce_default_activation_function="torch.nn.Sigmoid")
    model = CrossEncoder(str(original), device="cpu", activation_fn=activation, local_files_only=True)
    model.save_pretrained(str(tmp_path))
    _assert_scores_by_default(tmp_path, DOCUMENTS, raw=isinstance(activation, torch.nn.Identity))


def _assert_scores_by_default(directory: Path, documents: Sequence[str], *, raw: bool) -> None:
    reference = CrossEncoder(str(directory), device="cpu", local_files_only=True)
    expected = reference.predict([(tiny.QUERY, document) for document in documents], show_progress_bar=False)

    with resift.load(directory, device="cpu") as ranker:
        scores = ranker.score(tiny.QUERY, documents)
    _assert_close(scores, expected, LOGIT if raw else SCORE)
    assert (min(scores) < 0 or max(scores) > 1) == raw


# language models


def _says(role: str) -> str:
    """Return what a chat template says of one role: its message, or nothing."""
    return f"(messages | selectattr('role', 'eq', '{role}') | map(attribute='content') | join)"


QUERY_TEXT, DOCUMENT_TEXT, SYSTEM_TEXT = (f"{{{{ {_says(role)} }}}}" for role in ("query", "document", "system"))

# Jinja drops the last newline of a template: where a prompt ends in one, its template ends in one more.
QWEN3_CHAT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    f"<Instruct>: {SYSTEM_TEXT}\n<Query>: {QUERY_TEXT}\n<Document>: {DOCUMENT_TEXT}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
)
MXBAI_CHAT = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\n{{{{ 'instruction: ' ~ {_says('system')} ~ '\\n' if {_says('system')} }}}}"
    f"query: {QUERY_TEXT}\ndocument: {DOCUMENT_TEXT}\n"
    "You are a search relevance expert who evaluates how well documents match search queries. "
    "For each query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n\n"
)
GEMMA_CHAT = f"<bos>A: {QUERY_TEXT}\nB: {DOCUMENT_TEXT}\n{SYSTEM_TEXT}"
WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
YES_OR_NO = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)


@dataclass(frozen=True)
class Chat:
    """A prompted model in both worlds."""

    kind: str
    like: str
    template: str
    answers: list[str]
    instruction: str | None = None
    default: str | None = None
    """The instruction that resift knows by itself."""

    document: str | None = None
    """The document's piece, where a newline follows it in a piece of its own."""

    rebuilt: frozenset[str] = frozenset()
    """What a tokenizer rebuilt by transformers 5 reads differently from tokenizer.json."""

    query: str = "how long do giant pandas sleep"
    max_length: int = 8192

    def open_reference(self, directory: Path) -> CrossEncoder:
        (directory / "chat_template.jinja").write_text(self.template)
        options = {"model_max_length": self.max_length}
        transformer = Transformer(str(directory), transformer_task="text-generation", processor_kwargs=options)
        tokenizer: Any = transformer.tokenizer
        score = LogitScore(*tokenizer.convert_tokens_to_ids(self.answers))
        model: CrossEncoder = CrossEncoder(modules=[transformer, score], device="cpu")
        return model


QWEN3 = Chat("qwen3", "Qwen/Qwen3-Reranker-0.6B", QWEN3_CHAT, ["yes", "no"], WEB_SEARCH, WEB_SEARCH)
MXBAI = Chat("qwen2", "mixedbread-ai/mxbai-rerank-base-v2", MXBAI_CHAT, ["1", "0"], document="document: {}")
GEMMA = Chat(
    "gemma", "BAAI/bge-reranker-v2-gemma", GEMMA_CHAT, ["Yes"], YES_OR_NO, YES_OR_NO, "B: {}", frozenset({MASK})
)
CHATS = {
    "qwen3": QWEN3,
    "qwen3, a question": replace(QWEN3, query=tiny.QUERY),
    "qwen3, an instruction": replace(QWEN3, instruction="Find what answers the question of a child."),
    "qwen3, cut": replace(QWEN3, query=tiny.QUERY, max_length=160),
    "qwen3, cut, a long query": replace(QWEN3, query=tiny.LONG_QUERY, max_length=576),
    "mxbai": MXBAI,
    "mxbai, an instruction": replace(MXBAI, instruction="Prefer documents that name the animal"),
    "gemma": GEMMA,
    "gemma, an instruction": replace(GEMMA, instruction="Does B help with A? Answer 'Yes' or 'No'."),
}


def _reads_alike(tokenizer: Tokenizer, chat: Chat, document: str) -> bool:
    """Whether a chat template, tokenised as a whole, can give the ids of its pieces: no token spans two of them."""
    if document in chat.rebuilt or chat.document is None:
        return document not in chat.rebuilt
    piece = chat.document.format(document)
    whole, *pieces = (tokenizer.encode(text, add_special_tokens=False).ids for text in (f"{piece}\n", piece, "\n"))
    return whole == [*pieces[0], *pieces[1]]


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_chat_parity(chat: Chat, build: Build) -> None:
    """A prompted model reads the ids of the chat template wherever no token joins two pieces, and says the same."""
    directory = build(chat.kind)
    expected, logits = _predict(chat.open_reference(directory), chat.query, DOCUMENTS, prompt=chat.instruction)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    told = None if chat.instruction == chat.default else chat.instruction
    options: dict[str, Any] = {"like": chat.like, "max_length": chat.max_length, "normalize": False}
    with resift.load(directory, device="cpu", **options) as ranker:
        found = _read(ranker, chat.query, DOCUMENTS, told)
        scores = ranker.score(chat.query, DOCUMENTS, instruction=told)

    agreed = [_reads_alike(tokenizer, chat, document) for document in DOCUMENTS]
    assert [here == there for here, there in zip(_ids(found), _ids(expected), strict=True)] == agreed
    assert sum(agreed) >= 9
    _assert_close(np.array(scores)[agreed], np.array(logits)[agreed], LOGIT)


# embeddings


PASSAGES = "Represent this sentence for searching relevant passages: "
PROMPTS = {"query": "ask: ", "document": "text: "}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "cls": {"pooling": "cls"},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max"},
    "mean_sqrt_len": {"pooling": "mean_sqrt_len"},
    "weightedmean": {"pooling": "weightedmean"},
    "lasttoken": {"pooling": "lasttoken"},
    "not normalised": {"pooling": "mean", "normalize": False},
    "prompts": {"pooling": "mean", "prompts": PROMPTS},
    "short": {"pooling": "cls", "max_seq_length": 64},
}


def _embed(
    model: SentenceTransformer, query: str, documents: Sequence[str], **options: Any
) -> tuple[list[Read], list[float]]:
    """Return what the reference reads, the query first, and how alike it finds query and documents."""
    with _watch(model) as seen:
        asked = model.encode_query(query, **options)
        vectors = np.stack([model.encode_document(document) for document in documents])
    return seen, model.similarity(asked, vectors)[0].tolist()


def _assert_embeds_alike(ranker: resift.LocalRanker, query: str, expected: tuple[list[Read], list[float]]) -> None:
    read, similarities = expected
    assert _read(ranker, query, DOCUMENTS) == read
    scale = max(map(abs, similarities))  # 1 where it is a cosine
    _assert_close(np.array(ranker.score(query, DOCUMENTS)) / scale, np.array(similarities) / scale, SCORE)


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("config", EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_embedding_parity(config: dict[str, Any], query: str, build: Build) -> None:
    """An embedding model reads the same ids, pools them as its files say, and finds the same likeness."""
    directory = build("bert-embedding", **config)
    expected = _embed(SentenceTransformer(str(directory), device="cpu", local_files_only=True), query, DOCUMENTS)

    with resift.load(directory, device="cpu") as ranker:
        _assert_embeds_alike(ranker, query, expected)


@pytest.mark.parametrize("normalize", [True, False])
def test_dot_product_parity(*, normalize: bool, build: Build) -> None:
    """A model that compares by dot product does so here."""
    directory = build("bert-embedding", pooling="mean", normalize=normalize)
    (directory / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    expected = _embed(SentenceTransformer(str(directory), device="cpu", local_files_only=True), tiny.QUERY, DOCUMENTS)

    with resift.load(directory, device="cpu") as ranker:
        _assert_embeds_alike(ranker, tiny.QUERY, expected)


def test_bge_instruction_parity(build: Build) -> None:
    """A copy of a bge model puts that model's instruction in front of the query, and of nothing else."""
    directory = build("bert-embedding")
    reference = SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    expected = _embed(reference, tiny.QUERY, DOCUMENTS, prompt=PASSAGES)

    with resift.load(directory, like="BAAI/bge-large-en-v1.5", device="cpu") as ranker:
        _assert_embeds_alike(ranker, tiny.QUERY, expected)


# what is rarely set


RARE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lower case": ("roberta-cross", "sentence_bert_config.json", {"do_lower_case": True}),
    "a prompt": (
        "bert-cross",
        "config_sentence_transformers.json",
        {"prompts": {"search": "find: "}, "default_prompt_name": "search"},
    ),
    "shorter vectors": ("bert-embedding", "config_sentence_transformers.json", {"truncate_dim": 8}),
    "cut in front": ("bert-cross", "tokenizer_config.json", {"truncation_side": "left"}),
    "vectors cut in front": ("bert-embedding", "tokenizer_config.json", {"truncation_side": "left"}),
}
REFUSED = ("cut in front", "vectors cut in front")


@pytest.mark.parametrize("name", RARE)
def test_rare_settings_parity(name: str, build: Build, tmp_path: Path) -> None:
    """What a checkpoint's files ask sentence-transformers for is done here, or the model is refused; never ignored."""
    kind, file, settings = RARE[name]
    model: Any = SentenceTransformer if kind == "bert-embedding" else CrossEncoder
    model(str(build(kind)), device="cpu", local_files_only=True).save_pretrained(str(tmp_path))
    saved = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(saved | settings))
    reference = model(str(tmp_path), device="cpu", local_files_only=True)
    if kind == "bert-embedding":
        expected = _embed(reference, tiny.QUERY, DOCUMENTS)[1]
    else:
        expected = reference.predict([(tiny.QUERY, document) for document in DOCUMENTS], show_progress_bar=False)
    if name in REFUSED:
        with pytest.raises(ModelUnsupported, match="truncation_side"):
            resift.load(tmp_path, device="cpu")
        return
    with resift.load(tmp_path, device="cpu") as ranker:
        _assert_close(ranker.score(tiny.QUERY, DOCUMENTS), expected, SCORE)
