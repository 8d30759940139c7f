"""How fast a ranker is on made-up text: how long it takes to open, a short list, a long one, many callers at once."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resift.amounts import seconds as positive_seconds
from resift.amounts import whole
from resift.evaluation.asking import Answer, Question, ask_each, warm_up
from resift.evaluation.environment import Environment, environment
from resift.evaluation.latency import Latency, Timing, summarise
from resift.evaluation.memory import forget_peak, peak
from resift.local import place_of
from resift.types import Ranker

# How many tokens they make matters, not what they say.
_TEXT = (
    "a about after all also an and any are as at bamboo bear because been before between black body both but by can "
    "china city come could day do each eat even every family find first food forest found from giant give good great "
    "grow had has have high house how if in into is it its just know land large last leaf life like little live long "
    "made make many may more most mountain much must name near new night no not now number of old on one only or other "
    "our out over own panda part people place plant river same school sea see seem she should show sleep small so some "
    "state still story such take than that the their them then there they thing this time to tree two under until up "
    "use very was water way we well what when where which while who will winter with word work world would year young"
)
_WORDS = _TEXT.split()
_SPREAD = 0.6  # documents' lengths are log-normal, as those of passages are
_QUERY_WORDS = 9
_LEAST, _MOST = 10, 1000  # how many queries are timed
_KINDS = 16  # how many different queries there are, so that no cache makes it look faster than it is


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: queries with so many documents each, by so many callers at once."""

    documents: int
    callers: int = 1

    def __post_init__(self) -> None:
        whole("documents", self.documents)
        whole("callers", self.callers)

    def __str__(self) -> str:
        crowd = f", {self.callers} callers" if self.callers > 1 else ""
        return f"{self.documents} documents{crowd}"


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured."""

    model: str
    runs_on: str | None
    """Which backend ran it, on which device and in which number format; None for what no model here does."""

    opened_s: float
    """How long it took until the ranker was there, its libraries imported and its weights read."""

    first_s: float
    """How long the first query took, with the documents of the first load."""

    latencies: dict[str, Latency]
    """By load."""

    environment: Environment


def measure_speed(
    open_ranker: Callable[[], Ranker], loads: Sequence[Load], *, words: int = 90, seconds: float = 5.0, seed: int = 0
) -> Speed:
    """
    Open a ranker, put it under each load for some seconds, and close it.

    Documents are common English words in no order, log-normal in length with a median of so many words.
    """
    whole("words", words)
    positive_seconds("seconds", seconds)
    started = time.perf_counter()
    with open_ranker() as ranker:
        opened = time.perf_counter() - started
        first = _time_one(ranker, _questions(loads[0], words, seed))
        latencies = {
            str(load): _measure(ranker, load, _questions(load, words, seed), seconds=seconds) for load in loads
        }
        return Speed(ranker.model, place_of(ranker), opened, first, latencies, environment())


def _measure(ranker: Ranker, load: Load, questions: Sequence[Question], *, seconds: float) -> Latency:
    warm_up(ranker, questions, 2)
    wanted = round(load.callers * seconds / max(_time_one(ranker, questions), 1e-6))
    count = min(max(wanted, _LEAST, 2 * load.callers), _MOST)
    asked = [questions[at % len(questions)] for at in range(count)]
    forgotten = forget_peak()
    answers = list(_in_time(ask_each(ranker, asked, concurrency=load.callers), seconds))
    timings = [
        Timing(answer.begins_s, answer.takes_s, load.documents, answer.tokens)
        for answer in answers
        if answer.takes_s is not None  # they all are: each was asked by itself
    ]
    return summarise(timings, concurrency=load.callers, peak=peak(since=forgotten))


def _in_time(answers: Iterator[Answer], seconds: float) -> Iterator[Answer]:
    """Yield answers until the time is over; a few more where they are slow."""
    ends = time.perf_counter() + seconds
    for at, answer in enumerate(answers, start=1):
        yield answer
        if at >= _LEAST and time.perf_counter() > ends:
            return


def _time_one(ranker: Ranker, questions: Sequence[Question]) -> float:
    started = time.perf_counter()
    ranker.rank(questions[0].text, questions[0].documents)
    return time.perf_counter() - started


def _questions(load: Load, words: int, seed: int) -> list[Question]:
    rng = np.random.default_rng(seed)
    return [_question(f"query {at}", load.documents, words, rng=rng) for at in range(_KINDS)]


def _question(name: str, documents: int, words: int, *, rng: np.random.Generator) -> Question:
    lengths = np.maximum(rng.lognormal(np.log(words), _SPREAD, documents), 1).astype(int)
    texts = [" ".join(rng.choice(_WORDS, length)) + "." for length in lengths]
    return Question(name, " ".join(rng.choice(_WORDS, _QUERY_WORDS)) + "?", tuple(map(str, range(documents))), texts)
