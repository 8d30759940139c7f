"""Which layout a path is in."""

import os
from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.collection import Collection
from resift.evaluation.collections.beir import read_beir
from resift.evaluation.collections.lines import find
from resift.evaluation.collections.mteb import read_mteb
from resift.evaluation.collections.positives import read_jsonl


def read_collection(
    path: str | os.PathLike[str], *, name: str | None = None, split: str = "test", subset: str | None = None
) -> Collection:
    """
    Read a collection in whichever layout it is: BEIR's folder, MTEB's folder, or lines of queries with positives.

    `split` and `subset` choose among those that a folder has. `read_beir`, `read_mteb` and `read_jsonl` read one layout
    each; `read_trec` puts files together.

    Raises:
        InvalidInput: nothing that can be read; the message says where and why.
    """
    place = Path(path)
    if place.is_file():
        return read_jsonl(place, name=name)
    if find(place, "corpus.jsonl") is not None:
        return read_beir(place, split=split, name=name)
    if (place / "corpus").is_dir():
        return read_mteb(place, subset=subset, split=split, name=name)
    if place.is_dir():
        raise InvalidInput(f"{place} has neither corpus.jsonl, as BEIR's folders, nor a folder corpus, as MTEB's")
    raise InvalidInput(f"there is no file or folder {str(path)!r}")
