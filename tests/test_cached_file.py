"""A cache in a SQLite file: shared by processes, outliving them, and never in the way of a ranking."""

import asyncio
import multiprocessing
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import resift
from noticing import logged
from resift.compose import database
from resift.compose.cached import cached
from resift.compose.database import Database
from resift.compose.fallback import fallback
from resift.compose.wrapping import ComposedRanker
from resift.errors import InvalidInput
from resift.testing import FakeRanker
from resift.types import Ranker, Usage

SECRET = "xyzzy-plugh"
SAYS = {"identity": "p", "listwise": False}
NO_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system does not have")
FORKS_THREADS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # it is what is tried

Cache = Callable[..., ComposedRanker]


def pointwise(identity: str = "p", **given: Any) -> FakeRanker:
    return FakeRanker(says={**SAYS, "identity": identity}, **given)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.db"


@pytest.fixture
def cache(request: pytest.FixtureRequest, path: Path) -> Cache:
    """Return `cached` with a file, closed in the end."""

    def make(ranker: Ranker | None = None, **options: Any) -> ComposedRanker:
        composed = cached(ranker or pointwise(), **{"path": path, **options})
        request.addfinalizer(composed.recipe.close)
        return composed

    return make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no lock longer than a moment, and try again at once after a failure."""
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    monkeypatch.setattr(database, "REST_S", 0.0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Return the connections of caches as they are opened."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    monkeypatch.setattr("resift.compose.database.sqlite3.connect", noted)
    return connections


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep everybody from writing, as a process that hangs in the middle of it does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def stored(path: Path) -> list[tuple[Any, ...]]:
    """Return the rows of a file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT key, weight FROM entries").fetchall()


def damage(path: Path) -> None:
    """Write something else over all pages but the first."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(64 * 1024))


# what is kept


def test_scores_outlive_their_ranker(cache: Cache) -> None:
    """Another ranker with the same identity knows what the first one was told."""
    first = cache()
    ranking = first.rank("q", ["a", "b"])
    first.close()

    again = cache().rank("q", ["b", "a"])

    assert again.usage == Usage(0)
    assert {hit.document: hit.score for hit in again} == {hit.document: hit.score for hit in ranking}


def test_rankers_are_never_mixed_up(cache: Cache) -> None:
    """A ranker whose model, revision or settings differ has another identity, and knows nothing of the first one's."""
    cache(pointwise("one")).rank("q", ["a"])

    assert cache(pointwise("other")).rank("q", ["a"]).usage == Usage(1)
    assert cache(pointwise("one")).rank("q", ["a"]).usage == Usage(0)


def test_settings_of_real_rankers_are_in_their_identity(cache: Cache) -> None:
    """The same model with other scores is another ranker to the file."""
    documents = ["a panda", "a bear"]
    with resift.load() as plain, resift.load(normalize=True) as normalized:
        cache(plain).rank("panda", documents)

        assert cache(normalized).rank("panda", documents) == normalized.rank("panda", documents)
        assert cache(plain).rank("panda", documents).usage == Usage(0)


def test_a_fallback_shares_the_scores_of_its_first(cache: Cache) -> None:
    """Only the first ranker's answers are remembered, so they are known with and without the others."""
    cache(pointwise("one")).rank("q", ["a"])

    assert cache(fallback(pointwise("one"), FakeRanker("silent"))).rank("q", ["a"]).usage == Usage(0)


def test_texts_are_never_stored(cache: Cache, path: Path) -> None:
    """No query, document or instruction stands in any of the file's parts, nor what the ranker is called."""
    ranker = cache(pointwise(SECRET))
    ranker.rank(SECRET, [SECRET, {SECRET: SECRET}], instruction=SECRET)

    parts = list(path.parent.iterdir())

    assert len(stored(path)) == 2
    assert path in parts
    assert not any(SECRET.encode() in part.read_bytes() for part in parts)


def test_a_file_has_no_more_rows_than_scores_are_wanted(cache: Cache, path: Path) -> None:
    """`size` bounds the file, whoever fills it; a smaller size makes it smaller."""
    for number in range(6):
        cache(size=10).rank("q", [f"{number} {at}" for at in range(4)])
        assert len(stored(path)) <= 10
    assert len(stored(path)) == 10

    cache(size=3).rank("q", ["new"])

    assert len(stored(path)) == 3
    assert cache(size=3).rank("q", ["new"]).usage == Usage(0)


def test_closing_lets_go_of_the_file(cache: Cache, path: Path) -> None:
    """After the last one closed, one file is left, and it can be moved."""
    ranker = cache()
    ranker.rank("q", ["a"])
    ranker.close()

    assert [part.name for part in path.parent.iterdir()] == [path.name]
    assert cache(path=path.rename(path.with_name("moved.db"))).rank("q", ["a"]).usage == Usage(0)


def test_a_forgotten_cache_lets_go_of_the_file(path: Path) -> None:
    """A cache that nobody closed closes its file when it is garbage."""
    cached(pointwise(), path=path).rank("q", ["a"])

    assert [part.name for part in path.parent.iterdir()] == [path.name]


def test_a_pickled_cache_keeps_its_file(cache: Cache, path: Path) -> None:
    """A pickled cache is its ranker, its size and its path; where it is unpickled it knows what is in the file."""
    ranker = cache(size=7)
    ranker.rank("q", ["a"])

    again = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - it is what was just written

    assert repr(again) == f"cached(FakeRanker('fake'), size=7, path={str(path)!r})"
    assert again.rank("q", ["a"]).usage == Usage(0)
    again.close()


def test_a_path_is_meant_from_where_it_was_given(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, or one in the home directory, stays the same file when the process goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ranker, home = cache(path="here.db"), cache(path="~/home.db")
    monkeypatch.chdir("/")

    ranker.rank("q", ["a"])
    home.rank("q", ["a"])

    assert (tmp_path / "here.db").exists()
    assert (tmp_path / "home.db").exists()
    assert pickle.loads(pickle.dumps(ranker)).rank("q", ["a"]).usage == Usage(0)  # noqa: S301 - the same


# what is refused


def test_a_ranker_without_identity_needs_memory(path: Path) -> None:
    """What does not say what its scores depend on cannot be told from others in a file; the message says so."""
    with pytest.raises(InvalidInput, match=r"does not say what its scores depend on.*leave out path"):
        cached(FakeRanker("silent"), path=path)
    assert not path.exists()
    assert cached(FakeRanker("silent")).rank("q", ["a"]).usage == Usage(1)


@pytest.mark.parametrize("given", ["", b"x.db", 7, "a\0b", True])
def test_a_path_is_a_path(given: Any) -> None:
    """Something that names no file is refused."""
    with pytest.raises(InvalidInput, match="path must be the path of a file"):
        cached(pointwise(), path=given)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A path that is a folder, or in a folder that is not there, is refused; the message shows it."""
    with pytest.raises(InvalidInput, match="cannot be used: unable to open database file; choose a file in a folder"):
        cached(pointwise(), path=tmp_path)
    with pytest.raises(InvalidInput, match=r"there is no folder .*nowhere"):
        cached(pointwise(), path=tmp_path / "nowhere" / "scores.db")


@pytest.mark.parametrize("content", [b"not a database at all, " * 99, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes) -> None:
    """What is no SQLite file, or a damaged one, is refused and left as it is."""
    path.write_bytes(content)

    with pytest.raises(InvalidInput, match=r"no SQLite file.*choose another path, or delete a broken cache"):
        cached(pointwise(), path=path)
    assert path.read_bytes() == content


def test_another_programs_file_is_left_alone(path: Path) -> None:
    """A SQLite file of something else is refused, and not a byte of it changes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    before = path.read_bytes()

    with pytest.raises(InvalidInput, match="a SQLite file of something else; choose another path"):
        cached(pointwise(), path=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 99", "another version of resift; delete it"),
        ("PRAGMA application_id = 99", "a SQLite file of something else"),
        ("DROP TABLE entries", "cannot be used: no such table: entries"),
        ("ALTER TABLE total RENAME weight TO other", "cannot be used: no such column"),
        ("DELETE FROM total", "is damaged; delete it"),
    ],
)
def test_a_file_of_another_schema_is_refused(cache: Cache, path: Path, statement: str, message: str) -> None:
    """A file that only looks like a cache is refused, and the message says what to do."""
    cache().close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()

    with pytest.raises(InvalidInput, match=message):
        cached(pointwise(), path=path)


def test_an_empty_file_is_a_new_cache(cache: Cache, path: Path) -> None:
    """A file that was made beforehand, as mktemp does, is filled."""
    path.touch()
    cache().rank("q", ["a"])

    assert len(stored(path)) == 1


# trouble


def test_a_locked_file_is_gone_without(cache: Cache, path: Path, impatient: None) -> None:
    """While somebody holds the file, rankings are right and nothing is remembered; one warning says so."""
    ranker = cache()
    with logged() as lines, locked(path):
        for text in "ab":
            assert ranker.rank("q", [text]).usage == Usage(1)
    assert ranker.rank("q", ["a"]).usage == Usage(1)

    assert ranker.rank("q", ["a"]).usage == Usage(0)
    assert len(lines) == 1
    assert "cannot be used now (database is locked); ranking goes on without it" in lines[0]


def test_a_file_that_is_locked_from_the_start_is_gone_without(cache: Cache, path: Path, impatient: None) -> None:
    """A lock is no reason to refuse a cache, only to do without it for a while."""
    path.touch()
    with logged() as lines, locked(path):
        ranker = cache()
        assert ranker.rank("q", ["a"]).usage == Usage(1)
    assert ranker.rank("q", ["a"]).usage == Usage(1)
    assert ranker.rank("q", ["a"]).usage == Usage(0)
    assert len(lines) == 1


def test_a_file_in_trouble_rests(cache: Cache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure the file is left alone for a while, so that not every call waits for it."""
    monkeypatch.setattr(database, "WAIT_S", 0.3)
    ranker = cache()
    with logged(), locked(path):
        ranker.rank("q", ["a"])
        started = time.perf_counter()
        for _ in range(20):
            ranker.rank("q", ["a"])
        assert time.perf_counter() - started < 0.3 * 20 / 2


def test_a_full_disk_is_gone_without(cache: Cache, impatient: None, opened: list[sqlite3.Connection]) -> None:
    """Where nothing more can be written, rankings are right; what is there is still known."""
    ranker = cache()
    ranker.rank("q", ["a"])
    opened[-1].execute("PRAGMA max_page_count = 1")
    with logged() as lines:
        documents = [f"{number}" for number in range(3000)]
        assert ranker.rank("q", documents) == FakeRanker().rank("q", documents)
    assert ranker.rank("q", ["a"]).usage == Usage(0)
    assert len(lines) == 1
    assert "full" in lines[0]


def test_damage_while_in_use_is_gone_without(cache: Cache, path: Path, impatient: None) -> None:
    """A file that is damaged under way never breaks a ranking; whoever opens it anew is told."""
    documents = [f"{number}" for number in range(500)]
    ranker = cache()
    ranker.rank("q", documents)
    ranker.recipe.close()
    other = cache()
    damage(path)
    with logged() as lines:
        for _ in range(3):
            assert other.rank("q", documents) == FakeRanker().rank("q", documents)

    assert len(lines) == 1
    assert str(path) in lines[0]


def test_a_deleted_file_is_gone_without(cache: Cache, path: Path) -> None:
    """Whoever deletes the file under a running process does not break its rankings."""
    ranker = cache()
    ranker.rank("q", ["a"])
    for part in list(path.parent.iterdir()):
        part.unlink()

    assert ranker.rank("q", ["a", "b"]) == FakeRanker().rank("q", ["a", "b"])


def test_strange_rows_are_not_believed(cache: Cache, path: Path) -> None:
    """A row that is no score is as good as none."""
    ranker = cache()
    ranker.rank("q", ["a", "b", "c"])
    with closing(sqlite3.connect(path)) as connection:
        for entry in (b"", b"123", b"\0" * 24, b"\0" * 8 + b"\xff" * 8, "a text of 16 let", 7):
            connection.execute("UPDATE entries SET entry = ?", (entry,))
            connection.commit()
            assert ranker.rank("q", ["a", "b", "c"]) == FakeRanker().rank("q", ["a", "b", "c"])
        connection.execute("UPDATE entries SET used = 'long ago'")
        connection.commit()
        assert ranker.rank("q", ["a", "b", "c"]) == FakeRanker().rank("q", ["a", "b", "c"])


async def test_a_lock_does_not_block_the_event_loop(cache: Cache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a call waits for the file, others go on."""
    monkeypatch.setattr(database, "WAIT_S", 0.5)
    ranker, ticks = cache(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with logged(), locked(path):
        await ranker.arank("q", ["a"])
    ticking.cancel()

    assert ticks > 5


# threads and processes


def test_threads_and_rankers_share_a_file(cache: Cache, path: Path) -> None:
    """Several rankers on one file, each used by several threads: every answer is right, and nothing is refused."""
    rankers = [cache(size=30) for _ in range(3)]
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for turn in range(20):
            documents = [str((number * turn + at) % 40) for at in range(5)]
            if rankers[number % 3].rank("q", documents) != FakeRanker().rank("q", documents):
                wrong.append(documents)

    with logged() as lines:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []
    assert lines == []
    assert len(stored(path)) == 30


def fill(path: Path, number: int, results: Any) -> None:
    """Rank in a process of its own, and say how much was read and whether all was right."""
    with logged() as lines, cached(pointwise(), path=path, size=1000) as ranker:
        right = True
        for turn in range(10):
            documents = [f"{number} {turn} {at}" for at in range(3)] + [f"all {turn}"]
            right &= ranker.rank("q", documents) == FakeRanker().rank("q", documents)
        results.put((number, right, lines))


def test_processes_share_a_file(cache: Cache, path: Path) -> None:
    """Several processes that begin one file together and write at once lose nothing and break nothing."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=fill, args=(path, number, results), daemon=True) for number in range(3)]
    for process in processes:
        process.start()
    answers = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)

    assert answers == [(number, True, []) for number in range(3)]
    assert [process.exitcode for process in processes] == [0, 0, 0]
    ranker = cache()
    for number in range(3):
        for turn in range(10):
            documents = [f"{number} {turn} {at}" for at in range(3)] + [f"all {turn}"]
            assert ranker.rank("q", documents).usage == Usage(0)
    assert len(stored(path)) == 3 * 10 * 3 + 10


def _forked(work: Callable[[], bool]) -> bool:
    """Say whether some work goes well in a forked child."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


@NO_FORK
@FORKS_THREADS
def test_a_forked_child_opens_the_file_anew(cache: Cache, opened: list[sqlite3.Connection]) -> None:
    """No connection goes through a fork; parent and child both go on, and know what the other wrote."""
    ranker = cache()
    ranker.rank("q", ["a"])
    (before,) = opened

    def in_child() -> bool:
        known = ranker.rank("q", ["a"]).usage == Usage(0)
        return known and ranker.rank("q", ["b"]).usage == Usage(1) and len(opened) == 2

    assert _forked(in_child)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        before.execute("SELECT 1")
    assert ranker.rank("q", ["a", "b"]).usage == Usage(0)
    assert ranker.rank("q", ["c"]).usage == Usage(1)


@NO_FORK
@FORKS_THREADS
def test_a_fork_in_the_middle_of_it_leaves_the_child_without(
    cache: Cache, opened: list[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another thread does not let go of the file in time, the child never touches it, and ranks without it."""
    monkeypatch.setattr(database, "FORK_WAIT_S", 0.05)
    ranker = cache()
    ranker.rank("q", ["a"])
    inside, goes_on = threading.Event(), threading.Event()

    def slow() -> int:
        inside.set()
        goes_on.wait(10)
        return 0

    opened[-1].set_progress_handler(slow, 1)
    using = threading.Thread(target=ranker.rank, args=("q", ["a"]))
    using.start()
    assert inside.wait(10)
    child_goes_without = _forked(lambda: ranker.rank("q", ["a"]).usage == Usage(1))
    goes_on.set()
    using.join()
    assert child_goes_without
    assert len(opened) == 1


@NO_FORK
@FORKS_THREADS
def test_forks_and_threads_go_together(cache: Cache) -> None:
    """Forking while threads use the file hurts neither them nor the children."""
    ranker = cache()
    stop, wrong = threading.Event(), []

    def ask() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            documents = [str(number), str(number // 2)]
            if ranker.rank("q", documents) != FakeRanker().rank("q", documents):
                wrong.append(documents)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(_forked(lambda: len(ranker.rank("q", ["a", "b"])) == 2) for _ in range(10))
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert wrong == []


def test_a_database_that_was_refused_leaves_nothing_behind(path: Path) -> None:
    """A refused file is closed again, and forks know nothing of it."""
    path.write_bytes(b"nothing of ours" * 99)
    with pytest.raises(InvalidInput):
        Database(str(path), 9)

    assert [part.name for part in path.parent.iterdir()] == [path.name]
