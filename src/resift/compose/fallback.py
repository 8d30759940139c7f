"""A ranker that answers when another cannot."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, TypeVar

from resift.amounts import seconds
from resift.compose.asking import Call, Work
from resift.compose.wrapping import (
    Answer,
    ComposedRanker,
    ask_ranking,
    ask_scores,
    may_be_listwise,
    require_rankers,
    told,
)
from resift.errors import (
    DeadlineExceeded,
    EndpointMisbehaved,
    EndpointUnavailable,
    InvalidInput,
    Overloaded,
    ResiftError,
    ScoringFailed,
)
from resift.types import Ranker, Ranking

logger = logging.getLogger("resift")

T = TypeVar("T")
Errors = tuple[type[ResiftError], ...]

OUTAGES: Errors = (EndpointUnavailable, EndpointMisbehaved, DeadlineExceeded, Overloaded, ScoringFailed)
"""What another ranker may well do better; what it would not, such as a call that cannot mean anything, is not here."""

REST_S = 5.0
_ABSENCES: Errors = (EndpointUnavailable, DeadlineExceeded)
"""What costs time to find out: retries, or the whole `timeout_s`."""

_ABSENCES_BEFORE_REST = 2  # one alone may be bad luck, and is no reason to send everybody else to a stand-in


def fallback(
    first: Ranker, second: Ranker, *more: Ranker, on: Errors = OUTAGES, rest_s: float = REST_S
) -> ComposedRanker:
    """
    Return a ranker that answers as `first` does; when that fails, as `second` does, and so on.

    A ranker that was unavailable or too late twice in a row rests: for `rest_s` seconds it is asked after the others,
    so that an endpoint that is down does not cost every call its timeout. Then one call tries whether it is back.

    A ranking is the answering ranker's own, so `Ranking.model` says who answered, and its scores are on that ranker's
    scale: a `threshold` is applied to the scores of whoever answers. Give all of them `normalize=True`, or rank by
    `top_n`, where that matters. An instruction goes to `first` and to those of the others that take one. Each failure
    is a warning in the log. When all fail, the last error is raised, from the first.

    Args:
        first: the ranker that is meant to answer.
        second: the ranker that answers when `first` fails.
        more: others to ask after those, in this order.
        on: the errors that count as failing. `InvalidInput` never does: it would be as wrong the second time.
        rest_s: how long a ranker that is down rests; 0 to ask it first every time.

    Raises:
        InvalidInput: a ranker that is none, an `on` that is no tuple of resift's errors, a `rest_s` below 0.

    >>> import resift
    >>> ranker = fallback(resift.load(), resift.load())
    >>> ranker.rank("what is a panda?", ["Paris is in France.", "The panda is a bear."]).model
    'lexical'
    """
    require_rankers("fallback", first, second, *more)
    _require_errors(on)
    seconds("rest_s", rest_s, may_be_0=True, advice="0 is no rest")
    return ComposedRanker(Fallback((first, second, *more), on, rest_s))


def _require_errors(on: object) -> None:
    if not isinstance(on, tuple) or not on or not all(isinstance(kind, type) for kind in on):
        raise InvalidInput(f"on must be a tuple of error types, such as (EndpointUnavailable,), not {on!r}")
    for kind in on:
        if not issubclass(kind, ResiftError):
            raise InvalidInput(f"on must hold types of ResiftError, not {kind.__name__}; other errors are not caught")
        if issubclass(kind, InvalidInput):
            raise InvalidInput("on must not hold InvalidInput: what is wrong for one ranker is wrong for the next")


class _Rest:
    """
    Whether a ranker rests. Any number of threads may use one at once.

    There is no lock: the worst that a race does is that two calls, not one, try whether a ranker is back.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._absences = 0
        self._ends = 0.0

    @property
    def is_on(self) -> bool:
        """Whether others are asked first."""
        return self._absences >= _ABSENCES_BEFORE_REST and time.monotonic() < self._ends

    def asked(self) -> None:
        """Note that the ranker is asked: where it was absent, nobody else tries until that call knows more."""
        self._ends = time.monotonic() + self._seconds

    def missed(self) -> bool:
        """Note that it was absent, and return whether it rests now."""
        self._absences += 1
        self._ends = time.monotonic() + self._seconds
        return self.is_on

    def met(self) -> bool:
        """Note that it answered, and return whether it had to rest before."""
        rested = self._seconds > 0 and self._absences >= _ABSENCES_BEFORE_REST
        self._absences = 0
        return rested


class Fallback:
    """How one ranker stands in for another."""

    def __init__(self, rankers: tuple[Ranker, ...], on: Errors, rest_s: float) -> None:
        self.rankers, self.on, self.rest_s = rankers, on, rest_s
        self._rests = [_Rest(rest_s) for _ in rankers]

    def __repr__(self) -> str:
        said = [repr(ranker) for ranker in self.rankers]
        if self.on != OUTAGES:
            said.append(f"on=({', '.join(kind.__name__ for kind in self.on)})")
        if self.rest_s != REST_S:
            said.append(f"rest_s={self.rest_s:g}")
        return f"fallback({', '.join(said)})"

    def __reduce__(self) -> tuple[type["Fallback"], tuple[tuple[Ranker, ...], Errors, float]]:
        return type(self), (self.rankers, self.on, self.rest_s)

    @property
    def meant(self) -> Ranker:
        """The first: what the others answer lasts no longer than its trouble."""
        return self.rankers[0]

    @property
    def model(self) -> str:
        """The name of the first one's model."""
        return self.meant.model

    @property
    def identity(self) -> str:
        """Each may answer."""
        return f"fallback({', '.join(told(ranker, 'identity') for ranker in self.rankers)})"

    @property
    def listwise(self) -> bool:
        """Whether any of them may be: each may answer."""
        return any(map(may_be_listwise, self.rankers))

    @property
    def takes_instruction(self) -> bool:
        """As the first one says, which always gets it."""
        return bool(told(self.meant, "takes_instruction"))

    @property
    def max_length(self) -> int | None:
        """As the first one says."""
        length: int | None = told(self.meant, "max_length")
        return length

    def rank(self, call: Call) -> Work[Answer[Ranking]]:
        """Return the ranking of the first that answers."""
        started = time.perf_counter()
        answer = yield from self._in_turn(ask_ranking, call)
        return replace(answer, value=replace(answer.value, elapsed_s=time.perf_counter() - started))

    def score(self, call: Call) -> Work[Answer[list[float]]]:
        """Return the scores of the first that answers."""
        return (yield from self._in_turn(ask_scores, call))

    def close(self) -> None:
        """Do nothing: a fallback holds nothing but its rankers."""

    def _in_turn(self, ask: "Callable[[Ranker, Call], Work[Answer[T]]]", call: Call) -> Work[Answer[T]]:
        failure: ResiftError | None = None
        line = self._line()
        try:
            for (ranker, rest), following in zip(line, (*line[1:], None), strict=True):
                rest.asked()
                try:
                    answer = yield from ask(ranker, self._told(ranker, call))
                except InvalidInput:
                    raise
                except self.on as error:
                    rests = isinstance(error, _ABSENCES) and rest.missed()
                    if following is None:
                        _raise_last(error, failure)
                    failure = failure or error
                    self._log(ranker, error, following[0], rests=rests)
                else:
                    if rest.met():
                        logger.info("%r answers again", ranker.model)
                    return replace(answer, lasting=answer.lasting and ranker is self.meant)
            raise AssertionError("a fallback without rankers. This is a bug.")
        finally:
            del failure  # with its traceback it would keep the documents alive

    def _line(self) -> list[tuple[Ranker, _Rest]]:
        """Return the rankers in the order in which they are asked: those that rest are the last resort."""
        line = zip(self.rankers, self._rests, strict=True)
        return sorted(line, key=lambda one: one[1].is_on)

    def _log(self, ranker: Ranker, error: ResiftError, following: Ranker, *, rests: bool) -> None:
        then = f", and {ranker.model!r} rests for {self.rest_s:g} s" if rests else ""
        kind = type(error).__name__
        logger.warning("%r gave no answer (%s); %r is asked instead%s", ranker.model, kind, following.model, then)

    def _told(self, ranker: Ranker, call: Call) -> Call:
        """Keep an instruction from those it means nothing to, so that an outage never becomes a wrong call."""
        if ranker is self.meant or getattr(ranker, "takes_instruction", True):
            return call
        return replace(call, instruction=None)


def _raise_last(error: ResiftError, first: ResiftError | None) -> NoReturn:
    if first is None or first is error:
        raise error
    raise error from first
