"""A connection with a clock: whoever sends a head too slowly, or does not read what was asked for, is let go."""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_NO_LINGERING = struct.pack("ii", 1, 0)
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 16\r\nconnection: close\r\n\r\n"
    b"Request Timeout\n"
)


def patient_protocol(*, head_timeout_s: float, read_timeout_s: float) -> type[asyncio.Protocol]:
    """
    Return uvicorn's protocol with two clocks; bodies have their own, in `receiving`.

    Always the one over h11: the other, which uvicorn takes where httptools is installed, keeps heads without end.
    """
    return type(
        "Patient", (_Patient, H11Protocol), {"head_timeout_s": head_timeout_s, "read_timeout_s": read_timeout_s}
    )


class _Patient(asyncio.Protocol):
    """What is put in front of uvicorn's protocol, of which it uses only `loop`, `transport` and `cycle`."""

    head_timeout_s: float
    read_timeout_s: float

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any

    _head: asyncio.TimerHandle | None = None
    """Runs while a request's head is awaited, or nobody knows what the bytes of the client are."""

    _unread: asyncio.TimerHandle | None = None
    """Runs while the client reads nothing, or is to be gone."""

    _last: Any = None
    """The latest request whose head was complete."""

    _silent = True
    _is_full = False
    """Whether more of a reply waits for the client than is sent ahead."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        # asyncio overlooks sockets that were made without naming TCP; a reply's body then waits 40 ms behind its head
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Let uvicorn read, then see whether a head was completed."""
        self._silent = False
        super().data_received(data)
        cycle = self.cycle
        if cycle is not self._last:
            self._last = cycle
            self._stop_clocks(unread=False)
        elif self._head is None and (cycle is None or cycle.response_complete):
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._stop_clocks()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._is_full = True
        self._await_reader()

    def resume_writing(self) -> None:
        """Wait no more if the client has read a whole reply; one that comes in pieces has one clock."""
        self._is_full = False
        if self.cycle is None or self.cycle.response_complete:
            self._stop_clocks(head=False)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Wait no more if the client has kept up with the reply."""
        if not self._is_full:
            self._stop_clocks(head=False)
        super().on_response_complete()  # type: ignore[misc]  # uvicorn's own

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, even one whose client left the last reply unread."""
        super().timeout_keep_alive_handler()  # type: ignore[misc]  # uvicorn's own
        self._await_reader()

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.head_timeout_s, self._let_go)

    def _await_reader(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.read_timeout_s, self._cut_off)

    def _cut_off(self) -> None:
        """Close with a reset, so that the kernel does not go on keeping what nobody reads."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.transport.abort()

    def _let_go(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self.cycle is None and not self._silent:  # a head that is only half there, not what is left of a body
            self.transport.write(_TOO_SLOW)
        self.transport.close()
        self._await_reader()

    def _stop_clocks(self, *, head: bool = True, unread: bool = True) -> None:
        if head and self._head is not None:
            self._head.cancel()
            self._head = None
        if unread and self._unread is not None:
            self._unread.cancel()
            self._unread = None
