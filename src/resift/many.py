"""The requests of `rank_many`: checked one by one as they are read, with faults that say which of them is meant."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager

from resift.documents import read_documents
from resift.errors import InvalidInput
from resift.types import Document, Request


def read_many(requests: Iterable[Request]) -> Iterable[Request]:
    """Return the caller's requests as they are, unread, or say why they are none."""
    if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
        raise InvalidInput(f"requests must be pairs of a query and its documents, not {type(requests).__name__}")
    return requests


def numbered(requests: Iterable[Request]) -> Iterator[tuple[int, str, list[Document]]]:
    """Yield each request's position, query and documents."""
    for at, request in enumerate(requests):
        try:
            query, documents = request
        except (TypeError, ValueError):
            raise InvalidInput(f"requests[{at}] must be a pair of a query and its documents") from None
        with naming(at):
            read = read_documents(documents)
        yield at, query, read


@contextmanager
def naming(at: int) -> Iterator[None]:
    """Say in which of many requests the fault lies."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"requests[{at}]: {error}") from None


def how_many(requests: object) -> int | None:
    """Return how many requests there are, where that can be known without reading them."""
    return len(requests) if isinstance(requests, Sized) else None
