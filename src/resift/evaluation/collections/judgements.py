"""What judges said, from files of both kinds: BEIR's three columns, TREC's four."""

from pathlib import Path

from resift.errors import InvalidInput
from resift.evaluation.collection import Judgements
from resift.evaluation.collections.lines import read_columns


def read_judgements(path: Path) -> Judgements:
    """Read `query document grade`, with or without a line of titles, or `query 0 document grade`."""
    grades: dict[str, dict[str, int]] = {}
    for number, (place, columns) in enumerate(read_columns(path, 3, 4)):
        query, document, said = columns[0], columns[-2], columns[-1]
        if number == 0 and not _is_number(said):
            continue  # the titles of the columns
        add(grades, place, query=query, document=document, grade=_grade(said, place))
    if not grades:
        raise InvalidInput(f"{path} holds no judgements")
    return grades


def add(grades: dict[str, dict[str, int]], place: str, *, query: str, document: str, grade: int) -> None:
    """Note one judgement; the same one twice is one, two that differ are a mistake."""
    known = grades.setdefault(query, {}).setdefault(document, grade)
    if known != grade:
        raise InvalidInput(f"{place} grades {document!r} for {query!r} {grade}, but an earlier line says {known}")


def _grade(said: str, place: str) -> int:
    if _is_number(said) and float(said).is_integer():
        return int(float(said))
    raise InvalidInput(f"{place} has the grade {said!r}; a grade is a whole number")


def _is_number(said: str) -> bool:
    try:
        float(said)
    except ValueError:
        return False
    return True
