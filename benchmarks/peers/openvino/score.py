"""A graph on OpenVINO, with the batches that its users write themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino  # type: ignore[import-untyped,unused-ignore]
from benchmarks.peers.padded import GRAPHS, Batches

PACKAGES = ("openvino", "tokenizers")
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # of what is not quantised; else it chooses itself


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Compile the graph of the format that is asked for."""
    compiled = openvino.Core().compile_model(
        model / "onnx" / GRAPHS[settings["dtype"]],
        "CPU",
        {
            "INFERENCE_NUM_THREADS": settings["threads"],
            "INFERENCE_PRECISION_HINT": PRECISIONS[settings["dtype"]],
            "NUM_STREAMS": 1,
        },
    )
    batches = Batches(
        model,
        inputs=[port.any_name for port in compiled.inputs],
        batch_size=settings.get("batch_size", 0),
        batch_tokens=settings.get("batch_tokens", 0),
    )
    return lambda query, documents: batches.score(query, documents, lambda feed: compiled(feed)[0])
