"""What a reader has to know beside the figures: what to beware of, and how all of it was measured."""

from collections.abc import Iterable, Mapping, Sequence

from resift.evaluation.record import Contestant, Record
from resift.evaluation.report.markup import Markup, element, together
from resift.evaluation.report.palette import looks_of, swatch
from resift.evaluation.report.wording import count

_COUNTS = ("queries", "documents", "judgements", "pairs")


def cautions(record: Record) -> Markup:
    """Return the warnings of the evaluation; nothing where there are none."""
    if not record.warnings:
        return Markup()
    items = [element("li", warning) for warning in record.warnings]
    return element("aside", element("h2", "Beware"), element("ul", *items), class_="cautions")


def particulars(record: Record) -> Markup:
    """Return the contestants, the collections, how it was measured, and where."""
    return together(
        _contestants(record),
        _table(
            "Collections",
            (*_COUNTS, "first stage"),
            {
                name: (*map(count, (len(one.queries), one.documents, one.judgements, one.pairs)), one.first_stage)
                for name, one in record.collections.items()
            },
        ),
        element(
            "div", _facts("How it was measured", _protocol(record)), _facts("Where", record.environment), class_="two"
        ),
    )


def _contestants(record: Record) -> Markup:
    looks = looks_of(record.contestants)
    titles = ("contestant", "model", "kind", "runs on", "reads", "its scores depend on")
    rows = [
        element("tr", element("th", swatch(looks[name]), name, scope="row"), *_contestant(one))
        for name, one in record.contestants.items()
    ]
    return _scrolled("Contestants", titles, rows)


def _contestant(one: Contestant) -> Iterable[Markup]:
    yield element("td", one.model)
    yield element("td", one.kind)
    yield element("td", one.runs_on or "–")  # noqa: RUF001 - a dash
    yield element("td", "–" if one.max_length is None else f"{count(one.max_length)} tokens")  # noqa: RUF001 - a dash
    yield element("td", _identity(one.identity) if one.identity else "it does not say", class_="identity")


def _identity(identity: str) -> Markup:
    return element("details", element("summary", "all settings"), element("code", identity))


def _table(caption: str, heads: Iterable[str], rows: Mapping[str, Sequence[str]]) -> Markup:
    body = []
    for name, cells in rows.items():
        *counts, last = cells
        told = (*(element("td", cell, class_="n") for cell in counts), element("td", last))
        body.append(element("tr", element("th", name, scope="row"), *told))
    return _scrolled(caption, ("collection", *heads), body)


def _scrolled(caption: str, heads: Iterable[str], rows: Iterable[Markup]) -> Markup:
    titles = element(
        "tr", *(element("th", head, scope="col", class_="n" if head in _COUNTS else None) for head in heads)
    )
    table = element("table", element("caption", caption), element("thead", titles), element("tbody", *rows))
    return element("div", table, class_="scroll")


def _facts(title: str, facts: Mapping[str, str]) -> Markup:
    pairs = [together(element("dt", name), element("dd", value)) for name, value in facts.items()]
    return element("section", element("h3", title), element("dl", *pairs))


def _protocol(record: Record) -> dict[str, str]:
    protocol = record.protocol
    asked = f"{protocol.concurrency} at one time, after {protocol.warm_up} that do not count"
    return {
        "measures": ", ".join(protocol.measures),
        "first stage": protocol.first_stage,
        "depth": f"the best {protocol.depth} documents of each list",
        "relevant": f"from grade {protocol.relevant_from}, where a measure knows no grades",
        "queries": asked if protocol.timed else "all together, nothing timed",
        "compared with": protocol.baseline or "each with each",
        "ties": "each measure is its mean over all orders of documents with equal scores",
        "intervals": f"95 %, from {count(protocol.resamples)} sets of queries drawn anew",
        "p": f"Fisher's randomisation, {count(protocol.flips)} rounds, with Holm's correction",
        "ratings": f"Bradley-Terry on Elo's scale, first stage 1500; a lead of up to {protocol.draw_within} is a draw",
        "seed": str(protocol.seed),
    }
