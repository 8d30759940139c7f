"""What a client's program does: ask an endpoint as it should be, then in each wrong way, and say what came of it."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interop.clients.question import DOCUMENTS, MODEL, QUERY, TOP_N


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, and the key to show there."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask."""

    query: str = QUERY
    documents: Sequence[Any] = DOCUMENTS
    top_n: int | None = None
    model: str = MODEL


@dataclass(frozen=True, slots=True)
class Hit:
    """One line of the answer, as the client gave it to its caller."""

    index: int
    score: float
    text: str | None = None


Rank = Callable[[Endpoint, Ask], Sequence[Hit]]


def place(text: str) -> int:
    """Return which document it is that a client gave back instead of its position."""
    return DOCUMENTS.index(text)


BLANK = Ask(query=" ")
"""What an endpoint refuses with 400, as most clients let it through."""


def probe(clients: Mapping[str, Rank], *, bad: Ask = BLANK) -> None:
    """Print one line of JSON for each client: its rankings, and the errors that it raised for 400, 401 and 429."""
    url, busy_url, key = sys.argv[1:]
    right, stranger, busy = Endpoint(url, key), Endpoint(url, f"not-{key}"), Endpoint(busy_url, key)
    for name, rank in clients.items():
        report = {
            "client": name,
            "all": _ranked(rank, right, Ask()),
            "best": _ranked(rank, right, Ask(top_n=TOP_N)),
            "errors": {
                "400": _refused(rank, right, bad),
                "401": _refused(rank, stranger, Ask()),
                "429": _refused(rank, busy, Ask()),
            },
        }
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


def _ranked(rank: Rank, endpoint: Endpoint, ask: Ask) -> dict[str, Any]:
    try:
        hits = rank(endpoint, ask)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test wants to show
        return {"failed": _told(error)}
    return {
        "order": [hit.index for hit in hits],
        "scores": [hit.score for hit in hits],
        "texts": [hit.text for hit in hits],
    }


def _refused(rank: Rank, endpoint: Endpoint, ask: Ask) -> dict[str, str]:
    try:
        hits = rank(endpoint, ask)
    except Exception as error:  # noqa: BLE001 - which one it is, the test says
        return _told(error)
    return {"kind": "", "says": f"no error, but {len(hits)} hits"}


def _told(error: Exception) -> dict[str, str]:
    kind = type(error)
    return {"kind": f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}", "says": str(error)[:1000]}
