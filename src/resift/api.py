"""The front door's own functions: load a ranker."""

from collections.abc import Sequence
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Any

from resift.documents import read_instruction
from resift.errors import InvalidInput
from resift.local import LocalRanker
from resift.settings import Backend, Dtype, LongDocuments, Prompt, Settings


def load(
    model: str | PathLike[str] | None = None,
    *,
    like: str | Prompt | None = None,
    backend: Backend = "auto",
    device: str | list[str] | tuple[str, ...] = "auto",
    dtype: Dtype = "auto",
    max_length: int | None = None,
    max_batch_tokens: int | None = None,
    normalize: bool | None = None,
    instruction: str | None = None,
    fields: Sequence[str] | None = None,
    long_documents: LongDocuments = "truncate",
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    cache_dir: str | PathLike[str] | None = None,
) -> LocalRanker:
    """
    Load a model that runs here, and return the ranker around it.

    Args:
        model: a hub id, a local directory, or "lexical", the built-in scorer that needs no model (the default).
        like: the catalogue's model that this one is a copy or a fine-tune of, or a `Prompt` for a language model.
        backend: what runs the model; "auto" chooses.
        device: "cpu", "cuda", "cuda:1", ..., or several, with one replica each; "auto" is the first GPU, or the CPU.
        dtype: the number format; "auto" is full precision on a CPU, the half that suits the model on a GPU.
        max_length: how many tokens the model reads of one sequence; as its authors set it if not given.
        max_batch_tokens: how many tokens run at once; chosen for the device if not given.
        normalize: None for the scores that the authors return, True for [0, 1], False for raw logits.
        instruction: what the model is told to look for, where its family knows instructions.
        fields: the keys of mapping documents that are read, in this order; all if not given.
        long_documents: "truncate" cuts a document that is too long, and the ranking says how many were.
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
        Settings(
            model="lexical" if model is None else fspath(model) if isinstance(model, PathLike) else model,
            like=like,
            backend=backend,
            device=tuple(device) if isinstance(device, list | tuple) else device,
            dtype=dtype,
            max_length=max_length,
            max_batch_tokens=max_batch_tokens,
            long_documents=long_documents,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
            cache_dir=fspath(cache_dir) if isinstance(cache_dir, PathLike) else cache_dir,
            normalize=normalize,
            instruction=read_instruction(instruction),
            fields=_names("fields", fields),
        )
    )


def _names(argument: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"{argument} must be a list of names, not {given!r}")
    return tuple(given)


_OPTIONS = sorted(load.__kwdefaults__ or ())


def open(model: str | PathLike[str] | None = None, **options: Any) -> LocalRanker:  # noqa: A001 - as in `os.open`
    """
    Return a ranker for settings that come from elsewhere: a framework, a file, a command line.

    Options are those of `load`. One that does not exist is an `InvalidInput` that names the closest one which does.
    """
    for option in options:
        if option not in _OPTIONS:
            close = get_close_matches(option, _OPTIONS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_OPTIONS)}"
            raise InvalidInput(f"there is no option {option!r}; {hint}")
    return load(model, **options)
