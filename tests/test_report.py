"""The report: one file that shows an evaluation, and whatever texts hold, nothing but that."""

import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import collection, noisy, perfect, quick
from resift.evaluation import Collection, Evaluation, Listing, Run, write_report
from resift.evaluation.latency import Latency
from resift.evaluation.record import FIRST_STAGE
from resift.evaluation.report import queries
from resift.evaluation.report.labels import Box, place
from resift.evaluation.report.markup import Markup, element, together
from resift.evaluation.report.page import page
from resift.evaluation.report.palette import looks_of
from resift.evaluation.report.scales import Linear, Logarithmic, padded
from resift.evaluation.report.scopes import scopes_of
from resift.evaluation.report.tradeoff import pareto
from resift.evaluation.report.verdict import verdict
from resift.evaluation.report.wording import chance, count, duration, lead, short, size, tick
from resift.evaluation.texts import LONGEST

EVIL = '</script><img src=x onerror="alert(1)"><svg onload=alert(2)>\u2028&lt;b&gt;\'"'


def data_of(html: str) -> dict[str, Any]:
    """Return the JSON that a page holds."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


class Tags(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Two collections, with names and texts that nobody should have given them."""
    small = collection(queries=8)
    evil = replace(
        small,
        name=EVIL,
        queries={query: f"{text} {EVIL}" for query, text in small.queries.items()},
        documents={document: f"{EVIL} {text}" for document, text in small.documents.items()},
    )
    return quick([evil, collection(queries=5, name="plain", seed=1)], {EVIL: noisy(1), "perfect": perfect()})


# one page, whole and harmless


def test_the_page_stands_alone(evaluation: Evaluation) -> None:
    """A report names no address, loads nothing, and forbids the browser to."""
    html = page(evaluation)

    tags = Tags(html).found
    fetching = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    assert not [(tag, attributes) for tag, attributes in tags if fetching & attributes.keys()]
    assert not {tag for tag, _ in tags} & {"img", "link", "iframe", "object", "embed", "audio", "video", "base", "form"}
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]", html)
    (policy,) = (attributes["content"] for _, attributes in tags if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_texts_and_names_are_only_text(evaluation: Evaluation) -> None:
    """Markup in queries, documents, names of models and of collections is shown, and never becomes an element."""
    html = page(evaluation)

    tags = Tags(html).found
    assert [attributes.get("type") for tag, attributes in tags if tag == "script"] == ["application/json", None]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert html.count("</script>") == 2
    data = data_of(html)
    assert data["collections"][0]["name"] == data["rows"][1]["name"] == EVIL
    assert EVIL.split("\u2028", maxsplit=1)[0] in data["collections"][0]["queries"][0]["text"]


def test_figures_are_images_that_say_what_they_show(evaluation: Evaluation) -> None:
    """Each figure is well-formed and has a title and its numbers in words; tables have captions and headed cells."""
    html = page(evaluation)

    figures = [ET.fromstring(found) for found in re.findall(r"<svg .*?</svg>", html) if 'role="img"' in found]  # noqa: S314 - ours
    assert len(figures) == 2 * 3 + 2
    for figure in figures:
        assert [child.tag for child in list(figure)[:2]] == ["title", "desc"]
        assert all(child.text for child in list(figure)[:2])
    tags = [tag for tag, _ in Tags(html).found]
    assert tags.count("caption") == tags.count("table") > 6
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in Tags(html).found if tag == "th")


def test_all_that_was_measured_is_there(evaluation: Evaluation) -> None:
    """Every measure of every row, every rating and latency, the warnings and the record are in the page."""
    told = replace(evaluation, warnings=("beware of <this>",))
    html = page(told)

    for row in evaluation.overall.measures.values():
        assert all(f"{estimate.mean:.4f}" in html for estimate in row.values())
    assert all(f"{rating.rating.mean:.0f}" in html for rating in evaluation.overall.ratings)
    assert "beware of &lt;this&gt;" in html
    assert all(value in html for value in (evaluation.environment["python"], "Bradley-Terry", "p99", "seed"))


def test_the_same_evaluation_is_the_same_page(evaluation: Evaluation, tmp_path: Path) -> None:
    """A report is a function of its evaluation, read from the disk or not."""
    evaluation.save(tmp_path)
    write_report(Evaluation.load(tmp_path), tmp_path / "deep" / "report.html")

    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == page(evaluation)


def test_an_evaluation_without_anything_has_a_page_too() -> None:
    """No contestant, no latency, no text, one query: the page says what there is."""
    bare = page(quick(collection(queries=1), {}))
    runs = collection()
    assert runs.first_stage is not None
    untimed = page(quick(replace(runs, documents={}), {"run": runs.first_stage}))

    assert "Nobody improves on the first stage" in bare
    assert "Nothing was timed" in bare
    assert "Nothing was timed" in untimed
    assert data_of(untimed)["collections"][0]["documents"][0][1] == ""


# single queries


def test_the_orders_of_all_rows_are_in_the_data(evaluation: Evaluation) -> None:
    """For each query the page knows each row's value, its list, the judgements and the texts."""
    data = data_of(page(evaluation))
    found = data["collections"][1]
    query = next(one for one in found["queries"] if one["id"] == "q2")

    evidence, results = evaluation.evidence["plain"], evaluation.collections["plain"]
    at = results.queries.index("q2")
    for row, name in enumerate([FIRST_STAGE, *evaluation.contestants]):
        listed = query["lists"][row]
        places = range(listed) if isinstance(listed, int) else listed
        ids = [found["documents"][query["documents"][one]][0] for one in places]
        assert tuple(ids) == evidence.runs[name].of("q2").documents
        assert query["values"][row] == pytest.approx(results.rows[name].values["nDCG@10"][at], abs=1e-4)
    grades = {found["documents"][query["documents"][int(one)]][0]: grade for one, grade in query["grades"].items()}
    assert grades == evidence.judgements["q2"]
    texts = {found["documents"][one][0]: found["documents"][one][1] for one in query["documents"]}
    assert texts == {document: evidence.texts.documents[document] for document in texts}
    assert query["text"] == "what is q2"


def test_relevant_documents_that_nobody_listed_are_counted() -> None:
    """What is in no list is said to be missing."""
    evaluation = quick(collection(queries=1), {"perfect": perfect()}, depth=3)

    (query,) = data_of(page(evaluation))["collections"][0]["queries"]
    relevant = sum(grade > 0 for grade in evaluation.evidence["small"].judgements["q0"].values())
    assert len(query["grades"]) == 3
    assert query["lost"] == relevant - sum(grade > 0 for grade in query["grades"].values())


def test_a_page_grows_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many queries those stay on which rows differ most, and of many texts those that come first."""
    monkeypatch.setattr(queries, "MOST_QUERIES", 6)
    monkeypatch.setattr(queries, "MOST_TEXT", 300)
    monkeypatch.setattr(queries, "SHOWN", 2)
    evaluation = quick(
        [collection(20, name="a"), collection(2, name="b", seed=1)], {"noisy": noisy(1, 4.0)}, texts=True
    )

    data = data_of(page(evaluation))
    many, few = data["collections"]
    values = [
        abs(a - b)
        for a, b in zip(
            *(evaluation.collections["a"].rows[row].values["nDCG@10"] for row in (FIRST_STAGE, "noisy")), strict=True
        )
    ]
    shown = [abs(query["values"][0] - query["values"][1]) for query in many["queries"]]
    assert (len(many["queries"]), many["total"], len(few["queries"])) == (3, 20, 2)
    assert sorted(shown, reverse=True) == pytest.approx(sorted(values, reverse=True)[:3], abs=2e-4)
    texts = [text for one in data["collections"] for _, text in one["documents"]]
    texts += [query["text"] for one in data["collections"] for query in one["queries"]]
    assert 0 < sum(map(len, texts)) <= 300


def test_texts_can_stay_at_home(tmp_path: Path) -> None:
    """Without texts neither the directory nor the page holds a word of a query or a document."""
    secret = replace(
        collection(),
        queries={f"q{at}": f"whisper {at}" for at in range(6)},
        documents={document: f"murmur {text}" for document, text in collection().documents.items()},
    )
    quick(secret, {"a": noisy(1)}, directory=tmp_path)
    quick(secret, {"a": noisy(1)}, directory=tmp_path, texts=False)  # what an earlier evaluation kept goes as well
    write_report(Evaluation.load(tmp_path), tmp_path / "report.html")
    write_report(quick(secret, {"a": noisy(1)}), tmp_path / "other.html", texts=False)

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file())
    assert b"whisper" not in written
    assert b"murmur" not in written


def test_texts_are_cut() -> None:
    """Of a long text its beginning is kept, on one line; an object is written as a ranker reads it."""
    small = collection(queries=1)
    documents = {**small.documents, "q0-d0": {"title": "panda", "text": "bamboo\n" * 1000}}

    kept = quick(replace(small, documents=documents), {}).evidence["small"].texts

    assert kept.documents["q0-d0"].startswith("title: panda text: bamboo bamboo")
    assert len(kept.documents["q0-d0"]) <= LONGEST
    assert kept.documents["q0-d0"].endswith("…")
    assert kept.queries == {"q0": "what is q0"}


def test_a_damaged_file_of_texts_is_named(tmp_path: Path) -> None:
    """Texts that cannot be read are an error that says which file to delete; without the file there are none."""
    quick(collection(), {"a": noisy(1)}, directory=tmp_path)
    path = tmp_path / "runs" / "small" / "texts.json"
    path.write_text('{"queries": 3}')

    with pytest.raises(ValueError, match=r"texts.json is damaged: .*; delete it"):
        page(Evaluation.load(tmp_path))
    path.unlink()
    assert "what is q0" not in page(Evaluation.load(tmp_path))


# parts


def test_only_markup_is_markup() -> None:
    """Texts and attributes are escaped; what is markup already is left alone."""
    inner = element("b", "1 < 2")

    assert element("p", inner, " & ", title='"x"', hidden=True, lang=None, class_="c", data_at=1.50) == (
        '<p title="&quot;x&quot;" hidden class="c" data-at="1.5"><b>1 &lt; 2</b> &amp; </p>'
    )
    assert element("br") == "<br/>"
    assert isinstance(together("<"), Markup)


@given(low=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3), about=st.integers(2, 8))
def test_ticks_are_round_and_inside(low: float, width: float, about: int) -> None:
    """An axis shows a handful of evenly spaced values of its range."""
    scale = Linear(low, low + width, 0, 100)
    ticks = scale.ticks(about)

    assert 1 <= len(ticks) <= about + 2
    assert all(low - width * 1e-6 <= value <= low + width * (1 + 1e-6) for value in ticks)
    steps = [later - earlier for earlier, later in itertools.pairwise(ticks)]
    assert not steps or max(steps) == pytest.approx(min(steps), rel=1e-4)
    assert scale(low) == 0
    assert scale(low + width) == pytest.approx(100)


@given(low=st.floats(1e-6, 10), factor=st.floats(1.5, 1e6))
def test_logarithmic_ticks_are_round_and_inside(low: float, factor: float) -> None:
    """A logarithmic axis shows ones, twos and fives, and equal ratios are equally long on it."""
    scale = Logarithmic(low, low * factor, 0, 100)

    assert all(low * 0.999 <= value <= low * factor * 1.001 for value in scale.ticks())
    assert scale(low * factor**0.5) == pytest.approx(50)
    assert {f"{value:e}"[0] for value in scale.ticks()} <= {"1", "2", "5"}


def test_a_range_has_air() -> None:
    """Values do not touch the edges, also where there is only one."""
    assert padded([0.5, 0.5]) == (0.48, 0.52)
    assert padded([0, 1]) == (-0.08, 1.08)


def test_the_front_is_of_those_that_nobody_beats() -> None:
    """Each on the front is better than all that are as fast, and than no reranking at all."""
    points = [(1.0, 0.5, "slow"), (0.1, 0.6, "good"), (0.1, 0.55, "worse"), (0.01, 0.3, "useless"), (2.0, 0.7, "best")]

    assert pareto(points, least=0.4) == ["good", "best"]
    assert pareto(points, least=0.9) == []


def test_no_two_rows_look_alike() -> None:
    """Colours repeat and shapes repeat, both at once only after 42 contestants."""
    looks = looks_of([f"m{at}" for at in range(42)])

    assert len({(look.name, look.shape) for look in looks.values()}) == 44


@given(points=st.lists(st.tuples(st.floats(60, 500), st.floats(30, 300)), min_size=1, max_size=6))
def test_names_of_points_stay_inside(points: list[tuple[float, float]]) -> None:
    """However points lie, each gets a name, inside the figure."""
    frame = Box(52, 0, 560, 334)
    labels = place([(x, y, f"point {at}") for at, (x, y) in enumerate(points)], [], frame)

    assert [label.text for label in labels] == [f"point {at}" for at in range(len(points))]
    assert all(label.box.shared(frame) > 0 for label in labels)


def test_names_of_near_points_do_not_cover_each_other() -> None:
    """Two points at one place have two names that can be read."""
    one, two = place([(200, 200, "all-MiniLM-L6-v2"), (201, 201, "bge-reranker-base")], [], Box(0, 0, 560, 380))

    assert one.box.shared(two.box) == 0


def _timed(p50: float, tokens: float | None = None, peak: int | None = None) -> Latency:
    return Latency(10, 1, p50, p50, p50, p50, 10 * p50, 100 / p50, tokens, peak)


def test_latencies_over_all_are_means_of_collections() -> None:
    """Each collection counts the same in a time, each second in a rate, the largest in memory."""
    evaluation = quick([collection(name="a"), collection(name="b", seed=1)], {"x": noisy(1), "y": noisy(2)})
    for name, latency in (("a", _timed(1.0, 5.0, 7)), ("b", _timed(3.0, 1.0, 9))):
        results = evaluation.collections[name]
        rows = {**results.rows, "x": replace(results.rows["x"], latency=latency)}
        rows["y"] = replace(rows["y"], latency=None if name == "a" else latency)
        evaluation.collections[name] = replace(results, rows=rows)

    (overall, *_) = scopes_of(evaluation)

    assert list(overall.latencies) == ["x"]
    found = overall.latencies["x"]
    assert (found.p50_s, found.queries, found.peak_bytes) == (2.0, 20, 9)
    assert found.pairs_per_s == pytest.approx((1000 + 1000) / 40)
    assert found.tokens_per_s == pytest.approx((50 + 30) / 40)


def _all(grades: dict[str, dict[str, int]], order: list[str]) -> Run:
    return Run("r", {query: Listing.in_order(order) for query in grades})


def test_the_verdict_claims_no_more_than_is_proved() -> None:
    """A clear lead is called one, a small one may be chance, and where nobody is better that is said."""
    clear = quick(collection(queries=40), {"good": noisy(1, 0.3), "bad": noisy(2, 9.0)})
    unclear = quick(collection(queries=40), {"one": noisy(1, 0.8), "two": noisy(2, 0.8)})
    grades = {f"q{at}": {"a": 1, "b": 0} for at in range(3)}
    kept = Collection("kept", dict.fromkeys(grades, "?"), {}, grades, _all(grades, ["a", "b"]))
    hopeless = quick(kept, {"turned": _all(grades, ["b", "a"])})

    assert verdict(scopes_of(clear)[0]).startswith("good is ahead: its nDCG@10 is 0.9")
    assert verdict(scopes_of(clear)[0]).endswith("Chance does not explain its lead over any other row.")
    assert verdict(scopes_of(unclear)[0]).endswith(" may be chance.")
    assert verdict(scopes_of(hopeless)[0]).startswith("Nobody improves on the first stage: its nDCG@10 is 1.000")
    with_baseline = quick(collection(queries=40), {"good": noisy(1, 0.3), "bad": noisy(2, 9.0)}, baseline="good")
    assert "good is ahead" in verdict(scopes_of(with_baseline)[0])


def test_numbers_read_well() -> None:
    """Times, sizes, counts and names are as short as they can be without misleading."""
    assert [duration(value) for value in (0.00042, 0.0123, 0.42, 4.2, 42, 420)] == [
        *("0.42 ms", "12.3 ms", "420 ms", "4.20 s", "42.0 s", "7.0 min")
    ]
    assert [tick(value) for value in (5e-5, 0.002, 2)] == ["50 µs", "2 ms", "2 s"]
    assert [size(value) for value in (0, 1023, 5 * 2**20, 3 * 2**30)] == ["0 B", "1023 B", "5 MiB", "3.00 GiB"]
    assert [count(value) for value in (0.25, 3, 12345.6)] == ["0.2", "3", "12\u202f346"]
    assert [chance(value) for value in (0.0001, 0.05)] == ["< 0.001", "0.050"]
    assert [lead(value) for value in (0.1, -0.1)] == ["+0.100", "\u22120.100"]
    assert short("BAAI/bge-reranker-v2-m3") == "BAAI/bge-reranker-v2-m3"
    assert short("sentence-transformers/all-MiniLM-L6-v2") == "all-MiniLM-L6-v2"
    assert short("a-very-long-name-of-a-model-with-a-suffix-large", 20).endswith("large")
    assert len(short("x" * 99, 20)) == 20
