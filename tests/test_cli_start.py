"""`resift` as a whole: what help costs, what mistakes look like, and how commands end."""

import errno
import importlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import click
import pytest

import resift
from programs import printed
from resift.cli.commands import HOMES, start
from resift.cli.commands import resift as group
from resift.cli.faults import explain
from resift.errors import EndpointUnavailable, InvalidInput, MissingDependency, ModelNotFound

PATIENCE_S = 60

HEAVY = (
    *("numpy", "httpx", "httpx2", "tokenizers", "asyncio", "rich", "pyarrow"),
    *("torch", "transformers", "onnxruntime", "openvino", "huggingface_hub", "fastapi", "uvicorn"),
)
SHARED = [
    *("like", "backend", "device", "dtype", "revision", "trust_remote_code", "local_files_only", "cache_dir"),
    *(
        "api_key",
        "dialect",
        "timeout_s",
        "max_length",
        "max_batch_tokens",
        "long_documents",
        "instruction",
        "normalize",
    ),
]
DOCUMENTS = "Paris is in France.\nThe giant panda eats bamboo.\n"


def run(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python -m resift` in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESIFT_")}
    return subprocess.run(
        [sys.executable, "-m", "resift", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE_S,
        check=False,
        env={**kept, **(env or {})},
        **options,
    )


def test_help_imports_next_to_nothing() -> None:
    """`resift --help`, the version and a misspelt command load no numpy, no HTTP client and nothing for models."""
    for arguments in (["--help"], ["--version"], ["rnak"]):
        program = f"""
import sys
sys.stdout, sys.stderr, out = open("/dev/null", "w"), open("/dev/null", "w"), sys.stdout
from resift.cli.commands import start
start({arguments!r})
print([name for name in {HEAVY!r} if name in sys.modules], file=out)
"""
        assert printed(program) == "[]"


def test_the_door_knows_where_everything_is() -> None:
    """Every name of `resift` is found where its type checker's import says, and a misspelt one is an AttributeError."""
    for name in resift.__all__:
        assert getattr(importlib.import_module("resift"), name) is not None
    with pytest.raises(AttributeError, match="laod"):
        resift.laod  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", HOMES)
def test_every_command_is_where_it_is_said_to_be(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command exists, and its help shows the variables that its options can come from."""
    assert start([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    command = group.get_command(click.Context(group, info_name="resift"), name)

    assert command is not None
    assert f"Usage: resift {name}" in shown
    assert "--debug" in shown
    variables = [parameter.envvar for parameter in command.params if isinstance(parameter, click.Option)]
    assert all(f"env var: {variable}" in shown for variable in variables if variable is not None)


def test_options_of_rankers_are_the_same_everywhere() -> None:
    """What `load` and `connect` take is called the same in every command that ranks, and so is its variable."""
    context = click.Context(group, info_name="resift")
    for name in ("rank", "score", "bulk"):
        command = group.get_command(context, name)
        assert command is not None
        variables = {parameter.name: parameter.envvar for parameter in command.params}
        for option in (*SHARED, "model", "base_url"):
            assert variables.pop(option) == f"RESIFT_{option.upper()}"
        assert (variables.pop("fields"), variables.pop("debug")) == ("RESIFT_FIELD", "RESIFT_DEBUG")
        own = [variable for variable in variables.values() if variable is not None]
        assert all(str(variable).startswith(f"RESIFT_{name.upper()}_") for variable in own)


def test_every_option_has_a_variable() -> None:
    """Each option of each command can come from the environment, but for those that delete what is there."""
    context = click.Context(group, info_name="resift")
    without = set()
    for name in HOMES:
        command = group.get_command(context, name)
        assert command is not None
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        without |= {f"{name} {option.opts[0]}" for option in options if not (option.envvar and option.show_envvar)}
    assert without == {"bulk --overwrite", "export --force"}


def test_a_value_is_blamed_on_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that cannot be is told with its option, or with the variable that it came from."""
    assert start(["rank", "panda", "--top-n", "few"]) == 2
    assert "why: --top-n: 'few' is not" in capsys.readouterr().err
    monkeypatch.setenv("RESIFT_RANK_TOP_N", "few")
    assert start(["rank", "panda"]) == 2
    assert "why: RESIFT_RANK_TOP_N: 'few' is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("closed", "arguments", "status"),
    [
        (">&-", ["rank", "panda", "d.txt"], 0),
        ("<&-", ["rank", "panda"], 2),
        ("2>&-", ["rank", "panda", "none.txt"], 2),
        ("<&- >&- 2>&-", ["models"], 0),
    ],
)
def test_closed_streams_are_no_failure(closed: str, arguments: list[str], status: int, tmp_path: Path) -> None:
    """A process that was started without stdin, stdout or stderr ends as it would with them, and without a trace."""
    (tmp_path / "d.txt").write_text(DOCUMENTS)
    words = shlex.join([sys.executable, "-m", "resift", *arguments])
    done = subprocess.run(  # noqa: S602 - our own words, in a shell, which can close a stream
        f"{words} {closed}", shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )

    assert done.returncode == status
    assert "nobody has thought of" not in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The first page names each command and what it is for."""
    assert start(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())

    for name, home in HOMES.items():
        assert f"{name} {home.help}" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnk"], "did you mean 'rank'?"),
        (["zzz"], "there are rank, score,"),
        (["rank", "panda", "--modle", "x"], "did you mean '--model'?"),
        (["rank", "panda", "--backend", "troch"], "did you mean 'torch'?"),
        (["rank", "panda", "-o", "tabel"], "did you mean 'table'?"),
        (["rank"], "QUERY"),
        (["rank", "panda", "--top-n", "few"], "few"),
        (["rank", "panda", "a", "b"], "resift rank --help"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_was_meant(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong command, option or word ends with 2 and the closest one that exists, in three lines."""
    assert start(arguments) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    what, why, remedy = captured.err.splitlines()
    assert what.startswith("Error: ")
    assert why.startswith("  why: ")
    assert remedy.startswith("  try: ")
    assert says in captured.err


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("bge-reranker-base", "did you mean 'BAAI/bge-reranker-base'?"),
        ("lexcial", "did you mean 'lexical'?"),
        ("acme/words", "hf download acme/words"),
        ("BAAI/bge-reranker-base", "hf download BAAI/bge-reranker-base"),
    ],
)
def test_a_misspelt_model_is_answered_with_the_one_that_is_known(
    model: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that is not found and whose name is nearly a known one is asked about, whichever command names it."""
    (tmp_path / "q.jsonl").write_text('{"query": "panda", "documents": ["a panda"]}\n')
    (tmp_path / "d.txt").write_text(DOCUMENTS)
    nowhere = ["--local-files-only", "--cache-dir", str(tmp_path / "none")]
    for words in (
        ["rank", "panda", str(tmp_path / "d.txt"), "--model", model],
        ["bulk", str(tmp_path / "q.jsonl"), str(tmp_path / "out"), "--model", model],
        ["bench", "--model", model],
        ["pull", model],
    ):
        assert start([*words, *nowhere]) == 1
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "what", "status"),
    [
        (InvalidInput("the query is blank: ''; pass words"), "this cannot be done as it was asked", 2),
        (ModelNotFound("'a/b' is not on the hub; check it"), "the model is not there", 1),
        (MissingDependency("x is missing; pip install x"), "something that this needs is not installed", 1),
        (EndpointUnavailable("no answer; wait"), "the endpoint is out of reach", 1),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), "a file cannot be used", 1),
        (OSError(errno.ENOSPC, "No space left", "a.txt"), "a file cannot be used", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_every_error_has_its_words_and_status(error: BaseException, what: str, status: int) -> None:
    """An error says what went wrong, why, and what to do, and has the status that scripts go by."""
    fault = explain(error)

    assert (fault.what, fault.status) == (what, status)
    if status != 130:
        assert fault.why
        assert fault.remedy


def test_an_error_that_nobody_thought_of_shows_no_text() -> None:
    """Of an unexpected error only the class is told, because its message may repeat a document."""
    fault = explain(ValueError("secret panda"))

    assert "panda" not in "".join(fault.lines)
    assert "ValueError" in fault.why
    assert "--debug" in fault.remedy


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--debug", "rank", "panda", "none.txt"], {}),
        (["rank", "panda", "none.txt", "--debug"], {}),
        (["rank", "panda", "none.txt"], {"RESIFT_DEBUG": "1"}),
    ],
)
def test_a_trace_is_shown_on_demand(
    arguments: list[str], env: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--debug`, before or behind the command, or RESIFT_DEBUG show where an error came from; nothing else does."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert start(arguments) == 2
    assert "Traceback" in capsys.readouterr().err

    monkeypatch.delenv("RESIFT_DEBUG", raising=False)
    assert start([word for word in arguments if word != "--debug"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    """`resift ... | head -1` ends with no word on stderr, and not as a failure."""
    many = "".join(f"document {number}\n" for number in range(20000))
    process = _started("rank", "document", "-o", "jsonl")
    _fed(process.stdin, many)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b'{"rank":1,')
    process.stdout.close()

    assert process.wait(PATIENCE_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("arguments", [["rank", "panda", "d.txt", "-o", "table"], ["models", "-o", "table"]])
def test_a_table_that_nobody_reads_is_no_failure(arguments: list[str], tmp_path: Path) -> None:
    """A table whose reader has left before it was written ends as quietly as lines do."""
    (tmp_path / "d.txt").write_text(DOCUMENTS)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "resift", *arguments],
        cwd=tmp_path,
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(theirs)

    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupted_command_ends_with_130() -> None:
    """Ctrl-C ends a command that waits for documents with 130, and without a trace."""
    process = _started("score", "--query", "panda")
    _fed(process.stdin, "a panda\n" * 1000, close=False)
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], PATIENCE_S)[0]:
        process.kill()
        pytest.fail("it waits for the end of its input before it scores anything")
    assert process.stdout.readline()  # it is scoring, and will wait for more documents
    process.send_signal(signal.SIGINT)

    assert process.wait(PATIENCE_S) == 130
    assert process.stderr is not None
    assert process.stderr.read().split() == [b"interrupted"]
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def test_data_is_on_stdout_and_the_rest_on_stderr(tmp_path: Path) -> None:
    """A pipe gets JSONL and nothing else, as UTF-8 whatever the locale is."""
    (tmp_path / "d.txt").write_text("Die Straße führt zum Bär.\n熊猫吃竹子。\n", encoding="utf-8")

    done = run("rank", "熊猫", "d.txt", cwd=tmp_path, env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[0])["document"] == "熊猫吃竹子。"


def test_colour_is_for_people_who_want_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table on a terminal has colour; with NO_COLOR, or in a pipe, there is none."""
    pytest.importorskip("pty")
    assert b"\x1b[" in on_a_terminal(["rank", "panda", "-", "-o", "table"], DOCUMENTS, {})
    assert b"\x1b[" not in on_a_terminal(["rank", "panda", "-", "-o", "table"], DOCUMENTS, {"NO_COLOR": "1"})
    assert "\x1b[" not in run("rank", "panda", "-o", "table", stdin=DOCUMENTS).stdout


def test_a_terminal_gets_a_table_with_bars() -> None:
    """On a terminal a ranking is a table with bars, and says which model and how many."""
    pytest.importorskip("pty")
    long = "The giant panda " + "eats bamboo " * 50
    shown = on_a_terminal(["rank", "panda", "-"], f"{DOCUMENTS}{long}\n", {"NO_COLOR": "1"}).decode()

    lines = shown.replace("\r", "").splitlines()
    assert [line.split()[:2] for line in lines if "panda" in line] == [["1", "2.2766"], ["2", "0.8549"]]
    assert "The giant panda eats bamboo." in shown
    assert "█" * 10 in shown
    assert "eats bamboo eats bamb" in shown
    assert "…" in shown
    assert "3 of 3 documents, lexical" in shown


def test_completion_is_a_script_for_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """`resift completion SHELL` writes what that shell evaluates, and it asks resift for words."""
    for shell in ("bash", "zsh", "fish"):
        assert start(["completion", shell]) == 0
        assert f"_RESIFT_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_a_shell_is_told_commands_and_words() -> None:
    """Completing gives commands, options and the words that an option takes, without running anything."""

    def complete(*words: str) -> list[str]:
        env = {"_RESIFT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        return [line.partition(",")[2] for line in run(env=env).stdout.splitlines()]

    assert complete("resift", "ra") == ["rank"]
    assert "--top-n" in complete("resift", "rank", "--to")
    assert complete("resift", "rank", "x", "--backend", "to") == ["torch"]


def _started(*arguments: str) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "resift", *arguments], **pipes)  # type: ignore[call-overload,no-any-return]


def _fed(stdin: IO[bytes] | None, text: str, *, close: bool = True) -> None:
    assert stdin is not None
    stdin.write(text.encode())
    stdin.flush()
    if close:
        stdin.close()


def on_a_terminal(arguments: Sequence[str], stdin: str, env: Mapping[str, str]) -> bytes:
    """Run `resift` with stdout and stderr on a terminal, and return what appears there."""
    import pty

    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-m", "resift", *arguments],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        env={**clean, "TERM": "xterm-256color", "COLUMNS": "100", **env},
    )
    os.close(theirs)
    _fed(process.stdin, stdin)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # the terminal is gone, and with it the process
    finally:
        os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    return shown
