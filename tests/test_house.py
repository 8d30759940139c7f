"""The rules of the house: what the door shows, what an import costs, how large anything may grow."""

import ast
import inspect
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import resift
from programs import printed

SOURCE = Path(resift.__file__).parent
TESTS = Path(__file__).parent
INTEGRATIONS = TESTS.parent / "integrations"
HEAVY = (
    *("torch", "transformers", "onnxruntime", "openvino", "sentence_transformers", "huggingface_hub"),
    *("fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client", "httpx", "httpx2", "click", "rich.console"),
)
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class File:
    """One source file, read once."""

    path: Path
    text: str
    tree: ast.Module

    def place(self, node: Function | ast.ClassDef | ast.Call) -> str:
        """Say where `node` stands, as an editor understands it."""
        return f"{self.path}:{node.lineno}"

    def functions(self) -> Iterator[Function]:
        """Yield every function, method and inner function."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def _read(path: Path) -> File:
    text = path.read_text(encoding="utf-8")
    return File(path, text, ast.parse(text))


FILES = [_read(path) for path in sorted((*SOURCE.rglob("*.py"), *INTEGRATIONS.glob("*/src/**/*.py")))]
TESTED = sorted((*TESTS.rglob("test_*.py"), *INTEGRATIONS.glob("*/tests/**/test_*.py")))


def _length(function: Function) -> int:
    """Count the lines of a function from `def` on, less its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return lines
    assert first.end_lineno is not None
    return lines - (first.end_lineno - first.lineno + 1)


def _positional(function: Function) -> int:
    """Count the arguments that a caller may pass by position, less `self` or `cls`."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    # Attention has three inputs that everybody passes in this order; they count as one.
    triple = {"query", "key", "value"} <= set(names)
    return len(names) - (names[:1] in (["self"], ["cls"])) - 2 * triple


def _is_overload(function: Function) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == "overload" for decorator in function.decorator_list)


def _public(scope: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Yield the public classes and functions of a module or class, and those inside its classes."""
    for node in scope.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, Function) and _is_overload(node):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


# the door


def test_the_door_lists_what_it_shows() -> None:
    """`__all__` is sorted and names every public thing in `resift`, no more and no less."""
    shown = sorted(
        name for name in dir(resift) if not name.startswith("_") and not isinstance(getattr(resift, name), ModuleType)
    )
    listed = [name for name in resift.__all__ if not name.startswith("_")]

    assert listed == shown


def test_the_package_is_typed() -> None:
    """Type checkers of other projects read resift's annotations."""
    assert (SOURCE / "py.typed").is_file()


def test_importing_is_light() -> None:
    """`import resift` loads no library for models, for HTTP, or for terminals."""
    program = f"import sys, resift; print([name for name in {HEAVY!r} if name in sys.modules])"

    assert printed(program) == "[]"


BARE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the network was touched: {{event}} {{arguments}}")

sys.meta_path.insert(0, Absent())
sys.addaudithook(refuse)
"""


def test_the_door_opens_without_any_extra() -> None:
    """`from resift import *` works where no extra is installed and no network is near."""
    printed(BARE + "from resift import *")


def test_the_built_in_scorer_needs_no_extra() -> None:
    """`load()` ranks where no extra is installed and no network is near."""
    program = """
import resift
with resift.load() as ranker:
    hits = ranker.rank("what does a panda eat?", ["Paris is in France.", "A panda will eat bamboo all day."])
print([hit.index for hit in hits])
"""

    assert printed(BARE + program) == "[1, 0]"


# sizes and names


def _agree(offenders: Iterable[str]) -> None:
    """Fail with the whole list, so that one run shows all there is to do."""
    listed = list(offenders)
    assert not listed, "\n".join(listed)


def test_files_are_small() -> None:
    """A file has at most 400 lines."""
    _agree(str(file.path) for file in FILES if len(file.text.splitlines()) > 400)


def test_files_have_telling_names() -> None:
    """A file or folder is named after its duty."""
    _agree(str(file.path) for file in FILES if VAGUE & {file.path.stem, file.path.parent.name})


def test_functions_fit_a_screen() -> None:
    """A function has at most 60 lines, docstring aside."""
    _agree(file.place(function) for file in FILES for function in file.functions() if _length(function) > 60)


def test_functions_are_short_as_a_rule() -> None:
    """Half of all functions have at most 10 lines, nine of ten at most 25."""
    lengths = [_length(function) for file in FILES for function in file.functions() if not _is_overload(function)]

    assert statistics.median(lengths) <= 10
    assert statistics.quantiles(lengths, n=10)[-1] <= 25


def test_calls_read_aloud() -> None:
    """A function takes at most 3 arguments by position; the others are named at the call."""
    _agree(file.place(function) for file in FILES for function in file.functions() if _positional(function) > 3)


def test_everything_public_is_explained() -> None:
    """A file, and every public class and function in it, says what it is for."""
    _agree(str(file.path) for file in FILES if not ast.get_docstring(file.tree))
    _agree(file.place(node) for file in FILES for node in _public(file.tree) if not ast.get_docstring(node))


def test_the_library_never_prints() -> None:
    """What the library has to say it logs, returns or raises."""
    calls = ((file, node) for file in FILES for node in ast.walk(file.tree) if isinstance(node, ast.Call))

    _agree(file.place(call) for file, call in calls if ast.unparse(call.func) == "print")


def test_nothing_is_left_for_later() -> None:
    """A limit is written down as a NOTE that explains it, not as a task for somebody."""
    _agree(str(file.path) for file in FILES if re.search(r"\b(?:TODO|FIXME|XXX|HACK)\b", file.text))


def test_every_test_makes_a_promise() -> None:
    """A test says in one sentence what may be relied on."""
    tests = ((file, test) for file in map(_read, TESTED) for test in file.functions())

    _agree(file.place(test) for file, test in tests if test.name.startswith("test_") and not ast.get_docstring(test))


# the rules' own measures


def _function(source: str) -> Function:
    node = ast.parse(inspect.cleandoc(source)).body[0]
    assert isinstance(node, Function)
    return node


def test_a_docstring_does_not_count_as_length() -> None:
    """Explaining a function never makes it too long."""
    bare = _function("""
        def rank():
            return 1
    """)
    explained = _function('''
        def rank():
            """
            Return one.

            Always.
            """
            return 1
    ''')

    assert _length(bare) == _length(explained) == 2


def test_self_and_keywords_do_not_count_as_positional() -> None:
    """Only what a caller may pass without a name is counted."""
    assert _positional(_function("def rank(self, query, documents, *, top_n, threshold): ...")) == 2
    assert _positional(_function("def rank(query, documents, /, instruction): ...")) == 3
    assert _positional(_function("def attend(module, query, key, value, mask): ...")) == 3


def test_private_things_owe_no_docstring() -> None:
    """Public means public all the way: not private, not magic, not inside something private."""
    tree = ast.parse(
        "class A:\n def b(self): ...\n def _c(self): ...\n def __d__(self): ...\nclass _E:\n def f(self): ..."
    )

    assert [node.name for node in _public(tree)] == ["A", "b"]
