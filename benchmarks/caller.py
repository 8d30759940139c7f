"""
Calls a rerank endpoint through one client, and tells how long each call took.

    python benchmarks/caller.py resift|cohere|http.client URL DOCUMENTS

It runs in a process of its own, in the environment that has the client: `cohere` must not share one with others. A line
on its input is a number of calls; a line of JSON on its output is the seconds that each took.
"""

import http.client
import json
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

QUERY = "how long do giant pandas sleep?"
KEY = "sk-1Fd6yKp3HsN5gJv0"

Call = Callable[[], object]


def documents_of(count: int) -> list[str]:
    """Return documents as they come out of a first stage: a paragraph each."""
    return [
        f"Passage {number}. " + "The giant panda eats bamboo and sleeps for most of the day. " * 8
        for number in range(count)
    ]


def _resift(url: str, documents: list[str]) -> Call:
    import resift

    ranker = resift.connect(url, model="tiny", api_key=KEY, dialect="cohere")
    return lambda: ranker.rank(QUERY, documents)


def _cohere(url: str, documents: list[str]) -> Call:
    import cohere  # type: ignore[import-not-found]

    client = cohere.ClientV2(api_key=KEY, base_url=url)
    return lambda: client.rerank(model="tiny", query=QUERY, documents=documents)


def _http_client(url: str, documents: list[str]) -> Call:
    """Return what no client can be faster than: the standard library, with nothing looked at."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

    def call() -> object:
        body = json.dumps({"model": "tiny", "query": QUERY, "documents": documents})
        connection.request("POST", "/v2/rerank", body, headers)
        return json.loads(connection.getresponse().read())

    return call


CLIENTS = {"resift": _resift, "cohere": _cohere, "http.client": _http_client}


def main() -> None:
    """Make one client, and call it as often as each line of input says."""
    name, url, count = sys.argv[1:]
    call = CLIENTS[name](url, documents_of(int(count)))
    for line in sys.stdin:
        print(json.dumps([_time(call) for _ in range(int(line))]), flush=True)


def _time(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
