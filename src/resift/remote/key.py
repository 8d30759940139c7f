"""Keys and other header values: held so that nothing shows them, and checked before they reach a wire."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from resift.errors import InvalidInput

VARIABLE = "RESIFT_API_KEY"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e\xa1-\xff](?:[\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa1-\xff])?")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)


class Secret:
    """A text that neither `repr` nor a log, a dump, a copy or a pickle shows."""

    __slots__ = ("_reveal",)

    def __init__(self, text: str) -> None:
        self._reveal: Callable[[], str] = lambda: text  # in a closure, where dumps of attributes do not look

    def reveal(self) -> str:
        """Return the text itself, for the one place that sends it."""
        return self._reveal()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: Any) -> "Secret":
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise InvalidInput(f"a secret is not pickled; set {VARIABLE} where it is needed")


def read_key(given: str | None) -> Secret | None:
    """Return the key to send: the given one, or that of the environment; none for an empty one."""
    named = "api_key" if given is not None else VARIABLE
    key = os.environ.get(VARIABLE, "") if given is None else given
    if not isinstance(key, str):
        raise InvalidInput(f"{named} must be a str, not {type(key).__name__}")
    if not key:
        return None
    _require_sendable(named, key)
    return Secret(key)


def read_headers(given: Mapping[str, str] | None) -> tuple[tuple[str, Secret], ...]:
    """Return headers that the caller wants to go along, or say which of them cannot."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise InvalidInput(f"headers must be a mapping of names to values, not {type(given).__name__}")
    return tuple((_name(name), _value(name, value)) for name, value in given.items())


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput("headers holds a name that is no header's name; check its spelling")
    if name.lower() in _OURS:
        raise InvalidInput(f"headers cannot set {name!r}, because it has to fit what is sent; leave it out")
    return name


def _value(name: str, value: object) -> Secret:
    if not isinstance(value, str):
        raise InvalidInput(f"headers[{name!r}] must be a str, not {type(value).__name__}")
    if value:
        _require_sendable(f"headers[{name!r}]", value)
    return Secret(value)


def _require_sendable(named: str, value: str) -> None:
    """Refuse what would end a header, or what its bytes cannot write; without showing it."""
    if not _VALUE.fullmatch(value):
        raise InvalidInput(
            f"{named} holds a line break, a blank at its end or a character that no header can carry; "
            "check how it was copied (it is not shown here)"
        )
