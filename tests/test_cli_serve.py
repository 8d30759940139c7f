"""`resift serve` on the command line: what it takes, what it says, and with which status it ends."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import resift
import tiny
from living import asking, get, port_of, post, serve, serve_here
from resift.cli.commands import start
from resift.cli.serve import serve as command
from resift.errors import ModelNotFound
from resift.server.served import open_served
from serving import scripted

KEY = "sk-Panda-5f2b"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide what the environment of the tests sets, and undo what a command sets for its process."""
    for parameter in command.params:
        if isinstance(parameter.envvar, str):
            monkeypatch.delenv(parameter.envvar, raising=False)
    loggers = [logging.getLogger(name) for name in ("resift", "uvicorn")]
    before = [(each, each.level, list(each.handlers)) for each in loggers]
    yield
    for each, level, handlers in before:
        each.setLevel(level)
        each.handlers[:] = handlers


def _arguments(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, list[Any]]:
    """Return the settings that a server would run with, and what it would serve, without running it."""
    caught: list[Any] = []

    def run(load: Any, settings: Any, *, announce: Any) -> None:
        caught.extend([settings, load()])

    monkeypatch.setattr("resift.server.running.run", run)
    monkeypatch.setattr("resift.cli.serve._log_to_stderr", lambda level: None)
    assert start(["serve", *arguments]) == 0
    settings, models = caught
    for model in models:
        for ranker in model.rankers.values():
            ranker.close()
    return settings, models


def test_without_arguments_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`resift` alone shows what it can do, and that is no error."""
    assert start([]) == 0
    assert "serve" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`resift --version` names the version and ends with 0."""
    assert start(["--version"]) == 0
    assert re.fullmatch(r"resift, version \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_shows_every_option_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the help knows every option, its environment variable and examples of use."""
    assert start(["serve", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())

    for parameter in command.params:
        if parameter.name in ("help", "debug"):
            continue
        assert isinstance(parameter.envvar, str)
        assert parameter.envvar.startswith("RESIFT_SERVE_")
        assert f"env var: {parameter.envvar}" in words
        assert parameter.param_type_name == "argument" or parameter.opts[0] in words
    assert "resift serve lexical" in words


def test_help_shows_no_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment is not printed by the help."""
    monkeypatch.setenv("RESIFT_SERVE_API_KEY", KEY)
    monkeypatch.setenv("RESIFT_SERVE_UPSTREAM_API_KEY", KEY)

    assert start(["serve", "--help"]) == 0
    assert KEY not in capsys.readouterr().out


def test_what_is_not_said_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults are those of the settings, on loopback."""
    settings, models = _arguments(monkeypatch, "lexical")

    assert settings == type(settings)()
    assert [(model.name, model.default, set(model.rankers)) for model in models] == [
        ("lexical", "normalized", {"own", "normalized", "raw"})
    ]


def test_every_limit_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given on the command line is what the server gets."""
    given = {
        "host": "0.0.0.0",  # noqa: S104 - only a setting
        "port": 9000,
        "max_documents": 7,
        "max_body_bytes": 8,
        "max_bytes_at_once": 9,
        "max_requests": 10,
        "timeout_s": 1.5,
        "body_timeout_s": 2.5,
        "drain_s": 3.5,
    }
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    settings, _ = _arguments(monkeypatch, "lexical", *words, "--public", "--open-metrics", "--accept-any-model")

    assert {name: getattr(settings, name) for name in given} == given
    assert (settings.public, settings.open_metrics, settings.accept_any_model) == (True, True, True)


def test_the_environment_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option can come from its variable; several values stand between commas; the command line wins."""
    for name, value in {
        "MODEL": "lexical",
        "API_KEY": f"{KEY}, sk-2",
        "SERVED_NAME": "words",
        "PORT": "9000",
        "PUBLIC": "1",
        "TIMEOUT_S": "7",
    }.items():
        monkeypatch.setenv(f"RESIFT_SERVE_{name}", value)
    settings, models = _arguments(monkeypatch, "--timeout-s", "8")

    assert settings.api_keys == (KEY, "sk-2")
    assert (settings.port, settings.public, settings.timeout_s) == (9000, True, 8.0)
    assert [model.name for model in models] == ["words"]


@pytest.mark.parametrize(
    ("decided", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_fall_asleep_soon(
    monkeypatch: pytest.MonkeyPatch, decided: dict[str, str], spins: str | None
) -> None:
    """A server's threads do not spin for long where they wait for each other, unless the environment decides."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_WAIT_"))}
    monkeypatch.setattr("os.environ", others | decided)
    _arguments(monkeypatch, "lexical")

    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_models_are_named_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names go to the models from the first on; a hub id is its own name, and a directory's is its last part."""
    directory = tiny.build("bert-cross", tmp_path / "mine")

    assert [model.name for model in _arguments(monkeypatch, "lexical", str(directory))[1]] == ["lexical", "mine"]
    _, named = _arguments(monkeypatch, "lexical", str(directory), "--served-name", "words")
    assert [model.name for model in named] == ["words", "mine"]
    _, both = _arguments(
        monkeypatch, "lexical", str(directory), "--served-name", "a", "--served-name", "b", "--max-length", "32"
    )
    assert [model.name for model in both] == ["a", "b"]


def test_long_documents_are_read_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What becomes of long documents is an option of the server, and means every model that it serves."""
    directory = tiny.build("bert-cross", tmp_path / "mine")
    given: list[Any] = []
    load = resift.api.open

    def seeing(*arguments: Any, **options: Any) -> Any:
        given.append(options.get("long_documents"))
        return load(*arguments, **options)

    monkeypatch.setattr(resift.api, "open", seeing)
    _arguments(monkeypatch, str(directory), "--long-documents", "window")

    assert set(given) == {"window"}
    assert start(["serve", str(directory), "--long-documents", "windows"]) == 2


def test_kinds_of_scores_share_one_model(tmp_path: Path) -> None:
    """The rankers for scores as they are, in [0, 1] and raw hold one loaded model, and each gives its own kind."""
    directory = tiny.build("bert-cross", tmp_path)
    model = open_served("mine", lambda normalize: resift.open(directory, normalize=normalize))
    texts = ["a panda eats bamboo", "a fox eats mice"]
    raw, normalized = (model.rankers[kind].score("pandas", texts) for kind in ("raw", "normalized"))
    try:
        assert len({id(ranker._hold._loaded) for ranker in model.rankers.values()}) == 1  # type: ignore[attr-defined]  # noqa: SLF001
        assert all(0 <= score <= 1 for score in normalized)
        assert raw != normalized
    finally:
        for ranker in model.rankers.values():
            ranker.close()


def test_scores_without_bounds_are_served_as_they_are() -> None:
    """Where a model has no scores in [0, 1], the default is its own kind."""

    def opened(normalize: bool | None) -> Any:  # noqa: FBT001 - as `open_served` calls it
        if normalize:
            raise resift.InvalidInput("unbounded")
        return scripted()

    model = open_served("mine", opened)

    assert (model.default, set(model.rankers)) == ("own", {"own", "raw"})


def test_rankers_that_were_opened_in_vain_are_closed() -> None:
    """When one of a model's rankers cannot be opened, those before it are closed."""
    first = scripted()

    def opened(normalize: bool | None) -> Any:  # noqa: FBT001 - as `open_served` calls it
        if normalize is None:
            return first
        raise ModelNotFound("gone")

    with pytest.raises(ModelNotFound):
        open_served("mine", opened)
    assert first.closed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to serve"),
        (("lexical", "--port", "70000"), "port must be"),
        (("lexical", "--port", "many"), "many"),
        (("lexical", "--max-documents", "0"), "max_documents"),
        (("lexical", "--timeout-s", "-1"), "timeout_s"),
        (("lexical", "--timeout-s", "nan"), "timeout_s"),
        (("lexical", "--scores", "best"), "best"),
        (("lexical", "--host", "0.0.0.0"), "--public"),  # noqa: S104 - to be refused
        (("lexical", "lexical"), "two models would be called 'lexical'"),
        (("lexical", "--served-name", "a", "--served-name", "b"), "2 names for 1 models"),
        (("lexical", "other", "--revision", "main"), "--revision speaks of one model, and there are 2"),
        (("lexical", "--api-key", "with blank"), "API key 1"),
        (("lexical", "--nothing"), "--nothing"),
        (("lexical", "--dtype", "float7"), "float7"),
        (("lexical", "--backend", "tflite"), "tflite"),
        (("--upstream", "ftp://127.0.0.1"), "ftp"),
        (("--upstream", "http://127.0.0.1", "--upstream-dialect", "klingon"), "klingon"),
    ],
)
def test_bad_input_is_one_error_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    """What cannot mean anything ends at once with one error that says what is wrong."""
    assert start(["serve", *arguments, *(() if "--port" in arguments else ("--port", "0"))]) == 2

    told = capsys.readouterr().err
    assert told.count("Error: ") == told.count("  why: ") == 1
    assert says in told.partition("Error: ")[2]


def test_a_refused_key_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """An error about a key does not print the key."""
    assert start(["serve", "lexical", "--api-key", f"{KEY} {KEY}"]) == 2
    assert KEY not in capsys.readouterr().err


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that another process has is said plainly."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert start(["serve", "lexical", "--port", str(port)]) == 2
    assert f"port {port}: " in capsys.readouterr().err


def test_trouble_with_a_model_is_status_1() -> None:
    """A model that is not there ends the process with 1 and three lines, not with a trace."""
    with serve("nobody/nothing-here", "--local-files-only") as process:
        assert process.wait() == 1
    what, why, remedy = process.lines[-3:]
    assert what == "Error: the model is not there\n"
    assert "nobody/nothing-here" in why
    assert remedy.startswith("  try: ")
    assert "Traceback" not in process.log


@pytest.mark.parametrize("absent", ["fastapi", "uvicorn", "prometheus_client", "click"])
def test_a_missing_package_is_named(absent: str) -> None:
    """Without the server's packages, or those of the command line itself, the message says what to install."""
    program = f"""
import sys
sys.modules[{absent!r}] = None
from resift.cli import main
sys.argv = ["resift", "serve", "lexical", "--port", "0"]
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert absent in ended.stderr
    assert re.search(r"pip install (\"resift\[serve\]\"|resift)\n$", ended.stderr)
    assert ended.stderr.count("\n") <= 3


def test_the_start_says_what_is_served_and_where() -> None:
    """Address with the port really taken, models, and whether a key is needed; no key is shown."""
    with serve("lexical", "--served-name", "words") as process:
        process.await_ready()
        assert f"resift serves words on http://127.0.0.1:{process.port} (no key is needed)\n" in process.lines
        assert "WARNING" not in process.log
    with serve("lexical", "--host", "192.0.2.1", "--public") as process:  # nobody's address, kept for examples
        assert process.wait() == 2
        assert "WARNING there is no key" in process.log
    with serve("lexical", env={"RESIFT_SERVE_API_KEY": KEY}) as process:
        process.await_ready()
        post(process.port, "/v1/rerank", asking(), f"Authorization: Bearer {KEY}")
        post(process.port, "/v1/rerank", asking(), "Authorization: Bearer wrong-key")
        assert process.end(signal.SIGTERM)[0] == 0
    assert "(a key is needed)" in process.log
    assert "WARNING" not in process.log
    assert KEY not in process.log
    assert "wrong-key" not in process.log


def test_the_process_logs_one_line_for_each_request() -> None:
    """A running server's log has a line with route, status, time, documents and id, and no word of a text."""
    with serve("lexical") as process:
        process.await_ready()
        post(process.port, "/v1/rerank?query=whisper", asking("PANDA", 4), "X-Request-Id: mine")
        process.await_log("id=mine")
        assert process.end(signal.SIGTERM)[0] == 0

    assert re.search(r" INFO POST /v1/rerank 200 \d+\.\d ms 4 documents id=mine\n", process.log)
    assert not re.search("panda|bamboo|whisper", process.log, re.IGNORECASE)


def test_offers_of_other_protocols_are_no_news() -> None:
    """A client that offers HTTP/2 with each request, as Java's does, is answered without advice in the log."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA")
    with serve("lexical", "--log-level", "warning") as process:
        assert post(process.await_ready().port, "/v1/rerank", asking(), *offer)[0] == 200
        assert process.end(signal.SIGTERM)[0] == 0

    assert "upgrade" not in process.log.lower()
    assert "pip install" not in process.log


def test_a_quiet_log_still_says_where() -> None:
    """With `--log-level error` there is only the line that says where the server is."""
    with serve("lexical", "--log-level", "error") as process:
        post(process.await_ready().port, "/v1/rerank", asking())
        assert process.end(signal.SIGTERM)[0] == 0

    assert len(process.lines) == 1
    assert process.lines[0].startswith("resift serves lexical on http://127.0.0.1:")


def test_an_ipv6_address_is_written_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 host stands in brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serve("lexical", "--host", "::1") as process:
        assert re.search(r"on http://\[::1\]:\d+ ", process.log) or process.port


def test_several_models_are_served_at_once(tmp_path: Path) -> None:
    """Each is found by its name; the first answers where none is named."""
    directory = tiny.build("bert-cross", tmp_path / "mine")
    with serve("lexical", str(directory), "--device", "cpu") as process:
        process.await_ready()
        listed = [model["id"] for model in json.loads(get(process.port, "/v1/models")[2])["data"]]
        answers = [
            json.loads(post(process.port, "/v1/rerank", {**asking(), "model": name})[2])["model"]
            for name in (None, "lexical", "mine")
        ]

    assert listed == ["lexical", "mine"]
    assert answers == ["lexical", "lexical", "mine"]


def test_another_endpoint_can_be_served() -> None:
    """With `--upstream` an endpoint stands behind the server: same ranking, its key sent, none asked for here."""
    words = open_served("words", lambda normalize: resift.open("lexical", normalize=normalize))
    with serve_here(words, api_keys=(KEY,)) as behind:
        arguments = ["--upstream", behind.url, "--upstream-model", "words", "--upstream-dialect", "resift"]
        with serve(*arguments, env={"RESIFT_SERVE_UPSTREAM_API_KEY": KEY}) as process:
            process.await_ready()
            here = json.loads(post(process.port, "/v1/rerank", asking(documents=5))[2])
            direct = json.loads(
                post(port_of(behind), "/v1/rerank", asking(documents=5), f"Authorization: Bearer {KEY}")[2]
            )
            listed = [model["id"] for model in json.loads(get(process.port, "/v1/models")[2])["data"]]

    assert listed == ["words"]
    assert here["results"] == direct["results"]
    assert KEY not in process.log


def test_an_endpoint_that_is_gone_is_503() -> None:
    """When nothing answers behind the server, its own clients are told to try again later."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with serve("--upstream", f"http://127.0.0.1:{port}", "--timeout-s", "20") as process:
        process.await_ready()
        status, headers, body = post(process.port, "/v1/rerank", asking())

    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert str(port) not in body.decode()
