"""What the README's tables and the example's options promise; that their code runs, the project's own tests say."""

import inspect
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import resift
from langchain_resift import ResiftRerank
from serving import serving
from tiny import build

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLE = Path(__file__).parents[3] / "examples" / "langchain_rag.py"


def _remedies() -> Iterator[str]:
    """Yield what the right column of each table of arguments says, piece of code by piece."""
    for _, right in re.findall(r"^\| (`.+) \| (.+) \|$", README, re.MULTILINE):
        yield from re.findall(r"`([^`]+)`", right)


def test_each_argument_of_another_reranker_has_a_real_one_here() -> None:
    """The settings and options that the tables name exist."""
    said = [remedy for remedy in _remedies() if not re.search(r"^[A-Z]|/", remedy)]
    options = {name for remedy in said for name in re.findall(r'[{ ]"(\w+)":', remedy)}
    known = {*inspect.signature(resift.load).parameters, *inspect.signature(resift.connect).parameters}

    assert {re.split(r"\W", remedy)[0] for remedy in said} <= ResiftRerank.model_fields.keys()
    assert options <= known
    assert len(said) >= 15
    assert {"http_client", "device", "cache_dir", "dtype"} <= options


@pytest.fixture
def main() -> Callable[[list[str]], None]:
    """Return the example's own `main`."""
    run: Callable[[list[str]], None] = runpy.run_path(str(EXAMPLE))["main"]
    return run


def test_the_example_shows_a_better_answer(
    main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without reranking the answer is beside the point, with it the answer is right."""
    main(["What do I have to do if my laptop is stolen?"])

    shown = " ".join(capsys.readouterr().out.split())
    assert "without: A password is never shared." in shown
    assert "with: A stolen or lost laptop is reported to security at once" in shown


def test_the_example_takes_a_model(
    main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`--model` ranks with a model that runs here."""
    main(["--model", str(build("bert-cross", tmp_path / "model")), "How many holidays are there?"])

    assert "How many holidays are there?" in capsys.readouterr().out


def test_the_example_takes_an_endpoint(main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]) -> None:
    """`--base-url` ranks with a model that runs elsewhere."""
    with resift.load() as ranker, serving(ranker) as server:
        main(["--base-url", server.url, "--model", "lexical", "Whom do I tell when I am ill?"])

    assert "with: Tell your lead on the first day." in " ".join(capsys.readouterr().out.split())
