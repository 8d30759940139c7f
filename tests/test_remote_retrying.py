"""Whether, when and how often a request is tried again."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resift.remote.retrying import LONGEST_PAUSE_S, Outcome, RetryBudget, pause, read_outcome, retry_after

NOW = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT


def _most() -> float:
    return 0.999999


def _pause(status: int | None, *, attempt: int = 1, max_retries: int = 2, **known: float | bool) -> float | None:
    advice, left = known.get("advice_s"), known.get("time_left_s", float("inf"))
    outcome = Outcome(status, advice, hopeless=bool(known.get("hopeless")))
    return pause(outcome, attempt=attempt, max_retries=max_retries, random=_most, time_left_s=left)


# C23


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "1000000000"}, 1e9),
        ({"Retry-After": "Mon, 21 Sep 2026 14:13:27 GMT"}, 7.0),
        ({"Retry-After": "Mon, 21 Sep 2026 16:13:27 +0200"}, 7.0),
        ({"Retry-After": "Mon, 21 Sep 2026 14:13:27 GMT", "Date": "Mon, 21 Sep 2026 14:13:25 GMT"}, 2.0),
        ({"Retry-After": "Mon, 21 Sep 2026 14:13:27 GMT", "Date": "soon"}, 7.0),
        ({"Retry-After": "Mon, 21 Sep 2026 14:13:19 GMT"}, None),
        ({"Retry-After-Ms": "250"}, 0.25),
        ({"Retry-After-Ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After-Ms": "soon", "Retry-After": "7"}, 7.0),
        ({"X-RateLimit-Reset": "7"}, 7.0),
        ({"X-RateLimit-Reset": "1790000007"}, 7.0),
        ({"X-RateLimit-Reset": "1790000007000"}, 7.0),
        ({"X-RateLimit-Reset": "1789999999"}, None),
        ({"RateLimit-Reset": "7"}, 7.0),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "6.5s"}, 6.5),
        ({"x-ratelimit-reset-requests": "1h2m3s4ms"}, 3723.004),
        ({"Retry-After": "3", "X-RateLimit-Reset": "7"}, 3.0),
        ({"Retry-After": "soon", "X-RateLimit-Reset": "7"}, 7.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "\u0667"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Mon, 99 Foo 2026 25:61:61 GMT"}, None),
        ({"X-RateLimit-Reset": "later"}, None),
        ({"X-RateLimit-Reset": ""}, None),
        ({}, None),
    ],
)
def test_c23_advice_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, dates, milliseconds and the resets of rate limits are understood; nonsense is no advice."""
    assert retry_after(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_c23_a_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the client stands does not move the endpoint's clock."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after({"Retry-After": "Mon, 21 Sep 2026 14:13:27 -0000"}, NOW) == 7.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(max_size=40), st.sampled_from(["Retry-After", "Retry-After-Ms", "X-RateLimit-Reset", "Date"]))
@example("Mon, 21 Sep 10000 14:13:27 GMT", "Retry-After")
@example("Mon, 21 Sep 0000 00:00:00 -9999", "Retry-After")
def test_c23_any_header_is_advice_or_none(said: str, name: str) -> None:
    """No header makes its reader fail, and no advice is below 0."""
    seconds = retry_after({"Retry-After": "Mon, 21 Sep 2026 14:13:27 GMT"} | {name: said}, NOW)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(("advice", "least"), [(7.0, 7.0), (0.0, 0.0), (1e9, LONGEST_PAUSE_S), (0.25, 0.25)])
def test_c23_advice_is_followed_clamped_and_spread(advice: float, least: float) -> None:
    """The endpoint's time is waited for, 30 s at most, and callers do not all come back at once."""
    assert pause(Outcome(429, advice), attempt=1, max_retries=2, random=lambda: 0.0) == least
    longest = _pause(429, advice_s=advice)
    assert longest is not None
    assert least < longest <= least + 0.5


def test_c23_a_pause_that_ends_behind_the_deadline_is_not_begun() -> None:
    """Who could not try again in time gives up at once."""
    assert _pause(429, advice_s=7.0, time_left_s=7.0) is None
    assert _pause(429, advice_s=7.0, time_left_s=8.0) is not None
    assert _pause(503, time_left_s=0.001) is None


def test_c23_the_reset_of_a_limit_counts_only_where_it_is_reached() -> None:
    """A 502 with the usual headers about limits is not waited out as if it were one."""
    headers = {"X-RateLimit-Reset": "25"}

    assert read_outcome(429, headers, b"", now=NOW).advice_s == 25.0
    assert read_outcome(502, headers, b"", now=NOW).advice_s is None
    assert read_outcome(503, {"Retry-After": "3"} | headers, b"", now=NOW).advice_s == 3.0


# C24


@pytest.mark.parametrize("status", [None, 408, 429, 502, 503, 504, 520, 522, 524, 529])
def test_c24_c26_what_may_pass_is_tried_again(status: int | None) -> None:
    """Load, gateways, timeouts and lost connections are retried as often as allowed, and no more."""
    waits = [_pause(status, attempt=attempt) for attempt in (1, 2, 3)]

    assert [wait is not None for wait in waits] == [True, True, False]
    assert _pause(status, max_retries=0) is None
    assert _pause(status, attempt=5, max_retries=5) is not None


def test_c24_pauses_grow_and_are_drawn_from_their_whole_window() -> None:
    """Full jitter: anything from 0 to a window that doubles, up to 8 s."""
    windows = [_pause(503, attempt=attempt, max_retries=99) for attempt in (1, 2, 3, 4, 5, 6, 50)]

    assert windows == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0], rel=1e-4)
    assert pause(Outcome(503), attempt=3, max_retries=9, random=lambda: 0.0) == 0.0
    assert pause(Outcome(503), attempt=3, max_retries=9, random=lambda: 0.5) == 1.0


def test_c24_a_pause_is_a_pure_decision() -> None:
    """The same outcome and the same dice give the same pause."""
    assert _pause(503, attempt=2) == _pause(503, attempt=2)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 409, 413, 422, 424, 501, 505])
def test_c21_c22_what_will_not_pass_is_asked_once(status: int) -> None:
    """A refusal is an answer."""
    assert _pause(status) is None
    assert _pause(status, advice_s=1.0) is None


# C25


@pytest.mark.parametrize("status", [500, 507, 599])
def test_c25_an_internal_error_is_tried_once_more(status: int) -> None:
    """A 500 may be an accident; two are none."""
    assert _pause(status, attempt=1) is not None
    assert _pause(status, attempt=2) is None
    assert _pause(status, attempt=1, max_retries=0) is None


@pytest.mark.parametrize(
    ("status", "body", "again"),
    [
        (500, b'{"error":{"code":500,"message":"input is too large to process"}}', False),
        (500, b"1 validation error for RerankRequest", False),
        (500, b'{"error":{"message":"[json.exception.parse_error.101] parse error"}}', False),
        (500, b'{"error":{"message":"CUDA out of memory"}}', True),
        (500, b"", True),
        (503, b'{"message":"input is too large to process"}', True),
        (429, b'{"message":"too many tokens"}', True),
    ],
)
def test_c25_a_500_that_blames_the_input_is_not_sent_again(status: int, body: bytes, again: bool) -> None:  # noqa: FBT001
    """What the server says about the request decides, where its status lies."""
    outcome = read_outcome(status, {}, body, now=NOW)

    assert (pause(outcome, attempt=1, max_retries=2, random=_most) is not None) is again


@pytest.mark.parametrize(("said", "again"), [("false", False), ("False", False), ("true", True), ("", True)])
def test_c25_an_endpoint_may_forbid_another_try(said: str, again: bool) -> None:  # noqa: FBT001
    """`x-should-retry: false` is believed."""
    outcome = read_outcome(503, {"X-Should-Retry": said}, b"", now=NOW)

    assert (pause(outcome, attempt=1, max_retries=2, random=_most) is not None) is again


# C28


def _outage(budget: RetryBudget, *, requests: int, max_retries: int) -> int:
    """Count the retries of requests that all fail."""
    retries = 0
    for _ in range(requests):
        budget.earn()
        for _ in range(max_retries):
            if not budget.spend():
                break
            retries += 1
    return retries


@pytest.mark.parametrize("max_retries", [2, 9])
def test_c28_in_an_outage_retries_stay_a_small_share(max_retries: int) -> None:
    """When nothing is answered, a client asks hardly more than without any retries."""
    assert _outage(RetryBudget(), requests=1000, max_retries=max_retries) <= 0.12 * 1000
    assert _outage(RetryBudget(), requests=100, max_retries=max_retries) <= 0.2 * 100


def test_c28_a_single_call_may_retry() -> None:
    """The budget does not take the first few calls their retries."""
    assert _outage(RetryBudget(), requests=4, max_retries=2) == 8


def test_c28_retries_that_help_cost_nothing() -> None:
    """An endpoint that answers at the second try, as one with a rate limit does, is served for ever."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.earn()
        assert budget.spend()
        budget.give_back()


def test_c28_a_budget_comes_back_with_traffic() -> None:
    """After an outage, requests that are made earn new retries, up to where the budget began."""
    budget = RetryBudget(capacity=3.0, earned=0.5)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_c28_threads_share_one_budget() -> None:
    """Many threads together spend no more than there is."""
    budget, ready = RetryBudget(capacity=50.0), threading.Barrier(8)

    def spend_all(spend: Callable[[], bool]) -> int:
        ready.wait(timeout=30)
        return sum(spend() for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend_all, [budget.spend] * 8)) == 50
