"""
Write the tables of benchmarks/results/ into the pages that show them.

    python benchmarks/tables.py [PAGE ...]

A page says where a table goes, and how long it may be; what stands between the two lines is replaced:

    <!-- figures: minilm-cpu -->
    <!-- end of figures -->

`<!-- figures: minilm-cpu, short -->` is one table with fewer columns. Without a page it is docs/performance.md
and README.md.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # a script sees only its own folder

from benchmarks.contest.cells import SHORT, WHOLE, markdown  # noqa: E402

PAGES = ROOT / "docs" / "performance.md", ROOT / "README.md"
RESULTS = HERE / "results"
BLOCK = re.compile(
    r"(?P<begin><!-- figures: (?P<run>[a-z0-9-]+)(?P<short>, short)? -->\n).*?(?P<end><!-- end of figures -->)",
    re.DOTALL,
)


def main() -> None:
    """Write the tables of the pages that are named, or of the project's own."""
    for page in [Path(name) for name in sys.argv[1:]] or PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_tables(text), encoding="utf-8")
        print(f"{page}: {len(BLOCK.findall(text))} tables")


def with_tables(page: str, results: Path = RESULTS) -> str:
    """Return a page with the table of each run in the places that are kept for it."""
    return BLOCK.sub(lambda block: f"{block['begin']}\n{_table(block, results)}\n\n{block['end']}", page)


def _table(block: re.Match[str], results: Path) -> str:
    path = results / f"{block['run']}.json"
    if not path.is_file():
        return f"Not measured yet: `{block['run']}`."
    return markdown(json.loads(path.read_text(encoding="utf-8")), SHORT if block["short"] else WHOLE)


if __name__ == "__main__":
    main()
