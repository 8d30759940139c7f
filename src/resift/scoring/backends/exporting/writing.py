"""A model as an ONNX file: traced by torch, with its weights inside, or beside it where they are too many."""

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from resift.checkpoint import Checkpoint
from resift.checkpoint.graphs import data_of
from resift.errors import ModelUnsupported
from resift.scoring.backends import Classify, Embed, Readout
from resift.scoring.backends.exporting import no_graph_of
from resift.scoring.backends.exporting.bert import bert_graph
from resift.scoring.backends.torch.pretrained import brings_code, build

_OPSET = 17  # the first with layer normalisation as one node; every runtime of the last years reads it
_DTYPES = {"float32": torch.float32, "float16": torch.float16}


def write(checkpoint: Checkpoint, readout: Readout, path: Path, *, dtype: str, trust_remote_code: bool) -> bool:
    """Write a model's graph, its weights in a number format. Return whether the last layer is cut."""
    if not isinstance(readout, Classify | Embed) or (isinstance(readout, Embed) and readout.layers):
        raise no_graph_of(checkpoint.name)
    theirs = brings_code(checkpoint, trust_remote_code=trust_remote_code)
    ours = None if theirs else bert_graph(checkpoint, readout, _DTYPES[dtype])
    model = ours or _Whole(build(checkpoint, readout, dtype=_DTYPES[dtype], trust_remote_code=trust_remote_code))
    output = "logits" if isinstance(readout, Classify) else "last_hidden_state"
    try:
        _trace(model, path, output)
    except Exception as error:  # whatever the tracer trips over, this model is not for it
        raise ModelUnsupported(
            f"{checkpoint.name} cannot be exported by torch {torch.__version__} "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); load it with backend='torch'"
        ) from error
    _gather_data(path)
    return bool(getattr(model, "cut", False))


class _Whole(nn.Module):
    """A model of transformers that takes its inputs by position, and gives the one output that is wanted."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.set_attn_implementation("eager")  # the plain one is what tracers understand
        model.config.use_cache = False
        self.model = model
        typed = (getattr(model.config, "type_vocab_size", 0) or 0) > 1
        self.inputs = ["input_ids", "attention_mask", "token_type_ids"][: 2 + typed]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        found = self.model(**dict(zip(self.inputs, inputs, strict=True)))
        chosen: torch.Tensor = found.logits if "logits" in found else found.last_hidden_state
        return chosen.float()


def _trace(model: Any, path: Path, output: str) -> None:
    ids = torch.arange(5, 53).reshape(2, 24)
    example = (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(model.inputs)]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it sees
        torch.onnx.export(
            model,
            example,
            str(path),
            input_names=model.inputs,
            output_names=[output],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in model.inputs} | {output: {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,  # the other exporter needs a package more, and writes the same
        )


def _gather_data(path: Path) -> None:
    """Move the weights of a graph of more than 2 GB, which the tracer leaves in a file each, into one."""
    loose = data_of(path)
    if not loose:
        return
    model = onnx.load(path)
    for name in loose:
        (path.parent / name).unlink()
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}_data")
