"""Letting contestants answer the questions of a collection, each answer written down at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from resift.evaluation.asking import Answer, Question, ask_each, ask_together, warm_up
from resift.evaluation.environment import environment
from resift.evaluation.journal import Journal
from resift.evaluation.latency import Latency, Timing, summarise
from resift.evaluation.memory import forget_peak, peak
from resift.evaluation.record import Protocol
from resift.evaluation.runs import Run
from resift.types import Ranker


@dataclass(frozen=True, slots=True)
class Performance:
    """What a ranker answered, and how it went."""

    run: Run
    left_out: int
    truncated: int
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class Contest:
    """How rankers are asked."""

    protocol: Protocol
    advance: Callable[[], None]
    """Says that one more question is answered."""

    @property
    def untimed(self) -> "Contest":
        """The same for a ranker whose time nobody asks for."""
        return replace(self, protocol=replace(self.protocol, timed=False))

    def perform(
        self, name: str, ranker: Ranker, questions: Sequence[Question], *, journal: Journal, depth: int | None = None
    ) -> Performance:
        """Ask what was not answered before; keep so many documents of each answer."""
        left = self._left(questions, journal)
        if left:
            with closing(journal), _naming(name):
                self._ask(ranker, left, journal, depth=depth)
        answers = journal.answers
        kept = [answers[question.query] for question in questions]
        return Performance(
            Run(name, {answer.query: answer.listing for answer in kept}),
            left_out=sum(answer.left_out for answer in kept),
            truncated=sum(answer.truncated for answer in kept),
            latency=self._latency(journal),
        )

    def _left(self, questions: Sequence[Question], journal: Journal) -> list[Question]:
        known = journal.answers
        left = [question for question in questions if question.query not in known]
        for _ in range(len(questions) - len(left)):
            self.advance()
        return left

    def _ask(self, ranker: Ranker, questions: Sequence[Question], journal: Journal, *, depth: int | None) -> None:
        protocol = self.protocol
        if protocol.timed:
            warm_up(ranker, questions, protocol.warm_up)
        forgotten = forget_peak()
        journal.begin(self._conditions())
        for answer in self._answers(ranker, questions):
            kept = answer if depth is None else replace(answer, listing=answer.listing.top(depth))
            journal.note(kept)
            self.advance()
        journal.end(peak=peak(since=forgotten))

    def _answers(self, ranker: Ranker, questions: Sequence[Question]) -> Iterator[Answer]:
        if self.protocol.timed:
            return ask_each(ranker, questions, concurrency=self.protocol.concurrency)
        return ask_together(ranker, questions)

    def _conditions(self) -> dict[str, object]:
        timed = self.protocol.timed
        return {"environment": environment(), "concurrency": self.protocol.concurrency if timed else None}

    def _latency(self, journal: Journal) -> Latency | None:
        """Sum up the longest session under today's conditions: times of different sessions are not to be mixed."""
        here = self._conditions()
        alike = [session for session in journal.sessions if session.conditions == here and session.answers]
        if not self.protocol.timed or not alike:
            return None
        session = max(alike, key=lambda session: len(session.answers))
        timings = [
            Timing(answer.begins_s, answer.takes_s, len(answer.listing) + answer.left_out, answer.tokens)
            for answer in session.answers.values()
            if answer.takes_s is not None  # they all are: sessions that were not timed have other conditions
        ]
        return summarise(timings, concurrency=self.protocol.concurrency, peak=session.peak)


@contextmanager
def _naming(contestant: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"while {contestant!r} was asked; what it answered before is kept where there is a directory")
        raise
