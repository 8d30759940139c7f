"""The whole page: one file, with its style, its script and its data inside, that may fetch nothing from anywhere."""

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from resift.evaluation.evaluation import Evaluation
from resift.evaluation.files import write_whole
from resift.evaluation.report.bars import bars
from resift.evaluation.report.forest import forest
from resift.evaluation.report.markup import Markup, element, together
from resift.evaluation.report.palette import looks_of, swatch
from resift.evaluation.report.particulars import cautions, particulars
from resift.evaluation.report.queries import embedded
from resift.evaluation.report.scopes import Scope, scopes_of
from resift.evaluation.report.tables import latency_table, measures_table, wins_table
from resift.evaluation.report.tradeoff import tradeoff
from resift.evaluation.report.verdict import verdict
from resift.evaluation.report.wording import several

_SCRIPTS, _STYLE = ("sorting.js", "scopes.js", "queries.js"), "page.css"


def write_report(evaluation: Evaluation, path: str | os.PathLike[str], *, texts: bool = True) -> None:
    """
    Write an evaluation as one HTML file that shows all of it to a person.

    Args:
        evaluation: what to show, just made or loaded.
        path: the file.
        texts: whether to show the beginnings of queries and documents, where the evaluation kept them.
    """
    write_whole(Path(path), page(evaluation, texts=texts).encode("utf-8", "replace"))


def page(evaluation: Evaluation, *, texts: bool = True) -> str:
    """Return an evaluation as HTML."""
    scopes, script = scopes_of(evaluation), _script()
    title = f"{', '.join(evaluation.collections)}: rerankers compared"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_read(_STYLE))),
    )
    main = element(
        "main",
        cautions(evaluation),
        element("div", _choice(scopes), *(_figures(evaluation, scope, at) for at, scope in enumerate(scopes))),
        _section("collections", _bars_title(scopes), bars(scopes, looks_of(evaluation.contestants))),
        _section(
            "queries",
            "Query by query",
            element("noscript", element("p", "The queries need a browser that runs scripts.")),
            element("div", id="explorer"),
        ),
        _section("record", "How it was measured", particulars(evaluation)),
    )
    data = element("script", embedded(evaluation, texts=texts), type="application/json", id="data")
    body = element("body", _header(evaluation, scopes), main, data, element("script", Markup(script)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(evaluation: Evaluation, scopes: Sequence[Scope]) -> Markup:
    looks = looks_of(evaluation.contestants)
    legend = [element("li", swatch(looks[row]), row) for row in scopes[0].order]
    facts = " · ".join(
        (
            several(len(evaluation.contestants), "contestant", "contestants"),
            several(len(evaluation.collections), "collection", "collections"),
            several(sum(len(one.queries) for one in evaluation.collections.values()), "query", "queries"),
            evaluation.created.replace("T", " ").replace("+00:00", " UTC"),
        )
    )
    return element(
        "header",
        element("div", element("p", "resift", class_="brand"), element("p", facts, class_="facts"), class_="line"),
        element("h1", ", ".join(evaluation.collections)),
        element("p", verdict(scopes[0]), class_="verdict"),
        element("ul", *legend, class_="legend"),
    )


def _choice(scopes: Sequence[Scope]) -> Markup:
    if len(scopes) == 1:
        return Markup()
    buttons = [
        element("button", scope.name, type="button", data_scope=str(at), aria_pressed="true" if at == 0 else "false")
        for at, scope in enumerate(scopes)
    ]
    return element("nav", *buttons, id="scopes", aria_label="what the figures are about")


def _figures(evaluation: Evaluation, scope: Scope, at: int) -> Markup:
    looks = looks_of(evaluation.contestants)
    return element(
        "section",
        element("h2", scope.name, class_="scope-name"),
        element(
            "div",
            _card("Quality against latency", tradeoff(scope, looks)),
            _card("Ratings", forest(scope, looks)),
            class_="two",
        ),
        _card("Quality", measures_table(scope, looks)),
        _card("Latency", latency_table(scope, looks)) if scope.latencies else Markup(),
        _card("Who beats whom", wins_table(scope, looks)),
        class_="scope",
        data_scope=str(at),
        aria_label=scope.name,
    )


def _card(title: str, *inside: Markup) -> Markup:
    return element("div", element("h3", title), *inside, class_="card")


def _section(name: str, title: str, *inside: Markup) -> Markup:
    return element("section", element("h2", title), element("div", *inside, class_="card"), id=name)


def _bars_title(scopes: Sequence[Scope]) -> str:
    return "Every measure" if len(scopes) == 1 else f"{scopes[0].measure} by collection"


def _policy(script: str) -> str:
    """Let this one script run, and nothing be fetched: whatever a text tries, the browser refuses it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = ("default-src 'none'", f"script-src 'sha256-{digest}'", "style-src 'unsafe-inline'", "base-uri 'none'")
    return "; ".join((*rules, "form-action 'none'"))


def _script() -> str:
    return f'"use strict";\n{together(*(Markup(_read(name)) for name in _SCRIPTS))}'


@cache
def _read(name: str) -> str:
    return files("resift.evaluation.report").joinpath(name).read_text(encoding="utf-8")
