"""Collections in every layout that people have, and what is wrong with those that cannot be read."""

import gzip
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from judging import collection, write_lines, write_objects
from noticing import logged
from resift.errors import InvalidInput, MissingDependency
from resift.evaluation import Collection, Listing, Run, read_beir, read_collection, read_jsonl, read_mteb, read_trec
from resift.evaluation.collections import lines

CORPUS = [
    {"_id": "d1", "title": "Panda", "text": "A bear."},
    {"_id": "d2", "title": "", "text": "A city."},
    {"_id": "d3", "text": "大熊猫吃竹子。"},
]
QUERIES = [{"_id": "q1", "text": "what is a panda?"}, {"_id": "q2", "text": "Paris"}, {"_id": "q3", "text": "unjudged"}]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0", "q2\td2\t1"]
RUN = ["q1 Q0 d2 1 9.5 bm25", "q1 Q0 d1 2 9.0 bm25", "q2 Q0 d2 1 3.0 bm25"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a whole folder in BEIR's layout."""
    root = tmp_path / "tiny"
    write_objects(root / "corpus.jsonl", CORPUS)
    write_objects(root / "queries.jsonl", QUERIES)
    write_lines(root / "qrels" / "test.tsv", QRELS)
    write_lines(root / "bm25.run", RUN)
    write_lines(root / "candidates.tsv", ["query-id\tcorpus-id", "q1\td1", "q1\td2", "q2\td2"])
    return root


def _is_whole(found: Collection) -> bool:
    assert found.first_stage is not None
    assert found.pool is not None
    return (
        found.documents == {"d1": "Panda A bear.", "d2": "A city.", "d3": "大熊猫吃竹子。"}
        and found.queries["q1"] == "what is a panda?"
        and found.judged == ["q1", "q2"]
        and found.judgements == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
        and found.first_stage.of("q1") == Listing(("d2", "d1"), (9.5, 9.0), (1, 2))
        and found.pool.of("q1") == Listing.unordered(("d1", "d2"))
    )


# layouts


def test_a_folder_of_beir_is_read(folder: Path) -> None:
    """Texts have their titles in front, a run is the first stage, and a table of candidates the pool."""
    found = read_beir(folder)

    assert _is_whole(found)
    assert found.name == "tiny"
    assert "panda" not in repr(found)


def test_files_may_be_gzipped(folder: Path) -> None:
    """Every file of a folder may be gzipped, whatever the others are."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    assert _is_whole(read_collection(folder))


def test_qrels_may_lie_beside(folder: Path) -> None:
    """`qrels.tsv` is as good as `qrels/test.tsv`, with or without titles over its columns, in TREC's form too."""
    (folder / "qrels" / "test.tsv").unlink()
    for rows in (QRELS, QRELS[1:], [f"{row.replace('	', ' 0 ', 1).replace('	', ' ')}" for row in QRELS[1:]]):
        write_lines(folder / "qrels.tsv", rows)

        assert _is_whole(read_beir(folder))


def test_another_split_is_read_by_its_name(folder: Path) -> None:
    """`split` chooses the judgements."""
    write_lines(folder / "qrels" / "train.tsv", [QRELS[0], "q3\td3\t1"])

    assert read_beir(folder, split="train").judged == ["q3"]


def test_windows_wrote_it(folder: Path) -> None:
    """A byte order mark, line ends of two characters, blank lines and numbers as ids are no obstacle."""
    rows = [json.dumps({"_id": 7, "text": "seven"}), "", json.dumps({"_id": "d1", "text": "one"}), ""]
    (folder / "corpus.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())

    assert read_beir(folder).documents == {"7": "seven", "d1": "one"}


def test_several_runs_need_a_name(folder: Path) -> None:
    """Which of two runs is the first stage is not guessed."""
    write_lines(folder / "other.run.gz", ["q1 Q0 d3 1 1.0 other"])

    with pytest.raises(InvalidInput, match=r"several runs \(bm25.run, other.run.gz\); name the first stage"):
        read_beir(folder)
    found = read_beir(folder, run=folder / "other.run.gz").first_stage
    assert found is not None
    assert (found.name, found.of("q1").documents) == ("other", ("d3",))


def test_a_run_with_its_qrels_is_read(folder: Path) -> None:
    """A TREC run is a collection with its qrels, and one to rank where texts come along."""
    qrels = write_lines(folder / "trec.qrels", ["q1 0 d1 2", "q1 0 d2 0", "q2 0 d2 1"])
    queries = write_lines(folder / "topics.tsv", ["q1\twhat is a panda?", "q2\tParis"])

    bare = read_trec(folder / "bm25.run", qrels)
    full = read_trec(folder / "bm25.run", qrels, queries=queries, documents=folder / "corpus.jsonl", name="mine")

    assert (bare.name, bare.judged, dict(bare.documents)) == ("trec", ["q1", "q2"], {})
    assert (full.name, full.queries["q1"], full.documents["d2"]) == ("mine", "what is a panda?", "A city.")
    with pytest.raises(InvalidInput, match="texts of both"):
        read_trec(folder / "bm25.run", qrels, queries=queries)


ENDINGS = ["parquet", "jsonl", "jsonl.gz"]


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        write_objects(path, rows)


def _write_mteb(root: Path, ending: str, before: str = "") -> Path:
    qrels = [dict(zip(("query-id", "corpus-id", "score"), row.split("\t"), strict=True)) for row in QRELS[1:]]
    top = [{"query-id": "q1", "corpus-ids": ["d1", "d2"]}, {"query-id": "q2", "corpus-ids": ["d2"]}]
    folders: dict[str, list[dict[str, Any]]] = {
        "corpus": [{"title": "", **document} for document in CORPUS],
        "queries": QUERIES,
        "qrels": [{**row, "score": int(row["score"])} for row in qrels],
        "top_ranked": top,
    }
    for name, rows in folders.items():
        _write_rows(root / f"{before}{name}" / f"test-00000-of-00001.{ending}", rows)
    return root


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_of_mteb_is_read(ending: str, tmp_path: Path) -> None:
    """MTEB's reranking layout is read from Parquet and from JSON lines; what is to be ranked is a pool."""
    found = read_collection(_write_mteb(tmp_path / "task", ending))

    assert found.documents["d1"] == "Panda A bear."
    assert found.judgements == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert found.first_stage is None
    assert found.pool is not None
    assert found.pool.of("q1") == Listing.unordered(("d1", "d2"))


def test_a_subset_of_mteb_is_read_by_its_name(tmp_path: Path) -> None:
    """Subsets lie beside each other, each in folders of its own."""
    root = _write_mteb(_write_mteb(tmp_path / "task", "jsonl", "en-"), "jsonl", "de-")

    assert read_mteb(root, subset="de").name == "task-de"
    with pytest.raises(InvalidInput, match="no folder fr-queries"):
        read_mteb(root, subset="fr")


def test_parts_of_a_split_are_put_together(tmp_path: Path) -> None:
    """A split in several files is one, and another split beside it is left alone."""
    root = _write_mteb(tmp_path / "task", "jsonl")
    _write_rows(root / "corpus" / "test-00001-of-00002.parquet", [{"_id": "d4", "title": "", "text": "more"}])
    _write_rows(root / "corpus" / "dev.jsonl", [{"_id": "d5", "title": "", "text": "other"}])

    assert list(read_mteb(root).documents) == ["d1", "d2", "d3", "d4"]
    with pytest.raises(InvalidInput, match="has the splits dev, test; name one"):
        read_mteb(root, split="train")


def test_a_folder_without_files_holds_nothing(tmp_path: Path) -> None:
    """A configuration whose folder is empty, or whose grades are none, is named."""
    root = _write_mteb(tmp_path / "task", "jsonl")
    qrels = root / "qrels" / "test-00000-of-00001.jsonl"
    write_objects(qrels, [{"query-id": "q1", "corpus-id": "d1", "score": 0.5}])

    with pytest.raises(InvalidInput, match=r"jsonl:1 has the grade 0.5"):
        read_mteb(root)
    qrels.unlink()
    with pytest.raises(InvalidInput, match=r"qrels has no .parquet and no .jsonl"):
        read_mteb(root)


def test_broken_parquet_is_said_to_be(tmp_path: Path) -> None:
    """A file that is no Parquet is named."""
    root = _write_mteb(tmp_path / "task", "parquet")
    path = root / "corpus" / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(InvalidInput, match=r"test-00000-of-00001.parquet is a broken Parquet file"):
        read_mteb(root)


def test_parquet_names_the_extra_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing reads Parquet, the message says what to install."""
    root = _write_mteb(tmp_path / "task", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingDependency, match=r"resift\[eval\]"):
        read_mteb(root)


def test_lines_of_positives_and_negatives_are_read(tmp_path: Path) -> None:
    """Each line is a query with a pool; the same text is the same document wherever it stands."""
    path = write_objects(
        tmp_path / "mine.jsonl.gz",
        [
            {"query": "panda", "positives": ["a bear", {"kind": "bear", "eats": "bamboo"}], "negatives": ["a city"]},
            {"query": "Paris", "positive": "a city", "negative": ["a bear"]},
        ],
    )

    found = read_collection(path)

    assert found.name == "mine"
    assert len(found.documents) == 3
    assert sorted(map(sorted, (grades.values() for grades in found.judgements.values()))) == [[0, 1], [0, 1, 1]]
    assert found.pool is not None
    assert all(set(listing.ranks) == {1} for listing in found.pool.lists.values())


def test_the_order_of_lines_changes_nothing(tmp_path: Path) -> None:
    """Ids come from texts, so that a file and its shuffled copy are the same collection."""
    rows = [{"query": f"q{at}", "positives": [f"p{at}"], "negatives": ["n", f"m{at}"]} for at in range(5)]
    swapped = [{**row, "negatives": list(reversed(row["negatives"]))} for row in reversed(rows)]

    one = read_jsonl(write_objects(tmp_path / "one.jsonl", rows))
    two = read_jsonl(write_objects(tmp_path / "two.jsonl", swapped))

    assert (one.queries, one.documents, one.judgements, one.pool) == (
        *(two.queries, two.documents, two.judgements),
        two.pool,
    )


# samples


def test_a_sample_is_always_the_same() -> None:
    """A sample depends on nothing but the ids of the queries, and a larger one holds the smaller."""
    whole = collection(queries=30)

    assert len(whole.sample(7).judged) == 7
    assert set(whole.sample(7).judged) < set(whole.sample(12).judged)
    assert whole.sample(99).judged == whole.judged
    with pytest.raises(InvalidInput, match="count must be a whole number"):
        whole.sample(0)


# what is wrong

Spoil = Callable[[Path], object]


def _append(name: str, line: str) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return spoil


def _replace(name: str, content: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


MISTAKES: dict[str, tuple[Spoil, str]] = {
    "no corpus": (lambda folder: (folder / "corpus.jsonl").unlink(), "has no corpus.jsonl, plain or gzipped"),
    "no judgements": (lambda folder: (folder / "qrels/test.tsv").unlink(), "has no qrels/test.tsv and no qrels.tsv"),
    "empty judgements": (_replace("qrels/test.tsv", b""), "test.tsv holds no judgements"),
    "only titles": (_replace("qrels/test.tsv", b"query-id\tcorpus-id\tscore\n"), "test.tsv holds no judgements"),
    "empty run": (_replace("bm25.run", b"\n"), "holds no run: it has no lines"),
    "a document twice": (_append("corpus.jsonl", '{"_id": "d1", "text": "x"}'), r"corpus.jsonl:4 has the id 'd1' a s"),
    "a query twice": (_append("queries.jsonl", '{"_id": "q1", "text": "x"}'), r"queries.jsonl:4 has the id 'q1' a sec"),
    "no id": (_append("corpus.jsonl", '{"text": "secret"}'), "corpus.jsonl:4 has no _id or id that is a str"),
    "an id that is none": (_append("corpus.jsonl", '{"_id": 1.5, "text": "x"}'), "corpus.jsonl:4 has no _id or id"),
    "a blank id": (_append("corpus.jsonl", '{"_id": " ", "text": "x"}'), "corpus.jsonl:4 has the id ' '"),
    "an id with a tab": (_append("corpus.jsonl", '{"_id": "a\\tb", "text": "x"}'), "corpus.jsonl:4 has the id"),
    "no text": (_append("corpus.jsonl", '{"_id": "d9"}'), "corpus.jsonl:4 must have 'text', a str; it has NoneType"),
    "text that is none": (_append("queries.jsonl", '{"_id": "q9", "text": ["x"]}'), "queries.jsonl:4 must have 'text'"),
    "no JSON": (_append("corpus.jsonl", '{"_id": "d9", "text": "secret'), "corpus.jsonl:4 is no JSON"),
    "no object": (_append("corpus.jsonl", '["secret"]'), "corpus.jsonl:4 holds no JSON object, but list"),
    "NaN in JSON": (_append("corpus.jsonl", '{"_id": "d9", "text": NaN}'), "corpus.jsonl:4 is no JSON"),
    "no UTF-8": (_replace("corpus.jsonl", b'{"_id": "d1", "text": "caf\xe9"}\n'), "corpus.jsonl:1 is not valid UTF-8"),
    "a broken gzip file": (
        _replace("corpus.jsonl", gzip.compress(b'{"_id": "d1", "text": "secret"}\n' * 99)[:-20]),
        "corpus.jsonl is a broken gzip file",
    ),
    "a damaged gzip file": (
        _replace("corpus.jsonl", gzip.compress(b'{"_id": "d1", "text": "x"}\n')[:12] + b"\xff" * 30),
        "corpus.jsonl is a broken gzip file",
    ),
    "a run that is none": (_replace("bm25.run", b"PK\x03\x04\xff\xfe"), "bm25.run:1 is not valid UTF-8"),
    "too many columns": (_append("qrels/test.tsv", "q1\t0\td1\t1\tx"), "test.tsv:5 must have 3 or 4 columns"),
    "an empty column": (_append("qrels/test.tsv", "q1\t\t1"), "test.tsv:5 must have 3 or 4 columns"),
    "a grade that is none": (_append("qrels/test.tsv", "q1\td3\thigh"), "test.tsv:5 has the grade 'high'"),
    "a grade between": (_append("qrels/test.tsv", "q1\td3\t0.5"), "test.tsv:5 has the grade '0.5'"),
    "a grade without end": (_append("qrels/test.tsv", "q1\td3\tinf"), "test.tsv:5 has the grade 'inf'"),
    "two grades": (_append("qrels/test.tsv", "q1\td1\t1"), "test.tsv:5 grades 'd1' for 'q1' 1, but .* says 2"),
    "nothing relevant": (_replace("qrels/test.tsv", b"q1\td1\t0\n"), "no judged query .* has a relevant document"),
    "other ids": (_replace("qrels/test.tsv", b"1\td1\t1\n"), "no judged query .* is among the queries"),
    "a blank query": (_replace("queries.jsonl", b'{"_id": "q1", "text": " "}\n'), "query 'q1' of 'tiny' is blank"),
    "a score that is none": (_append("bm25.run", "q1 Q0 d3 3 NaN bm25"), "bm25.run:4 has the score 'NaN'"),
    "a score in words": (_append("bm25.run", "q1 Q0 d3 3 high bm25"), "bm25.run:4 has the score 'high'"),
    "a score without end": (_append("bm25.run", "q1 Q0 d3 3 1e999 bm25"), "bm25.run:4 has the score '1e999'"),
    "a rank that is none": (_append("bm25.run", "q1 Q0 d3 third 1 bm25"), "bm25.run:4 has the rank 'third'"),
    "a document twice in a run": (
        _append("bm25.run", "q1 Q0 d1 3 1 bm25"),
        "bm25.run:4 has the document 'd1' for 'q1'",
    ),
    "five columns": (_append("bm25.run", "q1 Q0 d3 3 1"), "bm25.run:4 must have 6 columns"),
    "a document twice in a pool": (_append("candidates.tsv", "q1\td1"), "candidates.tsv:5 has the document 'd1'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_place(mistake: str, folder: Path) -> None:
    """The message says which file, which line and what to look for, and repeats nothing of a text."""
    spoil, message = MISTAKES[mistake]
    spoil(folder)

    with pytest.raises(InvalidInput, match=message) as caught:
        read_beir(folder)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"positives": ["x"]}, "must have 'query', a str"),
        ({"query": "q", "negatives": ["x"]}, "has no positives"),
        ({"query": "q", "positives": [7]}, "must have in 'positives' documents"),
        ({"query": "q", "positives": ["x"], "negatives": None}, "must have in 'negatives' documents"),
        ({"query": "q", "positives": ["secret"], "negatives": ["secret"]}, "among both"),
        ({"query": "first", "positives": ["x"]}, "a second time"),
    ],
)
def test_a_line_that_is_no_example_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A line without a query, without positives, or one that contradicts itself is refused."""
    path = write_objects(tmp_path / "mine.jsonl", [{"query": "first", "positives": ["y"]}, row])

    with pytest.raises(InvalidInput, match=rf"mine.jsonl:2 .*{message}") as caught:
        read_jsonl(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query-id": "q1", "corpus-ids": "d1"}, "must have 'corpus-ids', a list"),
        ({"query-id": "q1", "corpus-ids": ["d1", "d1"]}, "a document twice"),
        ({"corpus-ids": ["d1"]}, "has no query-id that is a str"),
    ],
)
def test_a_row_that_is_no_list_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A row of `top_ranked` is a query with a list of ids, each once."""
    root = _write_mteb(tmp_path / "task", "jsonl")
    write_objects(root / "top_ranked" / "test-00000-of-00001.jsonl", [row])

    with pytest.raises(InvalidInput, match=message):
        read_mteb(root)


@pytest.mark.parametrize("read", [read_collection, read_beir, read_mteb, read_jsonl])
def test_what_is_not_there_cannot_be_read(read: Callable[[Path], Collection], tmp_path: Path) -> None:
    """A path that leads nowhere is shown."""
    with pytest.raises(InvalidInput, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_no_collection(tmp_path: Path) -> None:
    """What a folder would need to be a collection is said."""
    with pytest.raises(InvalidInput, match=r"neither corpus.jsonl, as BEIR's folders, nor a folder corpus"):
        read_collection(tmp_path)


def test_a_line_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge file that is no file of lines is refused before it fills the memory, gzipped or not."""
    monkeypatch.setattr(lines, "LONGEST_BYTES", 1000)
    for path in (tmp_path / "big.jsonl", tmp_path / "big.jsonl.gz"):
        write_lines(path, ["x" * 5000])

        with pytest.raises(InvalidInput, match=r":1 is longer than"):
            read_jsonl(path)


def test_judged_queries_without_text_are_told() -> None:
    """Queries that only the judgements know are left out, with a word in the log."""
    with logged() as log:
        found = Collection("c", {"q1": "text"}, {}, {"q1": {"d": 1}, "q2": {"d": 1}})

    assert found.judged == ["q1"]
    assert log == ["1 judged queries of the collection 'c' have no text; they are left out"]


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=3), st.binary(max_size=40))
def test_any_bytes_are_a_collection_or_a_mistake(row: dict[str, str], noise: bytes) -> None:
    """Whatever stands in a file, reading it ends with a collection or with an `InvalidInput`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.jsonl"
        path.write_bytes(json.dumps({"query": "q", "positives": ["x"], **row}).encode() + b"\n" + noise)
        try:
            found = read_jsonl(path)
        except InvalidInput:
            return
    assert found.judged


def test_a_collection_has_a_name() -> None:
    """Results are kept by the collection's name, so it needs one."""
    with pytest.raises(InvalidInput, match="a collection needs a name"):
        Collection(" ", {}, {}, {"q": {"d": 1}}, Run("r", {}))
