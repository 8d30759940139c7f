"""What every route and every middleware of one server shares, and what is noted about each request."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resift.server.admission import Admission
from resift.server.metrics import Metrics
from resift.server.served import Served
from resift.server.settings import ServerSettings

UNKNOWN_ROUTE = "other"


@dataclass(frozen=True, slots=True, eq=False)
class House:
    """One server's models, limits and counters; `app.state.resift` is one."""

    settings: ServerSettings
    models: list[Served]
    """Empty until they are loaded; the first answers where a request names none."""

    ready: threading.Event
    admission: Admission
    """`with house.admission.enter():` around a scoring request; what it raises says how it is answered."""

    metrics: Metrics

    @classmethod
    def around(cls, models: Sequence[Served], settings: ServerSettings) -> "House":
        """Build the house; without models it stands, but is not ready."""
        ready = threading.Event()
        rooms: list[Served] = []
        admission = Admission(settings, ready)
        house = cls(settings, rooms, ready, admission, Metrics(rooms, admission))
        if models:
            house.open(models)
        return house

    def open(self, models: Sequence[Served]) -> None:
        """Answer with these models from now on."""
        self.models.extend(models)
        self.ready.set()


@dataclass(slots=True)
class Note:
    """What is known of one request: it goes into the log line, the metrics and the reply, and holds no text of it."""

    request_id: str
    """What the client calls the request, or what the server does; goes back as `x-request-id`."""

    route: str = UNKNOWN_ROUTE
    """The route's own path, placeholders included, never what stood in the request for them."""

    documents: int | None = None
    model: str | None = None
    """The served name that answered."""

    reason: str | None = None
    """Why the request was turned away, as the metrics call it."""


def note_of(scope: Any) -> Note:
    """Return what is noted about the request of an ASGI scope."""
    note: Note = scope["resift.note"]
    return note
