"""The page about the command line is true: each `console` block is run in a shell, and prints what it says."""

import doctest
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resift.cli.commands import HOMES
from test_documentation import ROOT, blocks, cache_stand_ins

PAGE = ROOT / "docs" / "cli.md"
_CHECKER = doctest.OutputChecker()
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(code: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with what it is said to print."""
    for part in f"\n{code}".split("\n$ ")[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed.strip("\n")


def test_each_example_prints_what_the_page_says(tmp_path: Path) -> None:
    """Every command of the page runs in a folder of its own, in order, and prints what stands below it."""
    text = PAGE.read_text(encoding="utf-8")
    cache, folder = tmp_path / "hub", tmp_path / "work"
    cache_stand_ins(cache, text)
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESIFT_")}
    env = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
    }
    for block in blocks(text):
        for command, printed in examples(block.code) if block.language == "console" else ():
            done = subprocess.run(  # noqa: S602 - our own page, in a shell as its readers have one
                command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
            )
            assert _CHECKER.check_output(printed, done.stdout, _FLAGS), f"{command}\n{done.stdout}\n{done.stderr}"


def test_each_command_is_on_the_page() -> None:
    """The page names every command, and the table of statuses those that there are."""
    text = PAGE.read_text(encoding="utf-8")

    assert [name for name in HOMES if f"resift {name}" not in text] == []


@pytest.mark.parametrize(("code", "found"), [("$ a\nx\ny\n$ b\n", [("a", "x\ny"), ("b", "")]), ("x\n", [])])
def test_a_block_is_commands_and_what_they_print(code: str, found: list[tuple[str, str]]) -> None:
    """A line that begins with a dollar is a command, and what follows is its output."""
    assert list(examples(code)) == found
