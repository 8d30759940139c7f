"""From the bytes of a successful reply to scores that can be trusted, or to the error that says why there are none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resift.errors import EndpointMisbehaved
from resift.remote.dialects import Dialect
from resift.remote.masking import MOST_READ, masked
from resift.remote.refusals import is_page, lowered, request_id_of
from resift.wire.faults import error_message
from resift.wire.shapes import dig
from resift.wire.strict_json import NotJson, read_json

_IN_ORDER = "scores"  # bare numbers are believed under this name only: elsewhere they may be the order of the documents
_LISTS = ("results", "data", "rankings", "output.results", "", _IN_ORDER)
_SCORES = ("relevance_score", "score", "logit", "relevanceScore")
_TOKENS = ("usage.total_tokens", "usage.prompt_tokens", "meta.tokens.input_tokens", "tokens.input_tokens")
_TOKENS_HEADER = "x-compute-tokens"
_MOST_TOKENS = 2**53
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint said about the texts of one request."""

    scores: Mapping[int, float]
    """By position in the request; positions that the endpoint left out are absent."""

    tokens: int | None = None
    """How many tokens it says it read, if it does."""


def read_reply(
    body: bytes,
    headers: Mapping[str, str],
    *,
    dialect: Dialect,
    count: int,
    secrets: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> Reply:
    """
    Return the scores of `count` texts from the body of a successful reply, or raise EndpointMisbehaved.

    Texts that the endpoint left out are absent. An index is a whole JSON number, a score a finite one; a number in
    quotes is refused, as are two results for one text. With `texts`, and `secrets`, which are masked, the error repeats
    what a reply says that has a message in place of results.
    """
    heads = lowered(headers)
    request_id: str | None = None
    try:
        request_id = request_id_of(heads, None)
        tree = read_json(body)
        request_id = request_id or request_id_of(heads, tree)
        return Reply(_scores(tree, dialect, count), _tokens(tree, heads, dialect))
    except NotJson as error:
        reason = "is empty" if not body.strip() else "is a web page" if is_page(body) else f"is no JSON: {error}"
    except _Wordy as error:
        reason = f"holds an error in place of results{_quoted(error.words, secrets, texts)}"
    except _Untrustworthy as error:
        reason = str(error)
    raise EndpointMisbehaved(f"the endpoint's reply {reason}", status=200, request_id=request_id)


class _Untrustworthy(Exception):
    """Why a reply cannot be trusted; quotes no text of it."""


class _Wordy(Exception):
    """A reply without results that says something."""

    def __init__(self, words: str) -> None:
        self.words = words


def _quoted(words: str, secrets: Sequence[str], texts: Sequence[str]) -> str:
    return ": " + masked(words, secrets=secrets, texts=texts) if texts else ""


def _scores(tree: Any, dialect: Dialect, count: int) -> dict[int, float]:
    place, results = _results(tree, dialect)
    if place == _IN_ORDER:
        return _scores_in_order(results, count)
    scores: dict[int, float] = {}
    names = tuple(filter(None, dict.fromkeys((dialect.shape.score, *_SCORES))))
    for number, result in enumerate(results):
        if not isinstance(result, Mapping):
            raise _Untrustworthy(f"has {_kind(result)} as result {number}, and not an object")
        index = _index(result, number, count)
        if index in scores:
            raise _Untrustworthy(f"has two results with the index {index}")
        given = next((result[name] for name in names if name in result), _MISSING)
        scores[index] = _score(given, f"for the index {index}")
    return scores


def _results(tree: Any, dialect: Dialect) -> tuple[str, list[Any]]:
    """Return the list of results and its place: the dialect's own, or one of those that are in use elsewhere."""
    for place in dict.fromkeys((dialect.shape.results, *_LISTS)):
        found = dig(tree, place)
        if isinstance(found, list):
            return place, found
    words = error_message(tree, longest=MOST_READ) if isinstance(tree, Mapping) else ""
    raise _Wordy(words) if words else _Untrustworthy("holds no list of results")


def _scores_in_order(found: list[Any], count: int) -> dict[int, float]:
    if len(found) != count:
        raise _Untrustworthy(f"holds {len(found)} scores for {count} documents")
    return {place: _score(score, f"in place {place}") for place, score in enumerate(found)}


def _index(result: Mapping[str, Any], number: int, count: int) -> int:
    index = result.get("index", _MISSING)
    if index is _MISSING:
        raise _Untrustworthy(f"has no index in result {number}")
    if isinstance(index, bool) or not isinstance(index, int):
        raise _Untrustworthy(f"has {_kind(index)} as the index of result {number}")
    if not 0 <= index < count:
        raise _Untrustworthy(f"has {_kind(index)} as the index of result {number}, and {count} documents were sent")
    return index


def _score(score: Any, where: str) -> float:
    if score is _MISSING:
        raise _Untrustworthy(f"has no score {where}")
    if not _is_number(score):
        raise _Untrustworthy(f"has {_kind(score)} as the score {where}")
    try:
        number = float(score)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Untrustworthy(f"has a number beyond all bounds as the score {where}")
    return number


def _tokens(tree: Any, heads: Mapping[str, str], dialect: Dialect) -> int | None:
    """Return a number of tokens wherever one stands: nice to know, and never needed."""
    places = (dialect.shape.tokens, *_TOKENS) if dialect.shape.tokens else _TOKENS
    for place in places:
        found = dig(tree, place)
        if _is_number(found) and 0 <= found < _MOST_TOKENS and found == int(found):
            return int(found)
    said = heads.get(_TOKENS_HEADER, "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 16 else None


def _kind(value: Any) -> str:
    """Name what `value` is; only numbers are shown."""
    if _is_number(value):
        return f"the number {value!r}" if abs(value) < 1e15 else "a very large number"
    kinds = ((bool, "true or false"), (str, "a string"), (list, "a list"), (dict, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _is_number(value: Any) -> bool:
    # to Python, true and false are numbers
    return isinstance(value, int | float) and not isinstance(value, bool)
