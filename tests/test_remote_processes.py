"""A remote ranker in the life of processes: Ctrl-C, forks, and the end of the interpreter."""

import os
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import resift
from scripted_server import ScriptedServer, after, rerank, stall

QUERY = "what do pandas eat?"
DOCUMENTS = ["1 Paris", "3 bamboo"]
SCORES = [1.0, 3.0]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")


def _program(text: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a Python of its own that complains about whatever is left open."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )


def _ended(program: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        said, complained = program.communicate(timeout=30)
    finally:
        program.kill()
        program.wait()
    return program.returncode, said, complained


def _in_child(check: Callable[[], None]) -> bool:
    """Run `check` in a forked child; whether it went well."""
    child = os.fork()
    if child == 0:
        try:
            check()
        except BaseException:  # noqa: BLE001 - nothing may leave the child but its exit status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_c32_ctrl_c_closes_the_socket() -> None:
    """Ctrl-C in a waiting call ends the request at the endpoint, and the program can go on."""
    program = """
        import sys, resift
        with resift.connect(sys.argv[1], timeout_s=25) as ranker:
            try:
                ranker.rank("q", ["x"])
            except KeyboardInterrupt:
                print("interrupted", ranker.score("q", ["2 x"]))
    """
    with ScriptedServer([stall, rerank()]) as server:
        running = _program(program, server.url)
        assert server.wait_for(lambda it: it.busy == 1, 20)
        running.send_signal(signal.SIGINT)
        assert server.wait_for(lambda it: it.left == 1, 5)
        assert _ended(running) == (0, "interrupted [2.0]\n", "")


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "ranker.close()"])
def test_an_interpreter_ends_quietly(ending: str) -> None:
    """A ranker that nobody closed leaves no complaint when the program ends."""
    program = f"""
        import asyncio, sys, resift
        ranker = resift.connect(sys.argv[1])
        print(ranker.score("q", ["2 x"]), asyncio.run(ranker.ascore("q", ["3 x"])))
        {ending}
    """
    with ScriptedServer() as server:
        code, said, complained = _ended(_program(program, server.url))
        assert (code, said, complained) == (3 if "exit" in ending else 0, "[2.0] [3.0]\n", "")
        assert server.wait_for(lambda it: it.opened == it.closed)


def test_an_interpreter_that_ends_does_not_wait_for_an_endpoint() -> None:
    """A call of a background thread does not keep a program from ending."""
    program = """
        import sys, threading, time, resift
        ranker = resift.connect(sys.argv[1], timeout_s=60)
        threading.Thread(target=lambda: ranker.score("q", ["2 x"]), daemon=True).start()
        time.sleep(0.5)
    """
    with ScriptedServer([stall]) as server:
        code, said, _ = _ended(_program(program, server.url))
        assert (code, said) == (0, "")
        assert server.wait_for(lambda it: it.opened == it.closed)


@forks
def test_a_forked_child_has_connections_of_its_own() -> None:
    """A child asks over a connection of its own, and the parent's goes on as if nothing had been."""
    with ScriptedServer() as server, resift.connect(server.url) as ranker:
        assert ranker.score(QUERY, DOCUMENTS) == SCORES

        def check() -> None:
            assert ranker.score(QUERY, DOCUMENTS) == SCORES
            ranker.close()

        assert _in_child(check)
        assert ranker.score(QUERY, DOCUMENTS) == SCORES
        assert server.wait_for(lambda it: it.opened == 2 and it.closed == 1)


@forks
def test_a_fork_in_the_middle_of_a_call_harms_neither() -> None:
    """While the parent waits for an answer, a child gets its own; both are right."""
    with ScriptedServer([after(0.5, rerank())]) as server, resift.connect(server.url) as ranker:
        calls = ranker.rank_many([(QUERY, DOCUMENTS)] * 3)
        next(calls)

        def check() -> None:
            assert ranker.score(QUERY, DOCUMENTS) == SCORES

        assert _in_child(check)
        assert [len(ranking) for ranking in calls] == [2, 2]


@forks
def test_a_forked_child_ends_quietly() -> None:
    """A child that ends by itself, and not by `_exit`, complains about nothing that the parent left open."""
    program = """
        import os, sys, resift
        ranker = resift.connect(sys.argv[1])
        ranker.score("q", ["2 x"])
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        print(ranker.score("q", ["2 x"]), flush=True)
    """
    with ScriptedServer() as server:
        assert _ended(_program(program, server.url)) == (0, "[2.0]\n[2.0]\n", "")
