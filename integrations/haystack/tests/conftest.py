"""What the tests of Haystack's ranker share: no telemetry, one thread, and both ways to run a component."""

import asyncio
import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # Haystack reads it when it is imported, which only tests do

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from haystack import Document

Ask = Callable[..., list[Document]]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models are fastest on one thread, and neighbours on the same machine stay undisturbed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment of whoever runs the tests is not theirs to send."""
    monkeypatch.delenv("RESIFT_API_KEY", raising=False)


@pytest.fixture(params=["run", "run_async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Return a function that runs a ranker, in one way and then in the other, and returns the documents."""

    def run(ranker: Any, **arguments: Any) -> list[Document]:
        documents: list[Document] = ranker.run(**arguments)["documents"]
        return documents

    def run_async(ranker: Any, **arguments: Any) -> list[Document]:
        documents: list[Document] = asyncio.run(ranker.run_async(**arguments))["documents"]
        return documents

    return run if request.param == "run" else run_async


@pytest.fixture
def cross_encoder(tmp_path: Path) -> Path:
    """Return a small cross-encoder with random weights, which no other test has loaded."""
    from tiny import build

    return build("bert-cross", tmp_path / "bert-cross")
