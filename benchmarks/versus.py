"""
Time resift beside sentence-transformers on the same weights, in one run.

    python benchmarks/versus.py [--rounds 7] [--queries 2] [--documents 100] [--threads 2]

A model of MiniLM-L6's real size (384 x 6, 30,522 words) gets random weights: speed does not depend on their values, and
scores that agree prove that both did the same work. Variants take turns, so that whatever else the machine does hits
them alike; medians are compared. Everything is printed and written to benchmarks/results/.
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
REAL_VOCABULARY = HERE.parent.parent / "shared" / "tokenizers" / "bert-base-uncased" / "tokenizer.json.gz"
VOCABULARY_SIZE = 30522
MEDIAN_TOKENS, SPREAD = 120, 0.6  # documents' lengths are log-normal, as those of passages are
BASELINE = "sentence-transformers"

Request = tuple[str, list[str]]


@dataclass
class Variant:
    """One way to score the same requests."""

    name: str
    score: Callable[[Request], list[float]]
    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def main() -> None:
    """Build the model, let the variants take turns, and tell what was measured."""
    arguments = _arguments()
    os.environ.update(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")
    import torch

    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        words = write_model(Path(folder))
        requests = [_request(words, rng, arguments.documents) for _ in range(arguments.queries)]
        variants = [
            _sentence_transformers(folder, batch_size=32),
            _sentence_transformers(folder, batch_size=8),
            _resift(folder, "float32"),
            _resift(folder, "bfloat16"),
        ]
        _measure(variants, requests, arguments.rounds)
    record = _record(variants, arguments)
    _show(record)
    path = HERE / "results" / "versus-minilm-cpu.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def write_model(folder: Path) -> list[str]:
    """Write a random-weight cross-encoder of MiniLM-L6's size, and return words of its vocabulary."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    config.num_labels = 1
    model = BertForSequenceClassification(config)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:  # a matrix; wider than the usual start, so that scores spread
            torch.nn.init.normal_(weight, std=0.06 if "embeddings" in name else 1.5 / weight.shape[1] ** 0.5)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(_tokenizer())
    saved = {"tokenizer_class": "BertTokenizer", "model_max_length": 512, "do_lower_case": True}
    specials = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps(saved | specials))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return [word for word in vocabulary if word.isalpha() and word.islower() and len(word) > 1]


def _tokenizer() -> str:
    """Return BERT's real vocabulary where it is at hand, else one of made-up words of the same size."""
    if REAL_VOCABULARY.exists():
        return gzip.decompress(REAL_VOCABULARY.read_bytes()).decode()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [a + b + c + d for a in letters for b in letters for c in letters for d in letters]
    vocabulary = {word: at for at, word in enumerate(words[:VOCABULARY_SIZE])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return str(tokenizer.to_str())


def _request(words: list[str], rng: np.random.Generator, documents: int) -> Request:
    lengths = np.clip(rng.lognormal(np.log(MEDIAN_TOKENS), SPREAD, documents), 8, 600).astype(int)
    texts = [" ".join(rng.choice(words, length)) + "." for length in lengths]
    return " ".join(rng.choice(words, 9)) + "?", texts


def _sentence_transformers(folder: str, *, batch_size: int) -> Variant:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    model = CrossEncoder(folder, device="cpu", max_length=512, activation_fn=Identity())

    def score(request: Request) -> list[float]:
        query, documents = request
        pairs = [(query, document) for document in documents]
        scores: list[float] = model.predict(pairs, batch_size=batch_size, show_progress_bar=False).tolist()
        return scores

    default = batch_size == 32  # what `predict` does when nothing is said
    return Variant(BASELINE if default else f"{BASELINE}, batch_size={batch_size}", score)


def _resift(folder: str, dtype: str) -> Variant:
    import resift

    ranker = resift.load(folder, dtype=dtype, device="cpu", normalize=False)  # type: ignore[arg-type]
    return Variant(f"resift, {dtype}", lambda request: ranker.score(*request))


def _measure(variants: list[Variant], requests: list[Request], rounds: int) -> None:
    """Warm up, remember each variant's scores, and let them take turns."""
    for variant in variants:
        variant.scores = [score for request in requests for score in variant.score(request)]
    for _ in range(rounds):
        for variant in variants:
            variant.seconds.append(_time(lambda: [variant.score(request) for request in requests]))  # noqa: B023


def _record(variants: list[Variant], arguments: argparse.Namespace) -> dict[str, object]:
    baseline = variants[0]
    pairs = arguments.queries * arguments.documents
    return {
        "model": "BERT cross-encoder 384 x 6, random weights",
        "machine": processor(),
        "matrix products, GFLOP/s at best": {dtype: _ceiling(dtype) for dtype in ("float32", "bfloat16")},
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "pairs a round": pairs,
        "vocabulary": "bert-base-uncased" if REAL_VOCABULARY.exists() else "made up",
        "versions": {name: version(name) for name in ("torch", "transformers", "sentence-transformers", "resift")},
        "variants": [
            {
                "name": variant.name,
                "pairs a second": pairs / statistics.median(variant.seconds),
                "ratio": statistics.median(baseline.seconds) / statistics.median(variant.seconds),
                "fastest and slowest round": [pairs / max(variant.seconds), pairs / min(variant.seconds)],
                "largest difference": float(np.max(np.abs(np.subtract(variant.scores, baseline.scores)))),
            }
            for variant in variants
        ],
        "spread of the scores": float(np.std(baseline.scores)),
    }


def processor() -> str:
    """Return what the machine says of its processor: family and model, too, where the name hides them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    stripped = {key.strip(): value.strip() for key, value in found.items()}
    return f"{stripped.get('model name')}, family {stripped.get('cpu family')}, model {stripped.get('model')}"


def _ceiling(dtype: str) -> dict[str, int]:
    """Return the most GFLOP/s that a large matrix product reaches here, in each of the two ways that torch has."""
    import torch

    from resift.scoring.backends.torch.linears import PlainLinear, PrepackedLinear

    weight, states = (torch.randn(1024, 1024).to(getattr(torch, dtype)) for _ in range(2))
    ceilings = {}
    with torch.inference_mode():
        for name, layer in (("plain", PlainLinear(weight, None)), ("prepacked", PrepackedLinear(weight, None))):
            ceilings[name] = round(2 * 1024**3 / min(_time(lambda: layer(states)) for _ in range(50)) / 1e9)  # noqa: B023
    return ceilings


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _show(record: dict[str, object]) -> None:
    title = f"{record['model']}; {record['threads']} threads, median of {record['rounds']} interleaved rounds"
    table = Table(
        title=title, caption=f"{record['machine']}; matrix products {record['matrix products, GFLOP/s at best']}"
    )
    table.add_column("variant")
    for column in ("pairs/s", "ratio", "slowest - fastest", "largest difference"):
        table.add_column(column, justify="right")
    for row in record["variants"]:  # type: ignore[attr-defined]
        slow, fast = row["fastest and slowest round"]
        table.add_row(
            row["name"],
            f"{row['pairs a second']:.0f}",
            f"{row['ratio']:.2f}x",
            f"{slow:.0f} - {fast:.0f}",
            f"{row['largest difference']:.1e}",
        )
    Console(width=120).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
