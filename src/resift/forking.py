"""What a forked child has to renew: locks that another thread held, and threads that did not come along."""

import os
import threading
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something that a fork breaks."""

    def renew(self) -> None:
        """Begin anew in a forked child: with new locks and no threads."""


_KNOWN: "weakref.WeakSet[Renewable]" = weakref.WeakSet()


def renew_in_child(thing: Renewable) -> None:
    """Remember to renew `thing` in every forked child for as long as it lives."""
    _KNOWN.add(thing)


class Lock:
    """A lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        if self._lock.locked():  # it is not in a child that was forked inside
            self._lock.release()


def _renew_all() -> None:
    for thing in list(_KNOWN):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
