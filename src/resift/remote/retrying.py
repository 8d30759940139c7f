"""Whether and when a request is worth another try: a pure decision, and a budget that keeps an outage from growing."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from resift.forking import Lock
from resift.remote.refusals import BUSY, NEVER, blames_input, lowered

LONGEST_PAUSE_S = 30.0
_FIRST_S, _LAST_S = 0.5, 8.0  # the windows that a pause is drawn from


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try; `status` None means that no reply came."""

    status: int | None
    advice_s: float | None = None
    """How long the endpoint asks to be left alone."""

    hopeless: bool = False
    """Whether the endpoint said that this request will not be answered later either."""

    @property
    def rest_s(self) -> float:
        """How long the endpoint is to be left alone by everybody."""
        return min(self.advice_s or 0.0, LONGEST_PAUSE_S) if self.status in BUSY else 0.0


def read_outcome(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Outcome:
    """Return what an unsuccessful reply means for another try."""
    heads = lowered(headers)
    forbidden = heads.get("x-should-retry", "").strip().lower() == "false"
    blamed = status not in BUSY and blames_input(body)
    return Outcome(status, retry_after(headers, now, limited=status == 429), hopeless=forbidden or blamed)


def pause(
    outcome: Outcome,
    *,
    attempt: int,
    max_retries: int,
    random: Callable[[], float],
    time_left_s: float = math.inf,
) -> float | None:
    """
    Return how many seconds to wait before the next try, or None to give up.

    `attempt` counts the tries made so far, from 1. The pause is drawn from a window that doubles with each try; it
    comes on top of what the endpoint asks for, which counts for at most 30 s. A 500 is tried once more at most.
    """
    if outcome.hopeless or attempt > _retries(outcome.status, max_retries):
        return None
    window = min(_FIRST_S * 2.0 ** min(attempt - 1, 16), _LAST_S)
    wait = min(outcome.advice_s or 0.0, LONGEST_PAUSE_S) + window * random()
    return wait if wait < time_left_s else None


def _retries(status: int | None, max_retries: int) -> int:
    if status is None or status in BUSY:
        return max_retries
    return min(max_retries, 1) if status >= 500 and status not in NEVER else 0


class RetryBudget:
    """
    Tokens for retries, so that an endpoint in trouble is not asked three times as much as a healthy one.

    Each request earns a tenth of a token, each retry costs one, and a retry that was answered is given back. The
    bucket begins full, so that a few calls may retry at once. Any number of threads may use it.
    """

    def __init__(self, *, capacity: float = 10.0, earned: float = 0.1) -> None:
        self._capacity, self._earned = capacity, earned
        self._tokens = capacity
        self._lock = Lock()

    def earn(self) -> None:
        """Count one request that is made for the first time."""
        self._add(self._earned)

    def spend(self) -> bool:
        """Take a token for a retry; False if there is none."""
        with self._lock:
            if self._tokens < 1.0:
                return False
            self._tokens -= 1.0
            return True

    def give_back(self) -> None:
        """Return the token of a retry that was answered."""
        self._add(1.0)

    def _add(self, tokens: float) -> None:
        with self._lock:
            self._tokens = min(self._capacity, self._tokens + tokens)


_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_NUMBER = re.compile(r"\d{1,300}(?:\.\d{1,18})?", re.ASCII)
_RESETS = ("x-ratelimit-reset", "ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
_FIRST_MOMENT = 1e9  # seconds: a larger number is no span of time, but a moment since 1970
_FIRST_IN_MILLISECONDS = 1e12


def retry_after(headers: Mapping[str, str], now: float, *, limited: bool = True) -> float | None:
    """
    Return how many seconds the endpoint asks to be left alone, or None if it does not say or makes no sense.

    `now` is in seconds since 1970. Read are `retry-after-ms`, `retry-after` (seconds or a date), and, if the endpoint
    says that its limit is reached (`limited`), `x-ratelimit-reset` and its kin (seconds, a moment, or a span as in
    "1m30s"). A moment that has passed is no advice.
    """
    heads = {name: value.strip() for name, value in lowered(headers).items()}
    milliseconds = _number(heads.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    said = heads.get("retry-after", "")
    seconds = _number(said)
    if seconds is not None:
        return seconds
    moment = _date(said)
    if moment is not None:
        here = _date(heads.get("date", ""))  # the endpoint's clock, which may not be ours
        return _ahead(moment - (now if here is None else here))
    spans = [_reset(heads[name], now) for name in _RESETS if limited and name in heads]
    return max((span for span in spans if span is not None), default=None)


def _number(said: str) -> float | None:
    return float(said) if _NUMBER.fullmatch(said) else None


def _date(said: str) -> float | None:
    try:
        moment = parsedate_to_datetime(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset(said: str, now: float) -> float | None:
    number = _number(said)
    if number is not None:
        if number < _FIRST_MOMENT:
            return number
        return _ahead((number / 1000 if number >= _FIRST_IN_MILLISECONDS else number) - now)
    found = _SPAN.fullmatch(said) if said else None
    if found is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _ahead(seconds: float) -> float | None:
    return seconds if seconds >= 0 else None
