"""The front door's own functions: load a ranker, or connect to one."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from resift.documents import read_instruction
from resift.errors import InvalidInput
from resift.local import LocalRanker
from resift.opening import Opener
from resift.remote.dialects import choose
from resift.remote.endpoint import Endpoint, has_own_key
from resift.remote.key import read_headers, read_key
from resift.remote.ranker import RemoteRanker
from resift.remote.scales import Scores
from resift.settings import Backend, Dtype, LongDocuments, Prompt, Settings, hint


def load(
    model: str | PathLike[str] | None = None,
    *,
    like: str | Prompt | Mapping[str, Any] | None = None,
    backend: Backend = "auto",
    device: str | list[str] | tuple[str, ...] = "auto",
    dtype: Dtype = "auto",
    max_length: int | None = None,
    max_batch_tokens: int | None = None,
    max_queue_tokens: int | None = None,
    normalize: bool | None = None,
    instruction: str | None = None,
    fields: Sequence[str] | None = None,
    long_documents: LongDocuments | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    cache_dir: str | PathLike[str] | None = None,
) -> LocalRanker:
    """
    Load a model that runs here, and return the ranker around it.

    Args:
        model: a hub id, a local directory, or "lexical", the built-in scorer that needs no model (the default).
        like: the catalogue's model that this one is a copy or a fine-tune of, or a `Prompt` for a language model, as an
            object or as a mapping of its fields.
        backend: what runs the model: "torch" its weights, "onnx" or "openvino" a graph that was exported before. "auto"
            is torch for weights. Without weights or torch, and for "int8", it is a graph: run by OpenVINO on a CPU if
            that is installed, else by ONNX Runtime, to which int8, float16 and GPUs are left wherever it is installed.
        device: "cpu", "cuda", "cuda:1", ..., or several, with one replica each; "auto" is the first GPU, or the CPU.
        dtype: the number format; "auto" is full precision on a CPU, the half that suits the model on a GPU. For a graph
            it says which file is read, and "auto" is full precision; "int8" is the quantised one. OpenVINO runs the
            file of full precision in "bfloat16" too.
        max_length: how many tokens the model reads of one sequence; as its authors set it if not given.
        max_batch_tokens: how many tokens run at once; chosen for the device if not given.
        max_queue_tokens: how many tokens may wait at once before `Overloaded` is raised; 512 batches if not given.
        normalize: None for the scores that the authors return, True for [0, 1], False for raw logits.
        instruction: what the model is told to look for, where its family knows instructions.
        fields: the keys of mapping documents that are read, in this order; all if not given.
        long_documents: "truncate" cuts a document that is too long, and the ranking says how many were; "window" reads
            it in windows that overlap, of which the best counts; None is what its authors do, "truncate" for most.
        revision: a branch, tag or commit of a hub model.
        trust_remote_code: whether code from the model's repository may run.
        local_files_only: never ask the hub.
        cache_dir: where hub models are kept.

    Raises:
        InvalidInput: an argument that cannot mean anything.
        ModelNotFound: no such model, or its files are missing or damaged.
        ModelUnsupported: the model is there but cannot rank as it is; the message says what to do.
        MissingDependency: an extra is needed; the message names it.

    >>> ranker = load()
    >>> ranking = ranker.rank("what is a panda?", ["Paris is in France.", "The panda is a bear."])
    >>> [hit.index for hit in ranking]
    [1, 0]
    """
    return LocalRanker(
        _settings(
            model,
            like=like,
            backend=backend,
            device=device,
            dtype=dtype,
            max_length=max_length,
            max_batch_tokens=max_batch_tokens,
            max_queue_tokens=max_queue_tokens,
            normalize=normalize,
            instruction=instruction,
            fields=fields,
            long_documents=long_documents,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
        )
    )


def connect(
    base_url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    dialect: str = "auto",
    timeout_s: float = 60.0,
    max_retries: int = 2,
    max_documents_per_request: int | None = None,
    max_concurrency: int = 8,
    headers: Mapping[str, str] | None = None,
    http_client: Any = None,
    normalize: bool | None = None,
    scores: Scores | None = None,
    instruction: str | None = None,
    fields: Sequence[str] | None = None,
) -> RemoteRanker:
    """
    Return the ranker whose model is behind an endpoint. Nothing is sent before the first call.

    Args:
        base_url: a host, a base such as "http://127.0.0.1:8000/v1", or the full route.
        model: the name by which the endpoint knows the model.
        api_key: the key; that of the environment variable RESIFT_API_KEY if not given, none if "".
        dialect: how the endpoint is spoken to; "auto" knows it by its host or route, and is else the flat shape of
            most servers, on /v1/rerank and /rerank.
        timeout_s: how long a call may take, retries and all waiting included.
        max_retries: how often a request is tried again when the endpoint is busy or out of reach.
        max_documents_per_request: how many documents one request carries; as the dialect allows if not given.
        max_concurrency: how many requests are under way at one time; fewer when the endpoint is too busy.
        headers: what goes along with every request.
        http_client: a client of httpx or httpx2 to send with, sync or async; it is not closed with the ranker.
        normalize: None for the scores that the endpoint returns, True for [0, 1], False for raw logits.
        scores: what the endpoint returns, "logits" or "probabilities", where its dialect does not say.
        instruction: what the model is told to look for, where the dialect has a place for it.
        fields: the keys of mapping documents that are read, in this order; all if not given.

    Raises:
        InvalidInput: an argument that cannot mean anything.

    >>> ranker = connect("http://127.0.0.1:8000/v1", model="BAAI/bge-reranker-v2-m3")
    """
    return RemoteRanker(
        _endpoint(
            base_url,
            model=model,
            api_key=api_key,
            dialect=dialect,
            timeout_s=timeout_s,
            max_retries=max_retries,
            max_documents_per_request=max_documents_per_request,
            max_concurrency=max_concurrency,
            headers=headers,
            http_client=http_client,
            normalize=normalize,
            scores=scores,
            instruction=instruction,
            fields=fields,
        )
    )


def open(  # noqa: A001 - as in `os.open`
    model: str | PathLike[str] | None = None, base_url: str | None = None, **options: Any
) -> LocalRanker | RemoteRanker:
    """
    Return a ranker for settings that come from elsewhere: a framework, a file, a command line.

    With `base_url` that is `connect`, without it `load`, and the options are those of the one or the other. One that
    does not exist is an `InvalidInput` that names the closest one which does.
    """
    return opener(model, base_url, **options)()


def opener(model: str | PathLike[str] | None = None, base_url: str | None = None, **options: Any) -> Opener:
    """Check settings as `open` does, and return what opens the ranker. Until it is called, nothing is loaded."""
    if base_url is None:
        _require_known(options, _LOAD, _CONNECT, remedy="connect with base_url=..., or leave it out")
        return Opener(_settings(model, **options))
    _require_known(options, _CONNECT, _LOAD, remedy="leave it out, or load a model here without base_url")
    return Opener(_endpoint(base_url, model=fspath(model) if isinstance(model, PathLike) else model, **options))


def _settings(
    model: str | PathLike[str] | None,
    *,
    like: str | Prompt | Mapping[str, Any] | None = None,
    device: str | list[str] | tuple[str, ...] = "auto",
    instruction: str | None = None,
    fields: Sequence[str] | None = None,
    cache_dir: str | PathLike[str] | None = None,
    **others: Any,
) -> Settings:
    return Settings(
        model="lexical" if model is None else fspath(model) if isinstance(model, PathLike) else model,
        like=_prompt(like) if isinstance(like, Mapping) else like,
        device=tuple(device) if isinstance(device, list | tuple) else device,
        instruction=read_instruction(instruction),
        fields=_names("fields", fields),
        cache_dir=fspath(cache_dir) if isinstance(cache_dir, PathLike) else cache_dir,
        **others,
    )


def _endpoint(
    base_url: str,
    *,
    dialect: str = "auto",
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    http_client: Any = None,
    instruction: str | None = None,
    fields: Sequence[str] | None = None,
    **others: Any,
) -> Endpoint:
    own = api_key is None and has_own_key(choose(dialect, base_url), headers, http_client)
    return Endpoint(
        base_url=base_url,
        dialect=dialect,
        key=None if own else read_key(api_key),
        headers=read_headers(headers),
        http_client=http_client,
        instruction=read_instruction(instruction),
        fields=_names("fields", fields),
        **others,
    )


def _require_known(given: Iterable[str], known: Sequence[str], others: Sequence[str], *, remedy: str) -> None:
    for option in given:
        if option in known:
            continue
        if option in others:
            kind = "endpoints" if others is _CONNECT else "models that run here"
            raise InvalidInput(f"the option {option!r} is for {kind} only; {remedy}")
        raise InvalidInput(f"there is no option {option!r}; {hint(option, known, otherwise='there are')}")


_LOAD = sorted(load.__kwdefaults__ or ())
_CONNECT = sorted({*(connect.__kwdefaults__ or ())} - {"model"})


def _prompt(written: Mapping[str, Any]) -> Prompt:
    """Return a prompt that was written down as its fields, in a file for one."""
    try:
        return Prompt(**written)
    except TypeError as error:
        raise InvalidInput(f"like={{...}} must hold the fields of a Prompt: {error}") from None


def _names(argument: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"{argument} must be a list of names, not {given!r}")
    return tuple(given)
