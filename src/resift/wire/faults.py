"""The bodies of errors: one that every client understands, and the message in whatever body a server sends."""

from collections.abc import Iterator
from typing import Any

LONGEST = 300
"""How many characters of a message are shown."""

_WORDS = ("message", "error", "detail", "error_message", "msg", "title", "errors")
_DEEPEST = 4  # deeper than any known server nests its words


def error_body(message: str, *, kind: str, param: str | None = None, code: str | int | None = None) -> dict[str, Any]:
    """Return a body in which the clients of OpenAI, Cohere, Jina and Voyage each find the message where they look."""
    return {
        "error": {"message": message, "type": kind, "param": param, "code": code},
        "message": message,
        "detail": message,
    }


def error_message(body: Any, *, longest: int = LONGEST) -> str:
    """
    Return what the body of an error says, on one printable line of at most `longest` characters; "" if nothing.

    Only the members that carry words are read: others may hold what the caller sent.
    """
    return clipped("; ".join(dict.fromkeys(map(_printable, _sayings(body, depth=0)))), longest)


def clipped(words: str, longest: int = LONGEST) -> str:
    """Return `words`, or their beginning where there are too many."""
    return words if len(words) <= longest else words[: longest - 1] + "…"


def _printable(words: str) -> str:
    line = " ".join(words.split())
    return line if line.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in line)


def _sayings(body: Any, *, depth: int) -> Iterator[str]:
    if isinstance(body, str):
        if body.strip():
            yield body
    elif depth > _DEEPEST:
        return
    elif isinstance(body, list):
        for item in body[:3]:
            yield from _sayings(item, depth=depth + 1)
    elif isinstance(body, dict):
        for word in _WORDS:
            said = list(_sayings(body.get(word), depth=depth + 1))
            if said:
                yield _where(body.get("loc")) + said[0]
                return


def _where(place: Any) -> str:
    """Return the place that a validation error names, as pydantic writes it."""
    if not isinstance(place, list) or not all(isinstance(step, str | int) for step in place):
        return ""
    return ".".join(map(str, place)) + ": "
