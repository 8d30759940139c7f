"""
Time resift beside sentence-transformers on the same weights, in one run.

    python benchmarks/versus.py [--model minilm|base|large] [--device cpu|cuda]
                                [--rounds 7] [--queries 2] [--documents 100] [--threads 2]

A model of the real size of MiniLM-L6, bge-reranker-base or bge-reranker-v2-m3 gets random weights: speed does not
depend on their values, and scores that agree prove that both did the same work. Variants take turns, so that whatever
else the machine does hits them alike; medians are compared. Everything is printed and written to benchmarks/results/.
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
REAL_VOCABULARIES = HERE.parent.parent / "shared" / "tokenizers"
WORD_BEGINS = "\N{LOWER ONE EIGHTH BLOCK}"  # in a vocabulary of SentencePiece
MEDIAN_TOKENS, SPREAD = 120, 0.6  # documents' lengths are log-normal, as those of passages are
PEER = "sentence-transformers"
PACKAGES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "resift")
BASELINE = {"cpu": PEER, "cuda": f"{PEER}, float16"}  # on a GPU nobody who wants speed leaves it at full precision

Request = tuple[str, list[str]]


@dataclass(frozen=True)
class Model:
    """A model that people run, by its numbers."""

    name: str
    classes: str
    vocabulary: str
    config: dict[str, int]
    tokenizer: Mapping[str, object]
    specials: dict[str, str]
    """Its special tokens, in the order of their ids."""

    @property
    def real_vocabulary(self) -> Path:
        """Where its vocabulary is, if it is at hand."""
        return REAL_VOCABULARIES / self.vocabulary / "tokenizer.json.gz"


_BERT_TOKENIZER = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
_BRACKETS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_XLM_R = {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
# by this class, transformers reads tokenizer.json as it is, which it does not by XLM-R's own
_XLM_R_TOKENIZER = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
_ANGLES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>"}


def _shape(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


MODELS = {
    "minilm": Model(
        "BERT cross-encoder 384 x 6",
        "Bert",
        "bert-base-uncased",
        {"vocab_size": 30522} | _shape(384, 6, 12),
        _BERT_TOKENIZER,
        _BRACKETS,
    ),
    "base": Model(
        "XLM-R cross-encoder 768 x 12",
        "XLMRoberta",
        "xlm-roberta-base",
        _XLM_R | _shape(768, 12, 12),
        _XLM_R_TOKENIZER,
        _ANGLES,
    ),
    "large": Model(
        "XLM-R cross-encoder 1024 x 24",
        "XLMRoberta",
        "xlm-roberta-base",
        _XLM_R | _shape(1024, 24, 16),
        _XLM_R_TOKENIZER,
        _ANGLES,
    ),
}


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
    os.environ.update(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(arguments.threads))
    import torch

    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        words = write_model(Path(folder), arguments.model)
        requests = [_request(words, rng, arguments.documents) for _ in range(arguments.queries)]
        if arguments.device == "cpu":
            write_graphs(Path(folder))
        variants = _variants(folder, arguments.device)
        _measure(variants, requests, arguments.rounds)
    record = _record(variants, arguments)
    _show(record)
    path = HERE / "results" / f"versus-{arguments.model}-{arguments.device}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def write_model(folder: Path, size: str = "minilm") -> list[str]:
    """Write a random-weight cross-encoder of a known size, and return words of its vocabulary."""
    import torch
    import transformers

    made = MODELS[size]
    torch.manual_seed(0)
    config = getattr(transformers, f"{made.classes}Config")(**made.config)
    config.num_labels = 1
    model = getattr(transformers, f"{made.classes}ForSequenceClassification")(config)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:  # a matrix; wider than the usual start, so that scores spread
            torch.nn.init.normal_(weight, std=0.06 if "embeddings" in name else 1.5 / weight.shape[1] ** 0.5)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(_tokenizer(made))
    specials = {f"{name}_token": token for name, token in made.specials.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, **made.tokenizer, **specials}))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    pieces = [entry if isinstance(entry, str) else entry[0] for entry in vocabulary]
    mark = WORD_BEGINS if any(piece.startswith(WORD_BEGINS) for piece in pieces) else ""
    words = [piece.removeprefix(mark) for piece in pieces if piece.startswith(mark)]
    return [word for word in words if word.isascii() and word.isalpha() and word.islower() and len(word) > 1]


def write_graphs(folder: Path) -> None:
    """Export a cross-encoder to ONNX beside its weights, as it is and in int8."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    model.config.return_dict = False
    inputs = ["input_ids", "attention_mask", "token_type_ids"][: 3 if model.config.type_vocab_size > 1 else 2]
    example = torch.randint(5, 100, (2, 24))
    path = folder / "onnx" / "model.onnx"
    path.parent.mkdir()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter speaks of itself at length
        torch.onnx.export(
            model,
            (example, torch.ones_like(example), torch.zeros_like(example))[: len(inputs)],
            str(path),
            input_names=inputs,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in inputs} | {"logits": {0: "batch"}},
            dynamo=False,
        )
    quantize_dynamic(path, path.with_name("model_quantized.onnx"), weight_type=QuantType.QInt8, per_channel=True)


def _tokenizer(made: Model) -> str:
    """Return the model's real vocabulary where it is at hand, else one of made-up words of the same size."""
    if made.real_vocabulary.exists():
        return gzip.decompress(made.real_vocabulary.read_bytes()).decode()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = list(made.specials.values())
    words += [a + b + c + d for a in letters for b in letters for c in letters for d in letters]
    vocabulary = {word: at for at, word in enumerate(words[: made.config["vocab_size"]])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=made.specials["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    end, begin = ((made.specials[name], vocabulary[made.specials[name]]) for name in ("sep", "cls"))
    tokenizer.post_processor = processors.BertProcessing(end, begin)
    return str(tokenizer.to_str())


def _request(words: list[str], rng: np.random.Generator, documents: int) -> Request:
    lengths = np.clip(rng.lognormal(np.log(MEDIAN_TOKENS), SPREAD, documents), 8, 600).astype(int)
    texts = [" ".join(rng.choice(words, length)) + "." for length in lengths]
    return " ".join(rng.choice(words, 9)) + "?", texts


def _variants(folder: str, device: str) -> list[Variant]:
    peer, ours = partial(_sentence_transformers, folder, device), partial(_resift, folder, device)
    if device == "cpu":
        graphs = [ours(dtype, backend="onnx") for dtype in ("float32", "int8")]
        return [peer(), peer(batch_size=8), ours("float32"), ours("bfloat16"), *graphs]
    halves = [peer("float16"), *(peer("float16", batch_size=size) for size in (128, 512)), peer("bfloat16")]
    return [*halves, peer(), ours("float16"), ours("bfloat16"), ours("float32")]


def _sentence_transformers(folder: str, device: str, dtype: str = "", *, batch_size: int = 0) -> Variant:
    """Let sentence-transformers score; what is not said is left to its defaults: full precision, batches of 32."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    how = {"model_kwargs": {"dtype": dtype}} if dtype else {}
    model = CrossEncoder(folder, device=device, max_length=512, activation_fn=Identity(), **how)

    def score(request: Request) -> list[float]:
        query, documents = request
        pairs = [(query, document) for document in documents]
        scores: list[float] = model.predict(
            pairs, batch_size=batch_size or 32, show_progress_bar=False, convert_to_tensor=True
        ).tolist()
        return scores

    return Variant(", ".join(filter(None, (PEER, dtype, f"batch_size={batch_size}" if batch_size else ""))), score)


def _resift(folder: str, device: str, dtype: str, *, backend: str = "torch") -> Variant:
    import resift

    how: dict[str, Any] = {"backend": backend, "dtype": dtype, "device": device}
    ranker = resift.load(folder, normalize=False, **how)
    name = "resift" if backend == "torch" else f"resift on {backend}"
    return Variant(f"{name}, {dtype}", lambda request: ranker.score(*request))


def _measure(variants: list[Variant], requests: list[Request], rounds: int) -> None:
    """Warm up, remember each variant's scores, and let them take turns."""
    for variant in variants:
        variant.scores = [score for request in requests for score in variant.score(request)]
    for _ in range(rounds):
        for variant in variants:
            variant.seconds.append(_time(lambda: [variant.score(request) for request in requests]))  # noqa: B023


def _record(variants: list[Variant], arguments: argparse.Namespace) -> dict[str, object]:
    by_name = {variant.name: variant for variant in variants}
    baseline, exact = by_name[BASELINE[arguments.device]], by_name[PEER]
    pairs = arguments.queries * arguments.documents
    made = MODELS[arguments.model]
    return {
        "model": f"{made.name}, random weights",
        "machine": processor() if arguments.device == "cpu" else graphics_card(),
        "matrix products, GFLOP/s at best": _ceilings(arguments.device),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "pairs a round": pairs,
        "vocabulary": made.vocabulary if made.real_vocabulary.exists() else "made up",
        "versions": {name: version(name) for name in PACKAGES},
        "ratio to": baseline.name,
        "variants": [
            {
                "name": variant.name,
                "pairs a second": pairs / statistics.median(variant.seconds),
                "ratio": statistics.median(baseline.seconds) / statistics.median(variant.seconds),
                "fastest and slowest round": [pairs / max(variant.seconds), pairs / min(variant.seconds)],
                "largest difference": float(np.max(np.abs(np.subtract(variant.scores, exact.scores)))),
            }
            for variant in variants
        ],
        "spread of the scores": float(np.std(exact.scores)),
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


def graphics_card() -> str:
    """Return the name of the GPU, and of the processor beside it, which tokenises."""
    import torch

    return f"{torch.cuda.get_device_name()}; {os.cpu_count()} cores of {processor()}"


def _ceilings(device: str) -> dict[str, object]:
    """Return the most GFLOP/s that a large matrix product reaches here, in each way and format that is used."""
    from resift.scoring.backends.torch.linears import PlainLinear, PrepackedLinear

    if device == "cpu":
        kinds = {"plain": PlainLinear, "prepacked": PrepackedLinear}
        return {
            dtype: {name: _ceiling(kind, dtype, device, width=1024) for name, kind in kinds.items()}
            for dtype in ("float32", "bfloat16")
        }
    return {dtype: _ceiling(PlainLinear, dtype, device, width=8192) for dtype in ("float32", "bfloat16", "float16")}


def _ceiling(kind: Callable[..., Any], dtype: str, device: str, *, width: int) -> int:
    import torch

    weight, states = (torch.randn(width, width, device=device).to(getattr(torch, dtype)) for _ in range(2))
    layer = kind(weight, None)

    def once() -> None:
        layer(states)
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        return round(2 * width**3 / min(_time(once) for _ in range(50)) / 1e9)


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
    parser.add_argument("--model", choices=MODELS, default="minilm")
    parser.add_argument("--device", choices=BASELINE, default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
