"""A graph on ONNX Runtime, with the batches that its users write themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime  # type: ignore[import-untyped]
from benchmarks.peers.padded import GRAPHS, Batches

PACKAGES = ("onnxruntime", "tokenizers")


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Open the graph of the format that is asked for."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    path = model / "onnx" / GRAPHS[settings["dtype"]]
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    batches = Batches(
        model,
        inputs=[declared.name for declared in session.get_inputs()],
        batch_size=settings.get("batch_size", 0),
        batch_tokens=settings.get("batch_tokens", 0),
    )
    return lambda query, documents: batches.score(query, documents, lambda feed: session.run(None, feed)[0])
