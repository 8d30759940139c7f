"""Exports small models to ONNX as people publish them, and writes graphs by hand that no exporter would."""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper

import tiny

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # these helpers may be the first to import onnxruntime

OPSET = 18
INT64 = TensorProto.INT64
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class _Scorer(torch.nn.Module):
    """A model that takes its inputs by position and gives the one output that is wanted."""

    def __init__(self, model: Any, inputs: Sequence[str], output: str) -> None:
        super().__init__()
        self.model, self.inputs, self.output = model, inputs, output

    def forward(self, *inputs: torch.Tensor) -> Any:
        return getattr(self.model(**dict(zip(self.inputs, inputs, strict=True))), self.output)


def export(model: Path, *, folder: str = "onnx") -> Path:
    """Write the graph of a checkpoint beside its weights, and return it."""
    config = transformers.AutoConfig.from_pretrained(model)
    classifies = config.architectures[0].endswith("ForSequenceClassification")
    kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
    output = "logits" if classifies else "last_hidden_state"
    inputs = INPUTS if getattr(config, "type_vocab_size", 0) > 1 else INPUTS[:2]
    path = model / folder / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    example = torch.randint(5, 60, (2, 24))
    sizes = {name: {0: "batch", 1: "sequence"} for name in inputs} | {output: {0: "batch"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter speaks of itself at length
        torch.onnx.export(
            _Scorer(kind.from_pretrained(model, attn_implementation="eager").eval(), inputs, output),
            (example, torch.ones_like(example), torch.zeros_like(example))[: len(inputs)],
            str(path),
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes=sizes,
            opset_version=OPSET,
            dynamo=False,
        )
    return path


def build(kind: str, directory: Path, **config: Any) -> Path:
    """Write a tiny checkpoint with its graph, and return it."""
    model = tiny.build(kind, directory, **config)
    export(model)
    return model


def maker(folder: Path) -> Callable[[str], Path]:
    """Return what builds a kind in a folder when it is first asked for, and returns it from then on."""
    return cache(lambda kind: build(kind, folder / kind))


def without_weights(model: Path, directory: Path) -> Path:
    """Copy a checkpoint as those publish it who publish nothing but ONNX."""
    return shutil.copytree(model, directory, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))


def quantize(graph: Path, name: str = "model_quantized", **how: Any) -> Path:
    """Write a graph's int8 version beside it, with products of 8-bit numbers, and return it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    path = graph.with_name(f"{name}.onnx")
    quantize_dynamic(str(graph), str(path), **{"weight_type": QuantType.QInt8, "per_channel": True} | how)
    return path


def agreement(some: Sequence[float], others: Sequence[float]) -> float:
    """Return the rank correlation of two lists of scores."""
    some_ranks, others_ranks = (np.argsort(np.argsort(scores)) for scores in (some, others))
    return float(np.corrcoef(some_ranks, others_ranks)[0, 1])


def halve(graph: Path) -> Path:
    """Write a graph's float16 version beside it, and return it."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # type: ignore[import-untyped]

    path = graph.with_name("model_fp16.onnx")
    onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=True), path)
    return path


def move_data_out(graph: Path, location: str = "model.onnx_data") -> Path:
    """Move a graph's weights into a file beside it, and return that."""
    onnx.save(onnx.load(graph), graph, save_as_external_data=True, location=location, size_threshold=0)
    return graph.parent / location


def write_graph(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Sequence[Any]]],
    *,
    outputs: Mapping[str, Sequence[Any]],
    domains: Sequence[str] = (),
) -> Path:
    """
    Write a graph by hand; inputs are number formats and shapes by name, outputs are shapes of float32 by name.

    `domains` are those of nodes that ONNX does not know.
    """
    made = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid(name, 17) for name in ("", *domains)], ir_version=8
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
