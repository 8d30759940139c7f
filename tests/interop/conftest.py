"""Our endpoint as a vendor's client meets it: a process started from the command line; with a key, open, or full."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

import resift
from interop.clients.question import KEY, MODEL
from serving import served, serving

PATIENCE_S = 60


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Serve the built-in scorer to whoever shows the key."""
    with _resift_serve({"RESIFT_SERVE_API_KEY": KEY}) as url:
        yield url


@pytest.fixture(scope="session")
def open_endpoint() -> Iterator[str]:
    """Serve the built-in scorer to everybody."""
    with _resift_serve({}) as url:
        yield url


@pytest.fixture(scope="session")
def full_endpoint() -> Iterator[str]:
    """Serve with a single place, which is taken for as long as the tests run."""
    with (
        resift.load(normalize=True) as ranker,
        serving(served(ranker, MODEL), max_requests=1) as server,
        server.house.admission.enter(),
    ):
        yield server.url


@contextmanager
def _resift_serve(environment: Mapping[str, str]) -> Iterator[str]:
    """Run `resift serve lexical` in a process of its own, and wait until it is ready."""
    command = [sys.executable, "-m", "resift", "serve", "lexical", "--port", "0"]
    with (
        tempfile.NamedTemporaryFile() as said,
        subprocess.Popen(command, env=os.environ | environment, stdout=said, stderr=said) as process,
    ):
        try:
            url = _announced(process, Path(said.name))
            _until_ready(f"{url}/ready")
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _announced(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Return the address that the server says it can be reached at."""
    for _ in _patiently():
        address = re.search(r"http://127\.0\.0\.1:\d+(?=\s)", log.read_text(encoding="utf-8"))
        if address:
            return address.group()
        if process.poll() is not None:
            break
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")


def _until_ready(url: str) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in _patiently():
        try:
            with direct.open(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
    raise AssertionError("the server did not become ready")


def _patiently() -> Iterator[None]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        yield
        time.sleep(0.05)
