"""What the contracts are built from, and what docs/testing.md says of them."""

import ast
import asyncio
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import resift
from promising import outcome, promises
from resift.errors import InvalidInput
from resift.testing import AdapterContract, FakeRanker, RankerContract
from resift.testing.watching import loads, logged, longest_gap, raises
from test_documentation import blocks, rows

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text(encoding="utf-8")


def test_an_error_is_demanded() -> None:
    """`raises` fails where nothing is raised, and lets other errors through."""
    with raises(ValueError) as raised:
        raise InvalidInput("no")
    assert isinstance(raised.error, InvalidInput)
    with (
        pytest.raises(AssertionError, match="a call must raise KeyError or ValueError, and raised nothing"),
        raises(KeyError, ValueError, by="a call"),
    ):
        pass
    with pytest.raises(TypeError), raises(ValueError):
        raise TypeError


async def test_the_longest_gap_is_measured() -> None:
    """`longest_gap` is small for who awaits, and as long as the event loop was blocked for who does not."""

    async def block() -> None:
        await asyncio.sleep(0.02)
        time.sleep(0.3)  # noqa: ASYNC251 - the very thing that is to be noticed

    assert await longest_gap(block()) >= 0.3
    gap_s = 1.0
    for _ in range(3):  # a busy machine is given another try
        gap_s = min(gap_s, await longest_gap(asyncio.sleep(0.3)))
        if gap_s < 0.2:
            break
    assert gap_s < 0.2


def test_loading_is_counted() -> None:
    """`loads` names each model that is loaded in its block, and slows it down."""
    with loads(delay_s=0.05) as loaded:
        started = time.perf_counter()
        with resift.load("lexical", max_queue_tokens=12345), resift.load("lexical", max_queue_tokens=12345):
            assert time.perf_counter() - started >= 0.05
    assert loaded == ["lexical"]


def test_the_log_is_read_whole() -> None:
    """`logged` gives the lines of every logger with their tracebacks, and leaves logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger("resift")
    before = root.level, ours.level, list(root.handlers)
    with logged() as lines:
        ours.debug("one %s", "line")
        try:
            raise KeyError("inside")
        except KeyError:
            logging.getLogger("another").exception("failed")

    assert lines[0] == "one line"
    assert "KeyError: 'inside'" in lines[1]
    assert (root.level, ours.level, root.handlers) == before


def test_pytest_is_not_imported() -> None:
    """`resift.testing` needs no pytest, and nothing that resift itself does not need."""
    program = (
        "import sys, resift; [getattr(resift, name) for name in resift.__all__]; old = set(sys.modules); "
        "import resift.testing; print(sorted(set(sys.modules) - old))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    added = {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}

    assert added <= {*sys.stdlib_module_names, "resift"}


# docs/testing.md


def test_the_pages_own_classes_keep_their_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranker and the adapter that docs/testing.md shows keep every promise that they do not lack."""
    _fake, ranker, adapter, contract = [block.code for block in blocks(PAGE) if block.language == "python"]
    (tmp_path / "acme_rerank.py").write_text(adapter)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("resift.testing.rankers.hooks._MOST_DOCUMENTS", 50)  # no number would make this ranker slow
    shown: dict[str, Any] = {}
    for code in (ranker, contract):
        exec(code, shown)  # noqa: S102 - our own page
    try:
        for made in (shown["TestOurPipeline"], shown["TestAcmeRerank"]):
            outcomes = {promise: outcome(made(), promise) for promise in promises(made)}
            assert set(outcomes.values()) == {"kept", "skipped"}, outcomes
    finally:
        del sys.modules["acme_rerank"]


def test_the_pages_fakes_can_be_made() -> None:
    """Each line of the table about the fake ranker is Python that makes one."""
    told = rows(PAGE, "to see what your code does when a ranker")

    assert len(told) > 5
    for _, code in told:
        made = eval(code, {"FakeRanker": FakeRanker, "resift": resift, "threading": threading})  # noqa: S307 - our page
        assert isinstance(made, FakeRanker)


@pytest.mark.parametrize(("number", "contract"), [(0, RankerContract), (1, AdapterContract)])
def test_the_pages_hooks_exist(number: int, contract: type) -> None:
    """Each hook in the tables about the contracts exists, with the default that the page gives it."""
    _, *parts = PAGE.split("| attribute or method |")
    told = rows(f"| attribute or method |{parts[number]}", "attribute or method")

    assert len(told) > 4
    for hooks, _ in told:
        for hook in hooks.split(", "):
            name, _, default = hook.partition(" = ")
            assert hasattr(contract, name.partition("(")[0]), hook
            assert not default or getattr(contract, name) == ast.literal_eval(default), hook
