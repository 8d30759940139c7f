"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when Haystack is imported


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models are fastest on one thread, and neighbours on the same machine stay undisturbed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
