"""What is asked, and how much work that is."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.contest.checkpoints import Checkpoint
from benchmarks.contest.prompts import TEMPLATES

SPREAD = 0.6  # documents' lengths are log-normal, as those of passages are
SHORTEST = 8
SHORT = 10, 30  # words of the documents of a short request

Request = tuple[str, list[str]]


def long_requests(
    words: Sequence[str], rng: np.random.Generator, *, queries: int, documents: int, median: int, longest: int
) -> list[Request]:
    """Return requests as a retriever leaves them: most documents of usual length, a few very long ones."""
    lengths = np.clip(rng.lognormal(np.log(median), SPREAD, (queries, documents)), SHORTEST, longest * 1.2).astype(int)
    return [_request(words, rng, row) for row in lengths]


def short_requests(words: Sequence[str], rng: np.random.Generator, *, queries: int, documents: int) -> list[Request]:
    """Return requests with a few documents of a sentence or two."""
    return [_request(words, rng, row) for row in rng.integers(*SHORT, size=(queries, documents), endpoint=True)]


def _request(words: Sequence[str], rng: np.random.Generator, lengths: Sequence[int]) -> Request:
    texts = [" ".join(rng.choice(words, length)) + "." for length in lengths]
    return " ".join(rng.choice(words, 9)) + "?", texts


def write_requests(path: Path, requests: Sequence[Request]) -> Path:
    """Write requests down for the contestants."""
    path.write_text(json.dumps(requests), encoding="utf-8")
    return path


def lengths_of(checkpoint: Checkpoint, requests: Sequence[Request], *, max_length: int) -> list[int]:
    """Return how many tokens the model reads of each pair, padding and shared work aside."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint.folder / "tokenizer.json"))
    pairs = [(query, document) for query, documents in requests for document in documents]
    if not checkpoint.size.template:
        tokenizer.enable_truncation(max_length)
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(pairs)]
    template = TEMPLATES[checkpoint.size.template]
    prompts = [template.fill(query, document) for query, document in pairs]
    return [sum(len(piece.ids) for piece in tokenizer.encode_batch(prompt)) for prompt in prompts]


def operations(checkpoint: Checkpoint, lengths: Sequence[int]) -> float:
    """
    Return how many floating-point operations the products of all layers take on so many tokens.

    That is the work of a model that computes everything for every pair: what a contestant spares itself counts as done.
    """
    config = checkpoint.size.config
    width = config.get("head_dim", 0) * config["num_attention_heads"] or config["hidden_size"]
    attention = 4 * config["num_hidden_layers"] * width * checkpoint.size.layers_of_attention
    return float(sum(2 * checkpoint.matrix_weights * length + attention * length**2 for length in lengths))
