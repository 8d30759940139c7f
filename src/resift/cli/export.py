"""`resift export`: a model with weights in, a directory with its ONNX graph out."""

from pathlib import Path
from typing import Any

import click

from resift.cli.opening import warnings_told
from resift.cli.options import OneOf, option
from resift.cli.terminal import quieten_downloads

_SHORT = {"fp32": "float32", "fp16": "float16"}

_EXAMPLES = """\b
Examples:
  resift export BAAI/bge-reranker-base ./bge-reranker-base
  resift export ./mine ./mine-int8 --dtype int8
  resift rank "what does a panda eat?" documents.txt --model ./bge-reranker-base

\b
float32 says what the weights say. float16 is for GPUs, and half as large. int8 is the fastest on a CPU and ranks nearly
the same; how nearly, on a small sample, is printed: measure it on your own queries before you rely on it.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("model")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@option(
    "--dtype",
    type=OneOf(["float32", "float16", "int8", *_SHORT]),
    default="float32",
    show_default=True,
    help="The number format of the graph.",
)
@option("--like", metavar="NAME", help="The catalogued model that this one is a copy or a fine-tune of.")
@option("--revision", metavar="NAME", help="The branch, tag or commit of a hub model.")
@option("--trust-remote-code", is_flag=True, help="Let code from the model's repository run.")
@option("--local-files-only", is_flag=True, help="Never ask the model hub.")
@option("--cache-dir", metavar="DIR", help="Where hub models are kept.")
@click.option(
    "--force",
    is_flag=True,
    help="Write into a directory that is not empty; its other files stay, but for another model's graphs and settings.",
)
def export(model: str, directory: Path, dtype: str, **given: Any) -> None:
    """
    Write MODEL to DIRECTORY as an ONNX graph, which runs without torch.

    The graph is compared with the weights on a sample before anything is there.
    """
    from resift.exporting import export

    quieten_downloads()
    with warnings_told():
        made = export(model, directory, dtype=_SHORT.get(dtype, dtype), **given)  # type: ignore[arg-type]
    size = sum(path.stat().st_size for path in made.graph.parent.glob(f"{made.graph.name}*"))
    click.echo(made.directory)
    cut = ", the last layer only for the token that is read" if made.cut else ""
    proof = made.proof
    lines = [
        f"{made.graph}: {size / 1e6:.0f} MB, {made.dtype}{cut}",
        f"beside the weights: largest difference {proof.largest_difference:.1e}, {_ranks(proof)}",
    ]
    if made.like is not None:
        lines.append(f"load it with like={made.like!r} (--like {made.like}): no file of it says what it is")
    for line in lines:
        click.echo(line, err=True)


def _ranks(proof: Any) -> str:
    return f"rank correlation {proof.rank_correlation:.4f} on {proof.documents} documents"
