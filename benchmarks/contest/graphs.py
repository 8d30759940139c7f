"""The same model as ONNX graphs: as its users export it for a bare runtime, and as `resift export` does."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLE = 2, 24  # sequences and tokens of what is traced
EXPORT_S = 900
PLAIN, OURS = "plain", "ours"


class NotExported(Exception):
    """A model could not be exported; the message says why."""


@dataclass
class Graphs:
    """Where the graphs of a model are, and which of them could not be made."""

    model: Path
    ours: Path
    missing: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why there is no graph of a kind in a format."""

    def why_not(self, kind: str, dtype: str) -> str:
        """Return why a contestant has no graph to read, or nothing if it has one or needs none."""
        return self.missing.get((kind, "int8" if dtype == "int8" else "float32"), "")

    def folder(self, kind: str) -> Path:
        """Return the folder that a contestant is to load."""
        return self.ours if kind == OURS else self.model


def write_graphs(model: Path, ours: Path, kinds: Iterable[str]) -> Graphs:
    """Export a cross-encoder in all ways that are needed; what cannot be exported is said to be missing."""
    made = Graphs(model, ours)
    wanted = {*kinds}
    exports: dict[tuple[str, str], Callable[[], None]] = {
        (PLAIN, "float32"): lambda: _export_plain(model),
        (PLAIN, "int8"): lambda: _quantize_plain(model),
        (OURS, "float32"): lambda: _export_ours(model, ours, "float32"),
        (OURS, "int8"): lambda: _export_ours(model, ours, "int8"),
    }
    for (kind, dtype), export in exports.items():
        if kind in wanted:
            try:
                export()
            except NotExported as error:
                made.missing[kind, dtype] = str(error)
    return made


def _export_plain(model: Path) -> None:
    """Write the graph beside the weights, where its users find it."""
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(model, attn_implementation="eager").eval()
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = inputs[: 3 if (getattr(network.config, "type_vocab_size", 0) or 0) > 1 else 2]
    example = torch.randint(5, 100, EXAMPLE)
    path = model / "onnx" / "model.onnx"
    path.parent.mkdir()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # the exporter speaks of itself at length
            torch.onnx.export(
                _only_logits(network, inputs),
                (example, torch.ones_like(example), torch.zeros_like(example))[: len(inputs)],
                str(path),
                input_names=inputs,
                output_names=["logits"],
                dynamic_axes={name: {0: "batch", 1: "sequence"} for name in inputs} | {"logits": {0: "batch"}},
                dynamo=False,
            )
    except Exception as error:
        raise NotExported(_reason("torch.onnx.export", error)) from error


def _only_logits(network: Any, inputs: list[str]) -> Any:
    """Return a model that takes its inputs by position and returns nothing but logits: what tracers understand."""
    import torch

    class OnlyLogits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(**dict(zip(inputs, given, strict=True))).logits
            return logits

    return OnlyLogits()


def _quantize_plain(model: Path) -> None:
    """Quantise the graph as ONNX Runtime's own tool does by default for each channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    path = model / "onnx" / "model.onnx"
    if not path.is_file():
        raise NotExported("there is no graph to quantise")
    try:
        quantize_dynamic(path, path.with_name("model_quantized.onnx"), weight_type=QuantType.QInt8, per_channel=True)
    except Exception as error:
        raise NotExported(_reason("quantize_dynamic", error)) from error


def _export_ours(model: Path, ours: Path, dtype: str) -> None:
    command = [sys.executable, "-m", "resift", "export", model, ours, "--dtype", dtype, "--force"]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=EXPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotExported(f"resift export took more than {EXPORT_S} s") from None
    if done.returncode:
        raise NotExported(f"resift export: {' / '.join(done.stderr.strip().splitlines()[-2:])}")


def _reason(what: str, error: Exception) -> str:
    return f"{what}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
