"""Document vectors that are kept by content, so that documents which come back are not read again."""

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resift
import tiny
from resift.scoring.backends import Outputs
from resift.scoring.backends.torch.running import TorchBackend
from resift.scoring.families.vectors import Embedded, VectorCache
from resift.scoring.planning import Batch

FLOAT = 4  # bytes
ROOM = 10  # numbers that fit the cache of these tests
DOCUMENTS = ["The panda eats bamboo.", "Paris is in France.", "A bear", "pandas, pandas"]


def _embedded(size: int, value: float = 0.0, *, truncated: bool = False) -> Embedded:
    return Embedded(np.full(size, value, dtype=np.float32), truncated=truncated)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many sequences each batch reads from here on."""
    seen: list[int] = []
    run = TorchBackend.run

    def seeing(backend: TorchBackend, batch: Batch) -> Outputs:
        seen.append(len(batch.sequences))
        return run(backend, batch)

    monkeypatch.setattr(TorchBackend, "run", seeing)
    return seen


@pytest.fixture
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[resift.LocalRanker]:
    with resift.load(tiny.build("bert-embedding", tmp_path_factory.mktemp("vectors"))) as ranker:
        yield ranker


# the cache


def test_what_was_put_in_is_found_again() -> None:
    """A vector is found by its text's key, with whether the text was cut; another text has none."""
    cache = VectorCache()
    cache.put(cache.key("panda"), _embedded(3, 1.5, truncated=True))

    found = cache.get(VectorCache.key("panda"))

    assert found is not None
    assert found.vectors.tolist() == [1.5] * 3
    assert found.truncated
    assert cache.get(cache.key("bear")) is None


@given(st.text(), st.text())
def test_a_key_stands_for_one_text(first: str, second: str) -> None:
    """Equal texts have equal keys of a fixed size, and different texts different ones."""
    assert (VectorCache.key(first) == VectorCache.key(second)) == (first == second)
    assert len(VectorCache.key(first)) == 20


def test_the_least_recently_used_goes_first() -> None:
    """Where room is needed, the vector that was not asked for the longest is forgotten."""
    cache = VectorCache(max_bytes=3 * FLOAT)
    for key in (b"a", b"b", b"c"):
        cache.put(key, _embedded(1))
    cache.get(b"a")
    cache.put(b"d", _embedded(1))

    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key) is not None] == [b"a", b"c", b"d"]


def test_a_vector_larger_than_the_cache_is_not_kept() -> None:
    """One vector beyond all room is let go, and the cache works on."""
    cache = VectorCache(max_bytes=ROOM * FLOAT)
    cache.put(b"huge", _embedded(ROOM + 1))
    cache.put(b"small", _embedded(1))

    assert cache.get(b"huge") is None
    assert cache.get(b"small") is not None


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, ROOM), st.booleans()), max_size=40))
def test_the_bound_is_kept_and_used(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever comes, what is kept is within the bound, and exactly what was used last and fits."""
    cache, expected = VectorCache(max_bytes=ROOM * FLOAT), OrderedDict[str, int]()
    for name, size, put in steps:
        if put:
            cache.put(name.encode(), _embedded(size))
            expected.pop(name, None)
            expected[name] = size
            while sum(expected.values()) > ROOM:
                expected.popitem(last=False)
        elif cache.get(name.encode()) is not None:
            expected.move_to_end(name)

        found = {key: cache.get(key.encode()) for key in list(expected)}
        assert {key: len(one.vectors) for key, one in found.items() if one} == dict(expected)
        assert all(cache.get(key.encode()) is None for key in "abcde" if key not in expected)


def test_threads_share_a_cache() -> None:
    """Any number of threads may put and get at once; what is found is always what was put."""
    cache, wrong = VectorCache(max_bytes=8 * FLOAT), []

    def work(seed: int) -> None:
        for step in range(2_000):
            name = (seed * 7 + step) % 16
            cache.put(str(name).encode(), _embedded(1, name))
            found = cache.get(str((name + 3) % 16).encode())
            if found is not None and found.vectors[0] != (name + 3) % 16:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert wrong == []
    assert sum(cache.get(str(name).encode()) is not None for name in range(16)) == 8


# a ranker with one


def test_documents_that_come_back_are_not_read_again(ranker: resift.LocalRanker, read: list[int]) -> None:
    """The second query over the same documents reads only itself, and scores as if it had read all."""
    ranker.score("what does a panda eat?", DOCUMENTS)
    again = ranker.rank("where is Paris?", DOCUMENTS)
    mixed = ranker.score("where is Paris?", [*DOCUMENTS[:2], "new"])

    assert read == [1 + 4, 1, 1 + 1]
    assert again.usage is not None
    assert again.usage.tokens < 20
    assert [hit.score for hit in sorted(again, key=lambda hit: hit.index)][:2] == pytest.approx(mixed[:2], abs=1e-5)


def test_a_document_named_twice_is_read_once(ranker: resift.LocalRanker, read: list[int]) -> None:
    """Equal documents in one list are read once and score the same, to the last bit."""
    calls = [(query, repeats) for query in ("panda", "where is Paris?") for repeats in (2, 3, 5, 8, 13, 21)]
    for query, repeats in calls:
        scores = ranker.score(query, ["panda", "bear"] * repeats)

        assert len(set(scores[::2])) == len(set(scores[1::2])) == 1
    assert read == [1 + 2] + [1] * (len(calls) - 1)


def test_a_document_that_was_cut_is_counted_each_time(ranker: resift.LocalRanker) -> None:
    """A ranking says how many documents were cut, also where their vectors were kept from before."""
    documents = ["panda " * 600, "panda", "panda " * 600]

    assert [ranker.rank(query, documents).truncated for query in ("panda", "bear")] == [2, 2]


def test_a_fresh_and_a_kept_vector_score_alike(ranker: resift.LocalRanker) -> None:
    """A score does not depend on whether the document was seen before."""
    documents = list(tiny.DOCUMENTS)
    fresh = ranker.score(tiny.QUERY, documents)
    kept = ranker.score(tiny.QUERY, documents)

    assert kept == pytest.approx(fresh, abs=1e-5)
