"""`resift serve`: models, the built-in scorer and other endpoints behind one address."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import click

import resift.api
from resift.cli.options import OneOf, Words, option
from resift.errors import InvalidInput, MissingDependency
from resift.settings import Backend, Dtype, LongDocuments
from resift.types import Ranker

logger = logging.getLogger("resift")

_EXAMPLES = """\b
Examples:
  resift serve lexical
  resift serve BAAI/bge-reranker-v2-m3 --port 9000
  resift serve ./models/mine lexical --served-name mine --served-name words
  RESIFT_SERVE_API_KEY=... resift serve lexical --host 0.0.0.0
  RESIFT_SERVE_UPSTREAM_API_KEY=... resift serve --upstream https://api.jina.ai --upstream-model jina-reranker-v2

\b
Without a key, everybody who reaches the address may use it. With one, every route asks for it but
/health, /healthz, /livez, /ready, /openapi.json and /docs; /metrics asks too, unless --open-metrics is given.
Keys on a command line can be read by every user of the machine; the environment is the better place.
"""

_ENVIRONMENT = "RESIFT_SERVE_"
_SPINS = "10000"  # some 30 microseconds: idle processors are as fast as ever; read when torch is imported
_LEVELS = ("debug", "info", "warning", "error")


_option = partial(option, prefix=_ENVIRONMENT)


@click.command(epilog=_EXAMPLES)
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=Words(), envvar=_ENVIRONMENT + "MODEL")
@_option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@_option("--port", type=int, default=8000, show_default=True, help="The port; 0 takes a free one and says which.")
@_option("--api-key", "api_keys", type=Words(), multiple=True, metavar="KEY", help="A key that opens the routes.")
@_option("--public", is_flag=True, help="Serve an address that other machines reach although there is no key.")
@_option("--open-metrics", is_flag=True, help="Show /metrics to everybody although there is a key.")
@_option("--served-name", "names", type=Words(), multiple=True, metavar="NAME", help="A model's name to clients.")
@_option("--accept-any-model", is_flag=True, help="Answer a request for an unknown model with the first one.")
@_option(
    "--scores",
    type=OneOf(["normalized", "raw", "own"]),
    default="normalized",
    show_default=True,
    help="What a request gets that does not say: scores in [0, 1], before any sigmoid, or as the authors give them.",
)
@_option("--max-documents", type=int, default=1000, show_default=True, help="Documents in one request.")
@_option("--max-body-bytes", type=int, default=32 * 2**20, show_default=True, help="Bytes of one request.")
@_option("--max-bytes-at-once", type=int, default=256 * 2**20, show_default=True, help="Bytes of all requests.")
@_option("--max-requests", type=int, default=256, show_default=True, help="Requests answered at once; more get 429.")
@_option("--max-queue-tokens", type=int, help="Tokens that may wait for a model; more get 429.")
@_option("--timeout-s", type=float, default=60.0, show_default=True, help="Seconds that a request may take.")
@_option("--body-timeout-s", type=float, default=15.0, show_default=True, help="Seconds for a client to send it.")
@_option("--drain-s", type=float, default=30.0, show_default=True, help="Seconds for answers after SIGTERM.")
@_option("--device", help="Where models run: cpu, cuda, cuda:1; several with commas.  [default: the first GPU, or cpu]")
@_option("--backend", type=OneOf(get_args(Backend)), help="What runs them.  [default: what suits their files]")
@_option("--dtype", type=OneOf(get_args(Dtype)), help="Their number format.  [default: what suits the device]")
@_option("--max-length", type=int, help="Tokens that a model reads of one text.  [default: as its authors set it]")
@_option(
    "--long-documents",
    type=OneOf(get_args(LongDocuments)),
    help="Cut a document too long, or read it in windows.  [default: as its authors do]",
)
@_option("--max-batch-tokens", type=int, help="Tokens that run at once.  [default: what suits the device]")
@_option("--like", help="The catalogued model that the only MODEL is a copy or a fine-tune of.")
@_option("--revision", help="The branch, tag or commit of the only MODEL.")
@_option("--trust-remote-code", is_flag=True, help="Let code from a model's repository run.")
@_option("--local-files-only", is_flag=True, help="Never ask the model hub.")
@_option("--cache-dir", help="Where hub models are kept.")
@_option("--upstream", metavar="URL", help="Another rerank endpoint to serve as well.")
@_option("--upstream-model", metavar="NAME", help="The model to ask it for.")
@_option("--upstream-api-key", metavar="KEY", help="The key that it asks for.")
@_option("--upstream-dialect", default="auto", show_default=True, help="How it wants to be asked.")
@_option("--upstream-scores", type=OneOf(["logits", "probabilities"]), help="What its scores are, if known.")
@_option("--log-level", type=OneOf(_LEVELS), default="info", show_default=True, help="The least to be logged.")
def serve(**given: Any) -> None:
    """
    Serve models over HTTP, to every rerank client.

    MODEL is a hub id, a directory, or "lexical", the built-in scorer that needs no model. Several are served at once,
    and requests name the one that they want; the first answers where they name none.  [env var: RESIFT_SERVE_MODEL]
    """
    _log_to_stderr(given["log_level"])
    _wait_asleep()
    run, settings_type, open_served = _server()
    settings = settings_type(**{name: given[name] for name in settings_type.__slots__ if name in given})
    sources = _named(_sources(given), given["names"])
    if not settings.api_keys and settings.is_reachable:
        logger.warning("there is no key: everybody who reaches this address may use it")

    def announce(address: str) -> None:
        key = "a key is needed" if settings.api_keys else "no key is needed"
        click.echo(f"resift serves {', '.join(sources)} on {address} ({key})", err=True)

    run(
        lambda: [open_served(name, opened, default=given["scores"]) for name, opened in sources.items()],
        settings,
        announce=announce,
    )


def _server() -> tuple[Any, Any, Any]:
    """Import the server, which needs an extra."""
    try:
        from resift.server.running import run
        from resift.server.served import open_served
        from resift.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "resift":
            raise
        raise MissingDependency(
            f'serving needs {error.name}, which is not installed; run: pip install "resift[serve]"'
        ) from error
    return run, ServerSettings, open_served


Opened = Callable[[bool | None], Ranker]


def _sources(given: dict[str, Any]) -> list[tuple[str, Opened]]:
    """Return what is to be served, each with the name that it has by itself."""
    models, url = given["models"], given["upstream"]
    if not models and url is None:
        raise InvalidInput('there is nothing to serve; name a model, for example "lexical", or an --upstream')
    options = _model_options(given)
    found = [(_name(model), _opener(model, options)) for model in models]
    if url is not None:
        found.append((given["upstream_model"] or urlsplit(url).hostname or url, _connector(url, given)))
    return found


def _model_options(given: dict[str, Any]) -> dict[str, Any]:
    for name in ("like", "revision"):
        if given[name] is not None and len(given["models"]) != 1:
            raise InvalidInput(f"--{name} speaks of one model, and there are {len(given['models'])}")
    names = [
        *("backend", "dtype", "max_length", "long_documents", "max_batch_tokens", "max_queue_tokens"),
        *("like", "revision", "cache_dir"),
    ]
    options = {name: given[name] for name in names if given[name] is not None}
    if given["device"] is not None:
        devices = [name.strip() for name in given["device"].split(",")]
        options["device"] = devices if len(devices) > 1 else devices[0]
    return options | {name: given[name] for name in ("trust_remote_code", "local_files_only")}


def _name(model: str) -> str:
    """Return what clients call a model: a hub id as it is, of a directory only its own name."""
    path = Path(model)
    return path.resolve().name if path.is_dir() else model


def _opener(model: str, options: dict[str, Any]) -> Opened:
    return lambda normalize: resift.api.open(model, normalize=normalize, **options)


def _connector(url: str, given: dict[str, Any]) -> Opened:
    return lambda normalize: resift.api.connect(
        url,
        model=given["upstream_model"],
        api_key=given["upstream_api_key"],
        dialect=given["upstream_dialect"],
        scores=given["upstream_scores"],
        timeout_s=given["timeout_s"],
        max_concurrency=given["max_requests"],
        normalize=normalize,
    )


def _named(sources: Sequence[tuple[str, Opened]], names: Sequence[str]) -> dict[str, Opened]:
    """Give the sources the names that were asked for, in order."""
    if len(names) > len(sources):
        raise InvalidInput(f"there are {len(names)} names for {len(sources)} models; leave out --served-name for some")
    chosen = [*names, *(name for name, _ in sources[len(names) :])]
    for name in chosen:
        if chosen.count(name) > 1:
            raise InvalidInput(f"two models would be called {name!r}; give each its --served-name")
    return {name: opened for name, (_, opened) in zip(chosen, sources, strict=True)}


def _wait_asleep() -> None:
    """
    Let the threads of a matrix product fall asleep soon where they wait for each other, unless the environment decides.

    They would spin for a millisecond, which costs nothing while no one else wants the processors. Beside a neighbour,
    they spin away the very time that the thread they wait for needs, and throughput falls to a third.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("resift", "uvicorn"):
        logging.getLogger(name).addHandler(handler)
    logger.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of what clients did, such as to offer HTTP/2
