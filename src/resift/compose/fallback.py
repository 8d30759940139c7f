"""A ranker that answers when another cannot."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

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


def fallback(first: Ranker, second: Ranker, *more: Ranker, on: Errors = OUTAGES) -> ComposedRanker:
    """
    Return a ranker that answers as `first` does; when that fails, as `second` does, and so on.

    A ranking is the answering ranker's own, so `Ranking.model` says who answered, and its scores are on that ranker's
    scale: a `threshold` is applied to the scores of whoever answers. Give all of them `normalize=True`, or rank by
    `top_n`, where that matters. An instruction goes to `first` and to those of the others that take one. Each failure
    is a warning in the log. When all fail, the last error is raised, from the first's.

    Args:
        first: the ranker that is meant to answer.
        second: the ranker that answers when `first` fails.
        more: others to ask after those, in this order.
        on: the errors that count as failing. `InvalidInput` never does: it would be as wrong the second time.

    Raises:
        InvalidInput: a ranker that is none, or an `on` that is no tuple of resift's errors.

    >>> import resift
    >>> ranker = fallback(resift.load(), resift.load())
    >>> ranker.rank("what is a panda?", ["Paris is in France.", "The panda is a bear."]).model
    'lexical'
    """
    require_rankers("fallback", first, second, *more)
    _require_errors(on)
    return ComposedRanker(Fallback((first, second, *more), on))


def _require_errors(on: object) -> None:
    if not isinstance(on, tuple) or not on or not all(isinstance(kind, type) for kind in on):
        raise InvalidInput(f"on must be a tuple of error types, such as (EndpointUnavailable,), not {on!r}")
    for kind in on:
        if not issubclass(kind, ResiftError):
            raise InvalidInput(f"on must hold types of ResiftError, not {kind.__name__}; other errors are not caught")
        if issubclass(kind, InvalidInput):
            raise InvalidInput("on must not hold InvalidInput: what is wrong for one ranker is wrong for the next")


@dataclass(frozen=True, slots=True, eq=False)
class Fallback:
    """How one ranker stands in for another."""

    rankers: tuple[Ranker, ...]
    on: Errors

    def __repr__(self) -> str:
        rankers = ", ".join(map(repr, self.rankers))
        if self.on == OUTAGES:
            return f"fallback({rankers})"
        return f"fallback({rankers}, on=({', '.join(kind.__name__ for kind in self.on)}))"

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
        try:
            for ranker, following in zip(self.rankers, (*self.rankers[1:], None), strict=True):
                try:
                    answer = yield from ask(ranker, self._told(ranker, call))
                except InvalidInput:
                    raise
                except self.on as error:
                    if following is None:
                        _raise_last(error, failure)
                    failure = failure or error
                    kind = type(error).__name__
                    logger.warning("%r gave no answer (%s); %r is asked instead", ranker.model, kind, following.model)
                else:
                    return replace(answer, lasting=answer.lasting and ranker is self.meant)
            raise AssertionError("a fallback without rankers. This is a bug.")
        finally:
            del failure  # with its traceback it would keep the documents alive

    def _told(self, ranker: Ranker, call: Call) -> Call:
        """Keep an instruction from those it means nothing to, so that an outage never becomes a wrong call."""
        if ranker is self.meant or getattr(ranker, "takes_instruction", True):
            return call
        return replace(call, instruction=None)


def _raise_last(error: ResiftError, first: ResiftError | None) -> NoReturn:
    if first is None or first is error:
        raise error
    raise error from first
