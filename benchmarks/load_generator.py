"""
Sends prepared requests to a server from many callers at once, and tells how long each took.

It runs in a process of its own, so that no server shares an interpreter with those who ask it. A line of JSON on its
input is a round, `{"port", "path", "bodies", "callers"}`; a line of JSON on its output is what came of it,
`{"seconds", "latencies", "replies"}`. Each caller has one connection, which it keeps, and asks as soon as it was
answered. Requests and replies are bytes put together and taken apart by hand: what is measured is the server.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

Reply = tuple[float, bytes]  # seconds, body


@dataclass
class Round:
    """What is left to ask, and what has been answered."""

    port: int
    requests: Iterator[tuple[int, bytes]]
    replies: dict[int, Reply] = field(default_factory=dict)

    async def caller(self) -> None:
        """Ask until nothing is left to ask."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for number, request in self.requests:
                start = time.perf_counter()
                writer.write(request)
                await writer.drain()
                body = await _read(reader)
                self.replies[number] = time.perf_counter() - start, body
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers["content-length"]))
    if " 200 " not in f"{status} ":
        raise RuntimeError(f"the server says {status}: {body[:300]!r}")
    return body


def _request(path: str, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


async def _play(port: int, path: str, bodies: list[str], callers: int) -> dict[str, object]:
    requests = [_request(path, body) for body in bodies]
    played = Round(port, iter(enumerate(requests)))
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(played.caller())
    seconds = time.perf_counter() - start
    in_order = [played.replies[number] for number in range(len(bodies))]
    latencies, replies = [latency for latency, _ in in_order], [json.loads(body) for _, body in in_order]
    return {"seconds": seconds, "latencies": latencies, "replies": replies}


def main() -> None:
    """Play one round per line of input."""
    for line in sys.stdin:
        wanted = json.loads(line)
        played = asyncio.run(_play(wanted["port"], wanted["path"], wanted["bodies"], wanted["callers"]))
        print(json.dumps(played), flush=True)


if __name__ == "__main__":
    main()
