"""What an engine says of its work, and how much it lets wait."""

import pytest

from resift.errors import InvalidInput, Overloaded
from resift.settings import Settings
from resift.types import Workload
from test_engine import FakeBackend, running, tokens


def test_the_workload_counts_batches_and_how_full_they_were() -> None:
    """Tokens that ran are set against the tokens that their batches had room for."""
    with running(FakeBackend(limit=8)) as engine:
        engine.submit([tokens(1, 2, 3)]).result()
        engine.submit([tokens(1, 2), tokens(3, 4)]).result()

        assert engine.workload == Workload(waiting_tokens=0, batches=2, tokens=7, room=16)


def test_padding_counts_as_room() -> None:
    """A padded batch is as full as its texts, not as its rectangle."""
    with running(FakeBackend(limit=8, padded=True)) as engine:
        engine.submit([tokens(1, 2, 3, 4), tokens(1)]).result()

        assert engine.workload == Workload(batches=1, tokens=5, room=8)


def test_the_workload_knows_what_waits() -> None:
    """Tokens that no device has taken yet are waiting."""
    backend = FakeBackend(limit=4)
    backend.gate.clear()
    with running(backend) as engine:
        first = engine.submit([tokens(1)])
        backend.wait_until_busy()
        second = engine.submit([tokens(1, 2, 3)])

        assert engine.workload.waiting_tokens == 3
        backend.gate.set()
        first.result()
        second.result()
        assert engine.workload.waiting_tokens == 0


def test_the_longest_queue_is_the_callers_choice() -> None:
    """Beyond `max_queue_tokens` work is refused; an idle engine still takes any job."""
    backend = FakeBackend(limit=4)
    backend.gate.clear()
    with running(backend, max_queue_tokens=3) as engine:
        first = engine.submit([tokens(1, 2, 3, 4)])
        backend.wait_until_busy()
        second = engine.submit([tokens(1, 2, 3)])
        with pytest.raises(Overloaded, match="3 tokens wait already, and 1 more would exceed 3"):
            engine.submit([tokens(1)])
        backend.gate.set()

        assert len(first.result()) == len(second.result()) == 1


def test_a_queue_without_room_means_nothing() -> None:
    """`max_queue_tokens` is a count."""
    with pytest.raises(InvalidInput, match="max_queue_tokens"):
        Settings(max_queue_tokens=0)
