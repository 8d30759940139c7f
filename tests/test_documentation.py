"""
The documentation is true: its examples run and print what it says, and what it names exists.

In Markdown, the `python` and `pycon` blocks of one file share their names, from top to bottom. A `text` block right
after a `python` block is what that block prints, with `...` for what may differ. A block that cannot run here says so
above itself, `<!-- not run: needs a key of yours -->`, and then need only be valid Python. Where an example names a
model of the hub, a tiny one with random weights answers to that name; where it connects to `http://localhost:8000`, a
server with the built-in scorer answers.
"""

import ast
import asyncio
import builtins
import doctest
import importlib
import inspect
import itertools
import re
import runpy
import shlex
import sys
import textwrap
import tomllib
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest

import resift
from resift.remote.dialects import DIALECTS
from resift.remote.endpoint import Endpoint
from resift.remote.ranker import RemoteRanker
from resift.server.served import open_served

ROOT = Path(__file__).parent.parent
PAGES = [
    page
    for page in (
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("integrations/*/README.md")),
    )
    if page.exists()
]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("integrations/*/pyproject.toml"))]
SCRIPTS = sorted(ROOT.glob("examples/*.py"))
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("integrations/*/src/**/*.py")])
SOURCES_WITH_EXAMPLES = [path for path in SOURCES if ">>> " in path.read_text(encoding="utf-8")]

# Which kind of tiny model answers to the name of a real one.
STAND_INS = {
    "BAAI/bge-large-en-v1.5": "bert-embedding",
    "BAAI/bge-reranker-base": "xlmr-cross",
    "BAAI/bge-reranker-large": "xlmr-cross",
    "BAAI/bge-reranker-v2-gemma": "gemma",
    "BAAI/bge-reranker-v2-m3": "xlmr-cross",
    "Qwen/Qwen3-Reranker-0.6B": "qwen3",
    "Xenova/bge-reranker-base": "xlmr-cross",
    "cross-encoder/ms-marco-MiniLM-L6-v2": "bert-cross",
    "mixedbread-ai/mxbai-rerank-base-v1": "deberta-cross",
    "mixedbread-ai/mxbai-rerank-base-v2": "qwen2",
    "mixedbread-ai/mxbai-rerank-large-v2": "qwen2",
}

ENDPOINT = "http://localhost:8000"

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)[^`]*$")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S.*?) -->")
_CHECKER = doctest.OutputChecker()


@dataclass(frozen=True)
class Block:
    """One fenced block of a Markdown text."""

    language: str
    code: str
    line: int
    """The line of the file that `code` begins on, from 1."""

    above: str
    """The last line before the block that is not blank."""

    follows: "Block | None"
    """The block before this one, where nothing but blank lines lies between them."""


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the fenced blocks of a text in order."""
    lines = markdown.splitlines()
    above, last, place = "", None, 0
    while place < len(lines):
        opening = _FENCE.match(lines[place])
        if opening is None:
            above, last = (lines[place], None) if lines[place].strip() else (above, last)
            place += 1
            continue
        closing = opening["indent"] + opening["ticks"]
        end = next((end for end in range(place + 1, len(lines)) if lines[end].rstrip() == closing), None)
        assert end is not None, f"the block that line {place + 1} opens is never closed"
        code = textwrap.dedent("\n".join(lines[place + 1 : end])) + "\n"
        last = Block(opening["language"], code, line=place + 2, above=above, follows=last)
        yield last
        above, place = "", end + 1


def run_page(markdown: str, name: str) -> None:
    """Run the examples of a Markdown text; raise what they raise, and AssertionError where they print otherwise."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed: dict[Block, str] = {}
    for block in blocks(markdown):
        if block.language == "python" and _NOT_RUN.search(block.above):
            _compile(block.code, name, block.line)
        elif block.language == "python":
            printed[block] = run_code(block.code, namespace, name=name, line=block.line)
        elif block.language == "pycon":
            run_session(block.code, namespace, name=name, line=block.line)
        elif block.language == "text" and block.follows in printed:
            _compare(block, printed[block.follows], name)


def _compile(code: str, name: str, line: int) -> types.CodeType:
    # The blank lines make tracebacks point into the page.
    program: types.CodeType = compile(
        "\n" * (line - 1) + code, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    return program


def run_code(code: str, namespace: dict[str, Any], *, name: str, line: int = 1) -> str:
    """Run a piece of Python, which may `await` at its top level, and return what it prints."""
    namespace.setdefault("__builtins__", builtins)  # as every module has them
    program = types.FunctionType(_compile(code, name, line), namespace)
    with redirect_stdout(StringIO()) as printed:
        result = program()
        if inspect.iscoroutine(result):
            asyncio.run(result)
    return printed.getvalue()


def run_session(code: str, namespace: dict[str, Any], *, name: str, line: int) -> None:
    """Run a session that is written as at the interpreter's prompt."""
    test = doctest.DocTestParser().get_doctest(code, {}, name, name, line - 1)
    assert test.examples, f"{name}:{line}: a session without a single >>>"
    test.globs = namespace
    _check_session(test)


def _check_session(test: doctest.DocTest) -> None:
    report = StringIO()
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.write, clear_globs=False)
    assert not report.getvalue(), report.getvalue()


def _compare(expected: Block, printed: str, name: str) -> None:
    got = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    difference = _CHECKER.output_difference(doctest.Example("", expected.code), got, doctest.ELLIPSIS)
    assert _CHECKER.check_output(expected.code, got, doctest.ELLIPSIS), f"{name}:{expected.line}\n{difference}"


def commands(markdown: str) -> list[str]:
    """Return every shell command of a text, from its shell blocks and from code in its sentences."""
    lines = [
        line
        for block in blocks(markdown)
        if block.language in ("sh", "bash", "console")
        for line in block.code.splitlines()
    ]
    return [re.sub(r"(?:^\$ |#.*$)", "", line).strip() for line in lines] + re.findall(
        r"(?<!`)`(make [^`\n]+)`(?!`)", markdown
    )


def goals(command: str) -> list[str]:
    """Return what a shell command asks `make` for."""
    words = [shlex.split(asked) for asked in re.findall(r"\bmake ([^;&|]+)", command)]
    return [word for word in itertools.chain(*words) if "=" not in word and not word.startswith("-")]


def _label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, as somebody who just arrived."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the hub unreachable and its cache empty; `cache_stand_ins` fills it."""
    from huggingface_hub import constants

    cache = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@contextmanager
def endpoint_stand_in(text: str) -> Iterator[None]:
    """Let a server with the built-in scorer answer for `ENDPOINT` where `text` connects to it."""
    if ENDPOINT not in text:
        yield
        return
    from serving import serving

    connect = RemoteRanker.__init__
    with serving(open_served("lexical", lambda normalize: resift.load(normalize=normalize))) as server:

        def stand_in(ranker: RemoteRanker, endpoint: Endpoint, **options: Any) -> None:
            connect(ranker, replace(endpoint, base_url=endpoint.base_url.replace(ENDPOINT, server.url)), **options)

        with patch.object(RemoteRanker, "__init__", stand_in):
            yield


def cache_stand_ins(cache: Path, text: str) -> None:
    """Put a tiny model into the hub's cache for each real one that `text` names."""
    for model in (model for model in STAND_INS if model in text):
        from tiny import build

        folder, commit = cache / f"models--{model.replace('/', '--')}", "0" * 40
        build(STAND_INS[model], folder / "snapshots" / commit)
        if model.startswith("Xenova/"):  # who publishes graphs alone
            from exported import export  # here, because not everybody who imports this file has onnx

            export(folder / "snapshots" / commit)
            (folder / "snapshots" / commit / "model.safetensors").unlink()
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("page", PAGES, ids=_label)
class TestPage:
    """Each page."""

    def test_has_examples_that_run(self, page: Path, hub: Path, workplace: Path) -> None:
        """Every example runs, and prints what the page says."""
        text = page.read_text(encoding="utf-8")
        cache_stand_ins(hub, text)

        with endpoint_stand_in(text):
            run_page(text, str(page))

    def test_names_goals_that_exist(self, page: Path) -> None:
        """Every `make ...` can be typed."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
        asked = {goal for command in commands(page.read_text(encoding="utf-8")) for goal in goals(command)}

        assert asked - known == set()

    def test_links_to_files_that_exist(self, page: Path) -> None:
        """Every link inside the project leads somewhere."""
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        inside = [target for target in targets if ":" not in target]

        assert [target for target in inside if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("path", SOURCES_WITH_EXAMPLES, ids=_label)
def test_docstrings_have_examples_that_run(path: Path, hub: Path, workplace: Path) -> None:
    """Every example in a docstring runs, and prints what it says."""
    cache_stand_ins(hub, path.read_text(encoding="utf-8"))
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[parts.index("src") + 1 :]).removesuffix(".__init__")

    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]

    assert tests
    for test in tests:
        _check_session(test)


@pytest.mark.parametrize("path", SCRIPTS, ids=_label)
def test_scripts_run(path: Path, hub: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every script in examples/ runs without arguments and has something to say."""
    text = path.read_text(encoding="utf-8")
    cache_stand_ins(hub, text)
    monkeypatch.setattr(sys, "argv", [str(path)])

    assert run_code(text, {"__name__": "__main__", "__file__": str(path)}, name=str(path)).strip()


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=_label)
def test_extras_exist(path: Path) -> None:
    """Every extra that a page or an error message tells to install can be installed."""
    projects = [tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in PROJECTS]
    known = {project["name"]: project["optional-dependencies"].keys() for project in projects}
    named = [
        (project, extra)
        for project, names in re.findall(r"([a-z-]*resift[a-z-]*)\[([a-z, -]+)\]", path.read_text(encoding="utf-8"))
        for extra in re.split(", *", names)
    ]

    assert [(project, extra) for project, extra in named if extra not in known.get(project, ())] == []


def test_the_demo_shows_that_all_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """`make demo` shows every framework beside plain Python, here and through an endpoint, with the same ranking."""
    demo = runpy.run_path(str(ROOT / "examples" / "demo.py"))
    demo["main"]()

    shown = " ".join(capsys.readouterr().out.split())
    assert "the same order and scores everywhere" in shown
    assert [way for way in demo["WAYS"] if f"│ {way} │" not in shown] == []


# the page about endpoints


def rows(markdown: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose head begins with `heading`, without their marks of code."""
    table = itertools.takewhile(
        lambda line: line.startswith("|"),
        itertools.dropwhile(lambda line: not line.startswith(f"| {heading} |"), markdown.splitlines()),
    )
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in list(table)[2:]]


ENDPOINTS = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")


def test_the_table_of_dialects_is_that_of_the_code() -> None:
    """Each dialect has its row, with the routes, members, scale and limits that it really has."""
    told = {name: rest for name, _, *rest in rows(ENDPOINTS, "dialect")}

    assert told.keys() == DIALECTS.keys()
    for name, (routes, members, scale, limits, instruction) in told.items():
        dialect = DIALECTS[name]
        most = "all" if dialect.max_documents is None else str(dialect.max_documents)
        heaviest = "" if dialect.max_bytes is None else f", {round(dialect.max_bytes / 1e6)} MB"
        known = {"unknown": "not known"}.get(dialect.scale, dialect.scale)
        assert routes == ", ".join(dialect.routes)
        assert members == f"{dialect.shape.documents}, {dialect.shape.results or 'a bare list'}"
        assert scale == ("as asked" if any(asked is None for asked, _ in dialect.knob) else known)
        assert limits == most + heaviest
        assert instruction == ("yes" if dialect.takes_instruction else "no")


def test_the_table_of_options_is_that_of_connect() -> None:
    """Each option of `connect` has its row, with its default."""
    options = inspect.signature(resift.connect).parameters
    told = {
        option: default
        for names, defaults, _ in rows(ENDPOINTS, "option")
        for option, default in zip(names.split(", "), itertools.cycle(defaults.split(", ")), strict=False)
    }

    assert told.keys() == options.keys() - {"base_url"}
    for option, default in told.items():
        value = options[option].default
        assert value is None or default in (f"{value:g}" if isinstance(value, float) else str(value), f'"{value}"')


def test_the_first_steps_of_serving_work(tmp_path: Path) -> None:
    """What the page says to type after `resift serve` is answered as it says."""
    request = re.search(r"curl http://127\.0\.0\.1:8000(\S+) .*? -d '(.*?)'\}?\n", ENDPOINTS, re.DOTALL)
    assert request is not None
    from serving import serving

    with serving(open_served("lexical", lambda normalize: resift.load(normalize=normalize))) as server:
        reply = httpx2.post(server.url + request[1], content=request[2])

    assert [result["index"] for result in reply.json()["results"]] == [1, 0]


# the machinery keeps its own promises


def page(text: str) -> str:
    """Return a Markdown text that is written here with ''' for ```."""
    return inspect.cleandoc(text).replace("'''", "```")


def test_a_page_prints_what_it_says() -> None:
    """Blocks share their names, and the text block after one is what it prints."""
    run_page(
        page("""
            '''python
            number = 6
            '''

            Some words.

            '''python
            print(number * 7)
            print("at", object())
            '''
            '''text
            42
            at <object ...>
            '''
        """),
        "page.md",
    )


def test_a_page_that_prints_otherwise_is_wrong() -> None:
    """A wrong output is reported with its place and both texts."""
    wrong = page("""
        '''python
        print(6 * 7)
        '''

        '''text
        41
        '''
    """)

    with pytest.raises(AssertionError, match=r"page\.md:6\n(.|\n)*41(.|\n)*42"):
        run_page(wrong, "page.md")


def test_a_text_block_further_down_is_no_output() -> None:
    """Only the block right after an example is compared."""
    run_page("```python\nprint(1)\n```\nThen:\n```text\n2\n```\n", "page.md")


def test_an_example_that_fails_points_into_the_page() -> None:
    """The traceback of a broken example names the page's own line."""
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("# Title\n\n```python\none = 1\none / 0\n```\n", "page.md")

    assert (caught.traceback[-1].path, caught.traceback[-1].lineno + 1) == ("page.md", 5)


def test_an_example_may_await() -> None:
    """Asynchronous examples are written as at an asynchronous prompt."""
    code = "import asyncio\nawait asyncio.sleep(0)\nprint('awake')\n"

    assert run_code(code, {}, name="page.md") == "awake\n"


def test_a_block_that_is_not_run_gives_its_reason() -> None:
    """A block is left out by a reason, and even then it is valid Python."""
    run_page("<!-- not run: needs a moon -->\n```python\nland()\n```\n", "page.md")

    with pytest.raises(NameError):
        run_page("<!-- not run: -->\n```python\nland()\n```\n", "page.md")
    with pytest.raises(SyntaxError):
        run_page("<!-- not run: needs a moon -->\n```python\nland(\n```\n", "page.md")


def test_a_session_is_checked_too() -> None:
    """A `pycon` block shares the page's names, and its answers are compared."""
    run_page("```python\nnumber = 6\n```\n\n```pycon\n>>> number * 7\n42\n```\n", "page.md")

    with pytest.raises(AssertionError, match="Expected"):
        run_page("```pycon\n>>> 6 * 7\n41\n```\n", "page.md")
    with pytest.raises(AssertionError, match="without a single"):
        run_page("```pycon\n6 * 7\n```\n", "page.md")


def test_blocks_inside_lists_are_read() -> None:
    """An indented block is code like any other, and a fence inside a longer fence is not one."""
    found = list(blocks("- item\n\n  ```python\n  if True:\n      x = 1\n  ```\n\n````text\n```python\n````\n"))

    assert [(block.language, block.code) for block in found] == [
        ("python", "if True:\n    x = 1\n"),
        ("text", "```python\n"),
    ]


def test_a_block_that_never_ends_is_an_error() -> None:
    """A forgotten fence does not hide the rest of a page."""
    with pytest.raises(AssertionError, match="line 2 opens is never closed"):
        list(blocks("words\n```python\nx = 1\n"))


def test_goals_are_found_wherever_they_are_named() -> None:
    """Commands come from shell blocks and from sentences; variables and options are no goals."""
    text = page("""
        Say `make check` first.

        '''sh
        $ cd x && make -j2 install test ARGS="-k planning"  # or make nothing
        make demo
        '''
    """)

    assert [goal for command in commands(text) for goal in goals(command)] == ["install", "test", "demo", "check"]


def test_a_stand_in_answers_to_a_hub_name(hub: Path) -> None:
    """A tiny model in the hub's cache is found under the real one's name."""
    cache_stand_ins(hub, "load('BAAI/bge-reranker-v2-m3')")
    checkpoint = importlib.import_module("resift.checkpoint").open_checkpoint("BAAI/bge-reranker-v2-m3")

    assert checkpoint.config["architectures"] == ["XLMRobertaForSequenceClassification"]
