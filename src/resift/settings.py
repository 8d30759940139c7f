"""How a model is to be loaded and read: validated once, here, then only passed around."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Literal, get_args

from resift.amounts import whole
from resift.errors import InvalidInput

Backend = Literal["auto", "torch", "onnx", "openvino"]
Dtype = Literal["auto", "float32", "float16", "bfloat16", "int8"]
LongDocuments = Literal["truncate", "window"]
Covers = Literal["everything", "texts", "texts and tail"]


@dataclass(frozen=True, slots=True)
class Prompt:
    r"""
    How a causal language model is asked whether a document answers a query.

    `pieces` are written one after the other, each tokenised alone; `{query}`, `{document}` and `{instruction}` stand
    for the texts. The score is the logit of the token `positive`, minus that of `negative` where there is one, after
    the last piece.

    >>> prompt = Prompt(
    ...     pieces=("<|user|>\n", "Query: {query}", "\n", "Document: {document}", "\n", "Relevant?<|assistant|>\n"),
    ...     positive="yes",
    ...     negative="no",
    ... )
    """

    pieces: tuple[str, ...]
    positive: str
    negative: str | None = None
    instruction: str | None = None
    """What `{instruction}` says when the caller says nothing."""

    without_instruction: str | None = None
    """The piece to write in place of the one that holds `{instruction}` when there is no instruction."""

    begins_with_bos: bool = False
    """Whether the model's beginning-of-sequence token goes first."""

    max_length_covers: Covers = "everything"
    """
    What `max_length` counts: the whole prompt; or only what stands from the query to the document (mxbai-rerank); or
    the same, with as many tokens more as the pieces after it have (FlagEmbedding).
    """

    def __post_init__(self) -> None:
        if not isinstance(self.pieces, list | tuple) or not all(isinstance(piece, str) for piece in self.pieces):
            raise InvalidInput("Prompt.pieces must be a tuple of strings, each tokenised alone")
        for name in ("positive", "negative", "instruction", "without_instruction"):
            _require_kind(f"Prompt.{name}", getattr(self, name), str | None, wanted="a str")
        _require_choice("Prompt.max_length_covers", self.max_length_covers, get_args(Covers))
        object.__setattr__(self, "pieces", tuple(self.pieces))
        for name in ("{query}", "{document}"):
            if sum(name in piece for piece in self.pieces) != 1:
                raise InvalidInput(f"exactly one of Prompt.pieces must hold {name}: {self.pieces!r}")
        if self.without_instruction is not None and "{instruction}" not in "".join(self.pieces):
            raise InvalidInput("Prompt.without_instruction replaces the piece with {instruction}, and there is none")
        bare = self.pieces_with(instruction=False)
        if not all(any(name in piece for piece in bare) for name in ("{query}", "{document}")):
            raise InvalidInput("Prompt.without_instruction must hold what the piece that it replaces holds beside it")
        if not self.positive:
            raise InvalidInput("Prompt.positive must name the token whose logit means 'relevant', for example 'yes'")

    def pieces_with(self, *, instruction: bool) -> tuple[str, ...]:
        """Return the pieces to write when there is an instruction, or none."""
        if instruction or self.without_instruction is None:
            return self.pieces
        return tuple(self.without_instruction if "{instruction}" in piece else piece for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `load` was asked for."""

    model: str = "lexical"
    like: str | Prompt | None = None
    backend: Backend = "auto"
    device: str | tuple[str, ...] = "auto"
    dtype: Dtype = "auto"
    max_length: int | None = None
    max_batch_tokens: int | None = None
    max_queue_tokens: int | None = None
    long_documents: LongDocuments | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False
    cache_dir: str | None = None
    # read by each ranker for itself, so rankers that differ only here share one model
    normalize: bool | None = None
    instruction: str | None = None
    fields: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise InvalidInput(f"model must be a hub id, a directory or 'lexical', not {self.model!r}")
        _require_kind("like", self.like, str | Prompt | None, wanted="the id of a catalogued model or a Prompt")
        long = {} if self.long_documents is None else {"long_documents": LongDocuments}
        for name, kind in ({"backend": Backend, "dtype": Dtype} | long).items():
            _require_choice(name, getattr(self, name), get_args(kind))
        if self.backend == "torch" and self.dtype == "int8":
            raise InvalidInput("dtype='int8' is a quantised ONNX graph, which torch does not run; say backend='onnx'")
        for name in ("max_length", "max_batch_tokens", "max_queue_tokens"):
            if (given := getattr(self, name)) is not None:
                whole(name, given, advice="leave it out for the default")
        devices = (self.device,) if isinstance(self.device, str) else self.device
        if not isinstance(devices, tuple) or not devices or not all(isinstance(name, str) and name for name in devices):
            raise InvalidInput(f"device must be a name such as 'cuda:0', or a list of such names, not {self.device!r}")
        _require_kind("normalize", self.normalize, bool | None, wanted="None, True or False")
        for name in ("revision", "cache_dir"):
            _require_kind(name, getattr(self, name), str | None, wanted="a str")
        for name in ("trust_remote_code", "local_files_only"):
            _require_kind(name, getattr(self, name), bool, wanted="True or False")
        if self.fields is not None and not self.fields:
            raise InvalidInput("fields names no field; leave it out to read all")


def hint(given: object, known: Iterable[str], *, otherwise: str = "choose from", cutoff: float = 0.6) -> str:
    """Say which of the known names was probably meant, or, where none is close, name them all."""
    names = list(known)
    close = get_close_matches(str(given), names, n=1, cutoff=cutoff)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise} {', '.join(names)}"


def _require_kind(name: str, given: object, kind: type | UnionType, *, wanted: str) -> None:
    if not isinstance(given, kind):
        raise InvalidInput(f"{name} must be {wanted}, not {given!r}")


def _require_choice(name: str, given: object, choices: Sequence[str]) -> None:
    if given not in choices:
        raise InvalidInput(f"{name}={given!r} is not known; {hint(given, choices)}")
