"""The report in a real browser: it draws, sorts, searches and shows queries, and runs nothing but its own script."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromium import PROGRAM, Tab, browsing
from judging import collection, noisy, perfect, quick
from resift.evaluation import write_report

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium, and there is none here")

EVIL = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two collections and three contestants, whose texts and names are markup."""
    small = collection(queries=60)
    evil = replace(
        small,
        name=f"a {EVIL}",
        queries={query: f"{text} {EVIL}" for query, text in small.queries.items()},
        documents={document: f"{EVIL} {text}" for document, text in small.documents.items()},
    )
    players = {f"m {EVIL}": noisy(1, 3.0), "perfect": perfect(), "noisy": noisy(2)}
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(quick([evil, collection(name="b", seed=1)], players), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with browsing() as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab, report: Path) -> Iterator[Tab]:
    """The page, freshly loaded; afterwards nothing may have been complained about, fetched or hacked."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(report)
    yield browser
    assert browser.complaints == []
    assert {request.partition("#")[0] for request in browser.requests} <= {report.resolve().as_uri(), "about:blank"}
    assert browser.ask("window.hacked === undefined")


def _column(tab: Tab, table: str, column: int) -> list[str]:
    script = f"[...document.querySelector({table!r}).tBodies[0].rows].map((row) => row.cells[{column}].textContent)"
    found: list[str] = tab.ask(script)
    return found


def test_the_page_draws_without_complaint(tab: Tab) -> None:
    """Figures have a size, one set of them is shown and the others wait, and nothing is wider than the page."""
    assert tab.ask("document.querySelectorAll('svg[role=img]').length") == 8
    assert tab.ask("[...document.querySelectorAll('section.scope')].map((one) => one.hidden)") == [False, True, True]
    assert tab.ask("document.querySelector('.tradeoff').getBoundingClientRect().width") > 300
    assert tab.ask("document.querySelectorAll('.tradeoff .mark').length") > 0
    for width in (1280, 760, 360):
        tab.resize(width, 900)
        assert tab.ask("document.documentElement.scrollWidth") <= width
    tab.resize(1280, 900)


def test_a_collection_can_be_chosen(tab: Tab) -> None:
    """The buttons change which figures are seen, and say which one is pressed."""
    tab.ask("document.querySelectorAll('#scopes button')[2].click()")

    assert tab.ask("[...document.querySelectorAll('section.scope')].map((one) => one.hidden)") == [True, True, False]
    pressed = tab.ask("[...document.querySelectorAll('#scopes button')].map((one) => one.ariaPressed)")
    assert pressed == ["false", "false", "true"]


def test_tables_sort_by_click(tab: Tab) -> None:
    """A click on a title sorts by its column, largest first, another one turns it; what has no number stays last."""
    click = "document.querySelector('table.sortable').tHead.rows[0].cells[{}].querySelector('button').click()"

    tab.ask(click.format(1))
    falling = _column(tab, "table.sortable", 1)
    tab.ask(click.format(1))
    rising = _column(tab, "table.sortable", 1)
    tab.ask(click.format(3))
    against_first = _column(tab, "table.sortable", 3)
    tab.ask(click.format(0))
    names = _column(tab, "table.sortable", 0)

    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(falling)
    assert falling != rising
    assert against_first[-2:] == ["–", "–"]  # noqa: RUF001 - dashes: the first stage itself, and the oracle
    assert names == sorted(names, key=str.casefold)
    heads = "[...document.querySelector('table.sortable').tHead.rows[0].cells].slice(0, 4).map((one) => one.ariaSort)"
    assert tab.ask(heads) == ["ascending", "none", "none", "none"]


def test_tables_sort_by_keys(tab: Tab) -> None:
    """Whoever uses no mouse gets to the titles with Tab and sorts with Enter."""
    tab.ask("document.querySelector('table.sortable button').focus()")
    tab.press("Tab", code=9)
    tab.press("Enter", code=13, text="\r")
    tab.press("Enter", code=13, text="\r")

    values = _column(tab, "table.sortable", 1)
    assert values == sorted(values)


def _fill(tab: Tab, selector: str, value: str) -> None:
    event = "input" if selector == "input" else "change"
    tab.ask(
        f"(() => {{ const field = document.querySelector('#explorer {selector}'); field.value = {value!r};"
        f" field.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()"
    )


def test_queries_can_be_searched_and_ordered(tab: Tab) -> None:
    """The list begins with the largest gains, shows some at a time, and finds words and ids."""
    gains = [float(one.replace("\u2212", "-").replace("±", "")) for one in _column(tab, "table.queries", 3)]
    assert len(gains) == 40
    assert gains == sorted(gains, reverse=True)

    tab.ask("document.querySelector('.more').click()")
    assert len(_column(tab, "table.queries", 0)) == 66
    _fill(tab, "input", "Q17")
    assert [one.endswith("q17") for one in _column(tab, "table.queries", 0)] == [True]
    assert tab.ask("document.querySelector('.told').textContent") == "1 query."
    _fill(tab, "input", "")
    _fill(tab, "select", "b")
    assert tab.ask("document.querySelector('.told').textContent") == "6 queries."


def _open(tab: Tab, query: str) -> None:
    tab.ask(f"(location.hash = `#query/b/{query}`, new Promise((done) => setTimeout(done, 100)))")


def test_a_query_has_a_page_of_its_own(tab: Tab, report: Path) -> None:
    """An address leads to the page of a query: what each row is worth, the order before and after, the movements."""
    tab.open(report, fragment="#query/b/q3")

    assert tab.ask("document.querySelector('#explorer h3').textContent") == "what is q3"
    before, after = (
        tab.ask(
            f"[...document.querySelectorAll('.column')[{at}].querySelectorAll('.text')].map((one) => one.textContent)"
        )
        for at in (0, 1)
    )
    assert sorted(before) == sorted(after)
    assert [text[-1] for text in after] == sorted((text[-1] for text in after), reverse=True)  # by grade: it is perfect
    moves = tab.ask(
        "[...document.querySelectorAll('.column')[1].querySelectorAll('.move')].map((one) => one.textContent)"
    )
    expected = [before.index(text) - at for at, text in enumerate(after)]
    assert moves == ["=" if one == 0 else f"▲ {one}" if one > 0 else f"▼ {-one}" for one in expected]
    assert tab.ask("document.querySelectorAll('.slopes path').length") == 12
    assert tab.ask("document.querySelectorAll('.movers li').length") == 5
    assert tab.ask("document.querySelectorAll('#explorer tbody tr').length") == 4


def test_another_row_can_be_shown_and_the_list_comes_back(tab: Tab) -> None:
    """A button shows another row's order; links lead to the next query and back to the list."""
    _open(tab, "q3")
    tab.ask("[...document.querySelectorAll('#explorer tbody button')].at(-1).click()")
    title = "document.querySelectorAll('.column h4')[1].textContent"
    assert tab.ask(title) == "noisy"

    tab.ask("([...document.querySelectorAll('a.step')].at(-1).click(), new Promise((done) => setTimeout(done, 100)))")
    assert tab.ask("document.querySelector('#explorer h3').textContent") != "what is q3"
    assert tab.ask(title) == "noisy"
    tab.ask("(document.querySelector('a[href=\"#queries\"]').click(), new Promise((done) => setTimeout(done, 100)))")
    assert tab.ask("document.querySelectorAll('table.queries').length") == 1


def test_texts_of_queries_are_shown_as_they_are(tab: Tab) -> None:
    """Markup in a text is seen as its letters, in the list and on a query's page."""
    assert EVIL in _column(tab, "table.queries", 0)[0] or EVIL in "".join(_column(tab, "table.queries", 0))
    tab.ask(
        "(document.querySelector('table.queries tbody tr:has(small) a').click(),"
        " new Promise((done) => setTimeout(done, 100)))"
    )
    shown: Any = tab.ask("document.querySelector('#explorer').textContent")
    assert EVIL in shown
    assert tab.ask("document.querySelectorAll('#explorer img, #explorer script').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(tab: Tab, scheme: str) -> None:
    """In light and in dark, text has at least the contrast of 4.5 to 1 that readers need."""
    tab.prefer(scheme)
    _open(tab, "q3")
    contrasts = tab.ask(_CONTRASTS)
    tab.prefer("light")

    assert len(contrasts) > 5
    assert min(contrasts.values()) >= 4.5, contrasts


_CONTRASTS = """
(() => {
  const numbers = (colour) => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.slice(0, 3).map((c) => linear(c / 255))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (node) => {
    for (let up = node; up; up = up.parentElement) {
      const rgb = numbers(getComputedStyle(up).backgroundColor);
      if (rgb[3] === 255) return rgb;
    }
    return [255, 255, 255, 255];
  };
  const found = {};
  for (const selector of ['.verdict', '.facts', 'caption', '.legend li', '.tick', 'thead button', '.change.up',
                          '.change.down', '.move.down', '.grade.relevant', 'a', '[aria-pressed=true]', 'dt']) {
    const node = document.querySelector(selector);
    if (!node) continue;
    const style = getComputedStyle(node);
    const ink = light(numbers(node instanceof SVGElement ? style.fill : style.color));
    const paper = light(ground(node));
    found[selector] = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }
  return found;
})()
"""
