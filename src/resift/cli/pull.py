"""`resift pull`: a model's files, fetched before anybody waits for them."""

import sys
from functools import partial
from typing import Any

import click

from resift.cli.amounts import counted, in_bytes
from resift.cli.opening import misspelling_told, settings_of, warnings_told
from resift.cli.options import FILE_OPTIONS, OneOf, added, option
from resift.cli.terminal import quieten_downloads
from resift.cli.writing import write_line
from resift.errors import InvalidInput

_EXAMPLES = """\b
Examples:
  resift pull BAAI/bge-reranker-v2-m3
  resift pull Xenova/bge-reranker-base --backend onnx --dtype int8
  resift serve "$(resift pull BAAI/bge-reranker-v2-m3)"
"""


_option = partial(option, prefix="RESIFT_PULL_")


@click.command(epilog=_EXAMPLES)
@click.argument("model")
@_option("-o", "--output", type=OneOf(("path", "json")), default="path", show_default=True, help="What is written.")
@added(FILE_OPTIONS)
@click.pass_context
def pull(context: click.Context, /, model: str, output: str, **given: Any) -> None:
    """
    Download what loading MODEL needs, and write where it is.

    Files that are here already are not fetched again. The backend and the number format decide which files these are,
    so name them as you will when you load the model.
    """
    quieten_downloads()
    from resift.api import opener
    from resift.checkpoint.cache import size_of
    from resift.scoring.loading import find_model
    from resift.settings import Settings

    if model == "lexical":
        raise InvalidInput("lexical is built in and has no files; there is nothing to do")
    settings = opener(**{**settings_of(context), "model": model}).settings
    assert isinstance(settings, Settings)
    with warnings_told(), misspelling_told(model):
        choice, checkpoint, form = find_model(settings)
        graph = [checkpoint.graph(choice.graph)] if form == "graph" else []
        read = graph or checkpoint.weights()  # which also says whether they are whole
    files, size = size_of(checkpoint.path)
    if output == "json":
        write_line(
            {
                "model": model,
                "revision": checkpoint.revision,
                "path": str(checkpoint.path),
                "form": form,
                "reads": [str(path.relative_to(checkpoint.path)) for path in read],
                "files": files,
                "bytes": size,
            }
        )
    else:
        sys.stdout.buffer.write(str(checkpoint.path).encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.flush()
    commit = f", commit {checkpoint.revision[:12]}" if checkpoint.revision else ""
    click.echo(f"{model}: {counted(files, 'file')}, {in_bytes(size)}, read as {form}{commit}", err=True)
