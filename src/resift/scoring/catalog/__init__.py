"""
The catalogue: what the authors of well-known models decided that no file of theirs says.

One row per model. A model without a row is recognised by its files; a copy or a fine-tune of a model that has one is
read as that row when `like=` names it.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from resift.errors import InvalidInput
from resift.scoring.catalog.embeddings import EMBEDDINGS
from resift.scoring.catalog.heads import HEADED
from resift.scoring.catalog.late import LATE
from resift.scoring.catalog.listwise import LISTWISE
from resift.scoring.catalog.pairs import PAIRS
from resift.scoring.catalog.prompts import PROMPTED
from resift.scoring.catalog.rows import Row
from resift.scoring.facts import FACTS, NON_COMMERCIAL, Facts
from resift.settings import hint

Value = TypeVar("Value")

ROWS: dict[str, Row] = {**PAIRS, **PROMPTED, **HEADED, **EMBEDDINGS, **LATE, **LISTWISE}

# Models that are well known and cannot be read by what is built here, with what to do instead.
UNSUITABLE: dict[str, str] = {
    "jinaai/jina-colbert-v2": "it counts positions by rotations, by code of its own",
    "BAAI/bge-reranker-v2.5-gemma2-lightweight": "it leaves out tokens and layers on its way, by code of its own",
}


_CACHED = re.compile(r"models--(?P<owner>[^/\\]+?)--(?P<name>[^/\\]+)")


def find_row(model: str) -> Row | None:
    """Return the row of a model: by its id in any case, by its folder in the hub's cache, or of a copy by its name."""
    return _look_up(ROWS, model)


def find_facts(model: str) -> Facts | None:
    """Return what is known of a model by its name."""
    return _look_up(FACTS, model)


def why_unsuitable(model: str) -> str | None:
    """Return why a well-known model cannot be run here."""
    return _look_up(UNSUITABLE, model)


def restrictive_licence(model: str) -> str | None:
    """Return the licence of a model that must not be used commercially."""
    return _look_up(NON_COMMERCIAL, model)


def _look_up(table: Mapping[str, Value], model: str) -> Value | None:
    cached = _CACHED.search(model)
    wanted = (f"{cached['owner']}/{cached['name']}" if cached else model).casefold().rstrip("/\\")
    own_name = re.split(r"[/\\]", wanted)[-1].removesuffix("-onnx")
    for name, value in table.items():
        # a folder or repository that is called as the model, with or without -ONNX, is taken for a copy of it
        if name.casefold() == wanted or name.casefold().partition("/")[2] == own_name:
            return value
    return None


def row_of(name: str) -> Row:
    """Return the row of a model that the catalogue must know, because a caller named it as `like`."""
    row = find_row(name)
    if row is None:
        meant = hint(name, ROWS, otherwise="it knows", cutoff=0.5)
        raise InvalidInput(f"like={name!r} is no row of the catalogue; {meant}")
    return row
