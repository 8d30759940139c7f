"""Export a model: files in, a directory with its graph out, proved before anybody sees it."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from resift.checkpoint import Checkpoint, directory_of, open_checkpoint
from resift.errors import InvalidInput
from resift.exporting.directory import copy_description, refuse_foreign_weights, written
from resift.exporting.proof import Proof, compare, sample_scores
from resift.exporting.samples import QUERY, documents
from resift.scoring.backends.exporting import check_exporting, no_graph_of, quantize_graph, write_graph
from resift.scoring.backends.onnx import check_onnx, open_onnx
from resift.scoring.backends.torch import open_torch
from resift.scoring.catalog import find_facts, find_row
from resift.scoring.loading import find_model
from resift.scoring.recognition import recognise
from resift.settings import Settings, hint

logger = logging.getLogger("resift")

ExportDtype = Literal["float32", "float16", "int8"]

_NAMES = {"float32": "model", "float16": "model_fp16", "int8": "model_quantized"}
_TRIED_TOGETHER = 4  # documents, to see whether texts may share a batch


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph that was written."""

    directory: Path
    graph: Path
    dtype: ExportDtype
    cut: bool
    """Whether the last layer is computed only for the token that is read."""

    like: str | None
    """What `load` needs to be told, because nothing in the directory says it: the catalogued model that this is."""

    proof: Proof
    """How near its scores are to those of the weights."""


def export(
    model: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    dtype: ExportDtype = "float32",
    like: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    cache_dir: str | None = None,
    force: bool = False,
) -> Exported:
    """
    Write a cross-encoder or an embedding model as an ONNX graph, with all that `load` and others need beside it.

    Nothing is there before the graph was tried on a sample, and one of full precision that does not say what the
    weights say is refused. `force` writes into a directory that is not empty: files of the same names are replaced,
    and another model's graphs and settings go, because they would be read with these; they are another's where
    configuration or tokenizer differ.
    """
    if dtype not in get_args(ExportDtype):
        raise InvalidInput(f"dtype={dtype!r} is not known; {hint(dtype, get_args(ExportDtype))}")
    settings = Settings(
        os.fspath(model),
        like=like,
        backend="torch",
        device="cpu",
        revision=revision,
        trust_remote_code=trust_remote_code,
        local_files_only=local_files_only,
        cache_dir=cache_dir,
    )
    _refuse_by_name(settings)
    target = Path(directory).expanduser()
    with written(target, force=force) as made:
        check_onnx(settings.model, ["cpu"])
        check_exporting(settings.model)
        _, checkpoint, _ = find_model(settings)
        copy_description(checkpoint, made)
        refuse_foreign_weights(made, target)
        cut = _write(checkpoint, settings, made, dtype=dtype)
        proof = _prove(checkpoint, settings, made, dtype=dtype)
    graph = target / "onnx" / f"{_NAMES[dtype]}.onnx"
    logger.info("%s exported to %s, %s", settings.model, graph, proof)
    return Exported(target, graph, dtype, cut, _like(checkpoint, settings, target), proof)


def _refuse_by_name(settings: Settings) -> None:
    """
    Refuse what has no graph before anything is downloaded, where the name tells.

    Of a directory and of a copy the files tell: they may be those of a language model converted to a classifier.
    """
    if settings.model == "lexical":
        raise InvalidInput("'lexical' is built in and has no weights to export; name a hub id or a directory")
    if settings.like is not None or directory_of(settings.model) is not None:
        return
    facts = find_facts(settings.model)
    if facts is not None and not facts.runs_as_graph:
        raise no_graph_of(settings.model)


def _write(checkpoint: Checkpoint, settings: Settings, made: Path, *, dtype: str) -> bool:
    """Write the graph; return whether the last layer is cut."""
    recognised = recognise(checkpoint, settings)
    graph = made / "onnx" / f"{_NAMES[dtype]}.onnx"
    graph.parent.mkdir(exist_ok=True)
    how = {"trust_remote_code": settings.trust_remote_code}
    if dtype != "int8":
        return write_graph(checkpoint, recognised.readout, graph, dtype=dtype, **how)
    exact = made.parent / "exact" / "model.onnx"
    exact.parent.mkdir()
    cut = write_graph(checkpoint, recognised.readout, exact, dtype="float32", **how)
    quantize_graph(exact, graph, settings.model)
    return cut


def _prove(checkpoint: Checkpoint, settings: Settings, made: Path, *, dtype: str) -> Proof:
    """Compare the graph with the weights, each read anew, because a family may remember what it has read."""
    weights, graph = (recognise(checkpoint, settings) for _ in range(2))
    sample = weights.family.prepare(QUERY, documents(_TRIED_TOGETHER), None).batch()
    exact = sample_scores(
        weights.family,
        open_torch(
            checkpoint,
            weights.readout,
            sample,
            device="cpu",
            dtype="float32",
            half=weights.half,
            max_batch_tokens=None,
            trust_remote_code=settings.trust_remote_code,
        ),
    )
    how = {"device": "cpu", "dtype": dtype, "graph": dtype, "max_batch_tokens": None}
    found = sample_scores(graph.family, open_onnx(open_checkpoint(str(made)), graph.readout, sample, **how))
    proof = compare(exact, found)
    if dtype == "float32":
        proof.require_exact(settings.model, float(np.abs(exact).max()))
    return proof


def _like(checkpoint: Checkpoint, settings: Settings, target: Path) -> str | None:
    """Return the catalogued model that the directory's own name does not tell."""
    if settings.like is not None:
        return settings.like if isinstance(settings.like, str) else None
    own = checkpoint.name if checkpoint.revision else checkpoint.path.absolute().name
    row = find_row(own)
    return None if row is None or find_row(str(target.absolute())) is row else own
