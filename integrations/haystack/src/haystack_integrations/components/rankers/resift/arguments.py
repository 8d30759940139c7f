"""What callers give in Haystack's words: numbers, field names and devices, or the errors that say what they must be."""

import math
import operator
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Real

from haystack.core.errors import DeserializationError
from haystack.utils import ComponentDevice

from resift import InvalidInput


def read_top_k(given: int | None) -> int | None:
    """Return how many documents to keep, numpy's numbers included."""
    if given is None:
        return None
    try:
        top_k = None if isinstance(given, bool) else operator.index(given)
    except TypeError:
        top_k = None
    if top_k is None:
        raise InvalidInput(f"top_k must be a whole number, but got {given!r}; leave it out to keep every document")
    if top_k <= 0:
        raise InvalidInput(f"top_k must be > 0, but got {given!r}; leave it out to keep every document")
    return top_k


def read_threshold(given: float | None) -> float | None:
    """Return the lowest score to keep."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, Real) or math.isnan(given):
        raise InvalidInput(f"score_threshold must be a number, not {given!r}; leave it out to keep every score")
    return float(given)


def read_fields(given: Sequence[str] | None) -> list[str]:
    """Return the meta fields to embed."""
    if isinstance(given, str) or not isinstance(given, Sequence | None):
        raise InvalidInput(f"meta_fields_to_embed must be a list of names, not {type(given).__name__}")
    fields = list(given or ())
    if not all(isinstance(field, str) for field in fields):
        raise InvalidInput("meta_fields_to_embed must be a list of names, each a str")
    return fields


def read_kept(given: bool | str) -> str | None:  # noqa: FBT001 - `keep_retrieval_score=True` is what users say
    """Return the meta field that keeps the retrieval score, if any does."""
    if not isinstance(given, bool | str) or given == "":
        raise InvalidInput(f"keep_retrieval_score must be True, False or the name of a meta field, not {given!r}")
    if isinstance(given, str):
        return given
    return "retrieval_score" if given else None


def read_device(given: ComponentDevice) -> str:
    """Return the name of the one device that a model is to run on."""
    if not isinstance(given, ComponentDevice):
        raise InvalidInput(
            f'device must be a ComponentDevice, such as ComponentDevice.from_str("cuda:0"), not {given!r}'
        )
    if given.has_multiple_devices:
        raise InvalidInput(
            "a model is not divided among devices; leave out device, "
            'and say options={"device": ["cuda:0", "cuda:1"]} for one replica on each'
        )
    return given.to_torch_str()


def require_known(component: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse serialized parameters that the component does not have."""
    for name in given:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise DeserializationError(f"{component} has no parameter {name!r}; {advice}")
