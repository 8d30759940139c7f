"""Asking a ranker the queries of a collection: one after the other to see how long it takes, or all together."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from resift.errors import ScoringFailed
from resift.evaluation.runs import Listing
from resift.soundness import sound_scores
from resift.types import Document, Ranker, Ranking


@dataclass(frozen=True, slots=True)
class Question:
    """A query with the documents to put in order."""

    query: str
    """Its id."""

    text: str = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)
    documents: Sequence[Document] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a ranker made of a question."""

    query: str
    listing: Listing
    left_out: int = 0
    """How many documents it has no place for."""

    truncated: int = 0
    tokens: int | None = None
    begins_s: float = 0.0
    """When it was asked, counted from the beginning of the session."""

    takes_s: float | None = None
    """None where it was asked together with others."""


def warm_up(ranker: Ranker, questions: Iterable[Question], times: int) -> None:
    """Ask without looking at the answers, so that what is done only once is not timed."""
    for question in islice(questions, times):
        ranker.rank(question.text, question.documents)


def ask_each(ranker: Ranker, questions: Iterable[Question], *, concurrency: int) -> Iterator[Answer]:
    """Ask so many questions at a time, each as soon as another is answered; yield the answers as they come."""
    started = time.perf_counter()

    def ask(question: Question) -> Answer:
        begins = time.perf_counter()
        ranking = ranker.rank(question.text, question.documents)
        return _answer(question, ranking, begins_s=begins - started, takes_s=time.perf_counter() - begins)

    return map(ask, questions) if concurrency == 1 else _at_once(ask, questions, concurrency)


def ask_together(ranker: Ranker, questions: Sequence[Question]) -> Iterator[Answer]:
    """Ask all questions at once, so that a model's batches are full; yield the answers in order."""
    answered = 0
    rankings = ranker.rank_many((question.text, question.documents) for question in questions)
    for question, ranking in zip(questions, rankings, strict=False):
        yield _answer(question, ranking)
        answered += 1
    if answered < len(questions):
        raise ScoringFailed(f"{ranker.model!r} ranked {answered} of {len(questions)} queries")


def _at_once(ask: Callable[[Question], Answer], questions: Iterable[Question], concurrency: int) -> Iterator[Answer]:
    waiting = deque(questions)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="resift-evaluation") as pool:
        under_way: set[Future[Answer]] = set()
        while waiting or under_way:
            while waiting and len(under_way) < concurrency:
                under_way.add(pool.submit(ask, waiting.popleft()))
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            # Good answers first: they are kept even where another one of the same moment is an error.
            for future in sorted(done, key=lambda future: future.exception() is not None):
                yield future.result()


def _answer(question: Question, ranking: Ranking, *, begins_s: float = 0.0, takes_s: float | None = None) -> Answer:
    scores = sound_scores(ranking, len(question.ids), of=f" of the query {question.query!r}")
    return Answer(
        question.query,
        Listing.by_score([question.ids[index] for index in scores], scores.values()),
        left_out=len(question.ids) - len(scores),
        truncated=ranking.truncated,
        tokens=None if ranking.usage is None else ranking.usage.tokens,
        begins_s=begins_s,
        takes_s=takes_s,
    )
