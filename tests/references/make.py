"""
Records what the models' own packages compute for the tiny models, as one JSON file per package and way of reading.

It runs in an environment of its own, which README.md says how to make; the tests only read what it wrote.
"""

import json
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
import transformers

import tiny

FOLDER = Path(__file__).parent
DOCUMENTS = list(tiny.DOCUMENTS)
QUERIES = {"short": tiny.QUERY, "long": tiny.LONG_QUERY}
PASSAGES = "Represent this sentence for searching relevant passages: "
WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"

Record = dict[str, Any]
Ids = list[list[int]]
Score = Callable[[str, list[str]], list[float]]
Encode = Callable[[list[str]], Any]

# By name, as no one environment holds them all beside the project's own versions.
FLAG, MXBAI, SENTENCE = (import_module(name) for name in ("FlagEmbedding", "mxbai_rerank", "sentence_transformers"))

QWEN3_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
QWEN3_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class Checkpoint:
    """A tiny model on disk, and all that is needed to build it again."""

    def __init__(self, kind: str, **config: Any) -> None:
        self._folder = tempfile.TemporaryDirectory()  # goes when the checkpoint goes
        self.path = str(tiny.build(kind, Path(self._folder.name), **config))
        self.record = {"kind": kind, "seed": 0, "config": config, "sha256": tiny.fingerprint(Path(self.path))}


@contextmanager
def watch(model: torch.nn.Module) -> Iterator[Ids]:
    """Collect the ids that `model` is really given, less their padding."""
    seen: Ids = []

    def note(_module: torch.nn.Module, _args: object, inputs: Record) -> None:
        rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        seen.extend(ids[mask.bool()].tolist() for ids, mask in rows)

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def record_pairs(score: Score, watched: torch.nn.Module, *, query: str) -> Record:
    """Score all documents in one call, then each alone, which tells whose ids the model was given."""
    with watch(watched) as seen:
        together = score(query, DOCUMENTS)
    alone, ids = [], []
    for document in DOCUMENTS:
        with watch(watched) as seen_alone:
            alone += score(query, [document])
        # FlagEmbedding runs a batch twice: the first time it only tries whether the memory suffices.
        assert all(sequence == seen_alone[0] for sequence in seen_alone)
        ids.append(seen_alone[0])
    assert sorted(seen[-len(DOCUMENTS) :]) == sorted(ids)
    return {"query": query, "ids": ids, "scores": together, "scores_alone": alone}


def flag_encoder() -> Iterator[Record]:
    """FlagReranker: the query keeps three quarters, then only the document is cut."""
    for kind, limits in (("xlmr-cross", (512, 64, 16)), ("bert-cross", (512, 64))):
        checkpoint = Checkpoint(kind)
        calls: list[tuple[Record, str]] = [({"max_length": limit}, name) for limit in limits for name in QUERIES]
        for setting, name in [*calls, ({"max_length": 512, "normalize": True}, "short")]:
            ranker = FLAG.FlagReranker(checkpoint.path, use_fp16=False, devices="cpu", **setting)
            pairs = record_pairs(flag_score(ranker), ranker.model, query=QUERIES[name])
            yield {"model": checkpoint.record, "settings": setting} | pairs


def flag_score(ranker: Any) -> Score:
    def score(query: str, documents: list[str]) -> list[float]:
        return [float(each) for each in ranker.compute_score([(query, document) for document in documents])]

    return score


def flag_causal() -> Iterator[Record]:
    """FlagLLMReranker: pieces tokenised one by one, the logit of "Yes"."""
    checkpoint = Checkpoint("gemma")
    prompt = "Does the passage B help with the query A? Answer with 'Yes' or 'No'."
    calls: list[tuple[Record, str]] = [
        ({"max_length": 512}, "short"),
        ({"max_length": 512}, "long"),
        ({"max_length": 64}, "short"),
        ({"max_length": 64}, "long"),
        # The query alone fills all the room: a document no longer than what should go is then kept whole.
        ({"max_length": 64, "query_max_length": 256}, "long"),
        ({"max_length": 512, "prompt": prompt}, "short"),
        ({"max_length": 512, "normalize": True}, "short"),
    ]
    for setting, name in calls:
        ranker = FLAG.FlagLLMReranker(checkpoint.path, use_fp16=False, devices="cpu", **setting)
        pairs = record_pairs(flag_score(ranker), ranker.model, query=QUERIES[name])
        yield {"model": checkpoint.record, "settings": setting} | pairs


def flag_layerwise() -> Iterator[Record]:
    """LayerWiseFlagLLMReranker: MiniCPM, the head behind the last layer, which it reads unless told otherwise."""
    checkpoint = Checkpoint("minicpm")
    prompt = "Does the passage B help with the query A? Answer with 'Yes' or 'No'."
    calls: list[tuple[Record, str]] = [
        ({"max_length": 512}, "short"),
        ({"max_length": 512}, "long"),
        ({"max_length": 64}, "short"),
        ({"max_length": 64}, "long"),
        ({"max_length": 512, "prompt": prompt}, "short"),
        ({"max_length": 512, "normalize": True}, "short"),
    ]
    for setting, name in calls:
        ranker = FLAG.LayerWiseFlagLLMReranker(checkpoint.path, use_fp16=False, devices="cpu", **setting)
        pairs = record_pairs(flag_score(ranker), ranker.model, query=QUERIES[name])
        yield {"model": checkpoint.record, "settings": setting} | pairs


def mxbai_causal() -> Iterator[Record]:
    """MxbaiRerankV2: pieces tokenised one by one in a chat frame, the logit of "1" less that of "0"."""
    checkpoint = Checkpoint("qwen2")
    instruction = "Prefer documents that name the animal."
    calls: list[tuple[Record, Record, str]] = [
        ({"max_length": 8192}, {}, "short"),
        ({"max_length": 8192}, {}, "long"),
        ({"max_length": 8192}, {"instruction": instruction}, "short"),
        # A sigmoid around half of what the authors expect at most: 9 for the base model, 12 for any other.
        ({"max_length": 8192, "estimated_max": 9.0}, {"normalize": True}, "short"),
        ({"max_length": 8192, "estimated_max": 12.0}, {"normalize": True}, "short"),
        ({"max_length": 512}, {}, "long"),
        ({"max_length": 64}, {}, "short"),
        ({"max_length": 64}, {}, "long"),
        ({"max_length": 64}, {"instruction": instruction}, "long"),
    ]
    for setting, options, name in calls:
        ranker = MXBAI.MxbaiRerankV2(checkpoint.path, device="cpu", **setting)
        pairs = record_pairs(mxbai_score(ranker, options), ranker.model, query=QUERIES[name])
        order = [hit.index for hit in ranker.rank(QUERIES[name], DOCUMENTS, **options)]
        yield {"model": checkpoint.record, "settings": setting | options} | pairs | {"order": order}


def mxbai_score(ranker: Any, options: Record) -> Score:
    def score(query: str, documents: list[str]) -> list[float]:
        scores: list[float] = ranker.predict([query] * len(documents), documents, **options).tolist()
        return scores

    return score


def mxbai_pairs() -> Iterator[Record]:
    """MxbaiRerankV1: DeBERTa, the longer of the two is cut first, a probability out."""
    checkpoint = Checkpoint("deberta-cross")
    for limit in (512, 64):
        ranker = MXBAI.MxbaiRerankV1(checkpoint.path, device="cpu", max_length=limit)
        for query in QUERIES.values():
            pairs = record_pairs(mxbai_score(ranker, {}), ranker.model, query=query)
            yield {"model": checkpoint.record, "settings": {"max_length": limit}} | pairs


def card_encoder() -> Iterator[Record]:
    """The usual cross-encoder snippet: the longer of the two is cut first."""
    for kind in ("xlmr-cross", "bert-cross"):
        checkpoint = Checkpoint(kind)
        # A model that was read from disk is in eval mode already.
        model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint.path)
        for limit in (512, 64):
            score = card_encoder_score(checkpoint, model, limit=limit)
            for name in ("short", "long"):
                pairs = record_pairs(score, model, query=QUERIES[name])
                yield {"model": checkpoint.record, "settings": {"max_length": limit}} | pairs


def card_encoder_score(checkpoint: Checkpoint, model: Any, *, limit: int) -> Score:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.path)

    @torch.no_grad()
    def score(query: str, documents: list[str]) -> list[float]:
        pairs = [[query, document] for document in documents]
        inputs = tokenizer(pairs, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        scores: list[float] = model(**inputs).logits.view(-1).float().tolist()
        return scores

    return score


def card_qwen3() -> Iterator[Record]:
    """The snippet of Qwen3-Reranker: a frame around one body, the probability of "yes" against "no"."""
    checkpoint = Checkpoint("qwen3")
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint.path)
    calls: list[tuple[int, str, str]] = [
        (8192, WEB_SEARCH, "short"),
        (8192, WEB_SEARCH, "long"),
        (8192, "Find what answers the question of a child", "short"),
        (576, WEB_SEARCH, "long"),
        (160, WEB_SEARCH, "short"),
        # Here the query leaves no room for any document.
        (160, WEB_SEARCH, "long"),
    ]
    for limit, instruction, name in calls:
        score = card_qwen3_score(checkpoint, model, limit=limit, instruction=instruction)
        settings = {"max_length": limit, "instruction": instruction}
        yield {"model": checkpoint.record, "settings": settings} | record_pairs(score, model, query=QUERIES[name])


def card_qwen3_score(checkpoint: Checkpoint, model: Any, *, limit: int, instruction: str) -> Score:
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.path, padding_side="left")
    prefix = tokenizer.encode(QWEN3_PREFIX, add_special_tokens=False)
    suffix = tokenizer.encode(QWEN3_SUFFIX, add_special_tokens=False)
    answers = tokenizer.convert_tokens_to_ids(["no", "yes"])

    @torch.no_grad()
    def score(query: str, documents: list[str]) -> list[float]:
        bodies = [f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}" for document in documents]
        room = limit - len(prefix) - len(suffix)
        ids = tokenizer(bodies, truncation="longest_first", max_length=room, return_attention_mask=False)["input_ids"]
        framed = {"input_ids": [prefix + body + suffix for body in ids]}
        logits = model(**tokenizer.pad(framed, padding=True, return_tensors="pt")).logits[:, -1, answers]
        scores: list[float] = torch.log_softmax(logits, dim=1)[:, 1].exp().tolist()
        return scores

    return score


def flag_embedding() -> Iterator[Record]:
    """FlagModel: the query carries an instruction, the score is the cosine of two vectors."""
    checkpoint = Checkpoint("bert-embedding")
    calls: list[tuple[Record, str]] = [
        ({"instruction": PASSAGES, "pooling": "cls", "max_length": 512}, "short"),
        ({"instruction": PASSAGES, "pooling": "cls", "max_length": 512}, "long"),
        ({"instruction": PASSAGES, "pooling": "cls", "max_length": 64}, "long"),
        ({"instruction": None, "pooling": "cls", "max_length": 512}, "short"),
        ({"instruction": PASSAGES, "pooling": "mean", "max_length": 512}, "short"),
    ]
    for settings, name in calls:
        model = FLAG.FlagModel(
            checkpoint.path,
            query_instruction_for_retrieval=settings["instruction"],
            pooling_method=settings["pooling"],
            query_max_length=settings["max_length"],
            passage_max_length=settings["max_length"],
            use_fp16=False,
            devices="cpu",
        )
        texts = record_texts(model.encode_queries, model.encode_corpus, model.model, query=QUERIES[name])
        yield {"model": checkpoint.record, "settings": settings} | texts


def sentence_embedding() -> Iterator[Record]:
    """SentenceTransformer: pooling and normalisation come from the checkpoint's modules."""
    calls: list[tuple[Record, str | None, str]] = [
        ({"pooling": "cls"}, PASSAGES, "short"),
        ({"pooling": "cls"}, PASSAGES, "long"),
        ({"pooling": "mean"}, None, "short"),
        ({"pooling": "mean", "prompts": {"query": PASSAGES}}, PASSAGES, "short"),
        ({"pooling": "mean", "normalize": False}, None, "short"),
        ({"pooling": "cls", "max_seq_length": 64}, None, "long"),
    ]
    for config, instruction, name in calls:
        checkpoint = Checkpoint("bert-embedding", **config)
        model = SENTENCE.SentenceTransformer(checkpoint.path, device="cpu")
        named = {"prompt_name": "query"} if "prompts" in config else {"prompt": instruction}
        # Normalised again where the checkpoint does not: the score is a cosine either way.
        encode = partial(model.encode, normalize_embeddings=True)
        texts = record_texts(partial(encode, **named), encode, model[0].auto_model, query=QUERIES[name])
        yield {"model": checkpoint.record, "settings": {"instruction": instruction}} | texts


def record_texts(encode_queries: Encode, encode_documents: Encode, watched: torch.nn.Module, *, query: str) -> Record:
    """Score as `record_pairs` does, for models that read each text by itself."""
    with watch(watched) as seen:
        vector = encode_queries([query])[0]
    query_ids = seen[-1]

    def score(_query: str, documents: list[str]) -> list[float]:
        return [float(each) for each in encode_documents(documents) @ vector]

    return record_pairs(score, watched, query=query) | {"query_ids": query_ids}


REFERENCES: dict[str, tuple[str, Callable[[], Iterator[Record]]]] = {
    "flag-encoder": ("FlagEmbedding", flag_encoder),
    "flag-causal": ("FlagEmbedding", flag_causal),
    "flag-layerwise": ("FlagEmbedding", flag_layerwise),
    "flag-embedding": ("FlagEmbedding", flag_embedding),
    "mxbai-causal": ("mxbai-rerank", mxbai_causal),
    "mxbai-pairs": ("mxbai-rerank", mxbai_pairs),
    "sentence-embedding": ("sentence-transformers", sentence_embedding),
    "card-encoder": ("transformers", card_encoder),
    "card-qwen3": ("transformers", card_qwen3),
}


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def lines(name: str) -> Iterator[str]:
    """Write one case per line, so that a difference shows which case changed."""
    package, record = REFERENCES[name]
    names = dict.fromkeys((package, "torch", "transformers", "tokenizers"))
    versions = {"python": platform.python_version()} | {each: metadata.version(each) for each in names}
    yield f'{{"package":{compact(package)},"versions":{compact(versions)},'
    yield f'"documents":{compact(DOCUMENTS)},'
    yield '"cases":['
    yield ",\n".join(compact(case) for case in record())
    yield "]}"


def main() -> None:
    torch.set_num_threads(1)
    for name in REFERENCES:
        (FOLDER / f"{name}.json").write_text("\n".join(lines(name)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
