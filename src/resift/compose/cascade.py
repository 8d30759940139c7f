"""A cheap ranker chooses what a strong one reads."""

import time
from dataclasses import dataclass, replace

from resift.amounts import whole
from resift.compose.asking import Call, Work
from resift.compose.wrapping import (
    Answer,
    ComposedRanker,
    ask_ranking,
    ask_scores,
    require_rankers,
    told,
)
from resift.types import Cut, Ranked, Ranker, Ranking, Usage


def cascade(cheap: Ranker, strong: Ranker, *, keep: int = 50) -> ComposedRanker:
    """
    Return a ranker in which `cheap` reads every document, and `strong` only the best `keep` of them.

    A ranking holds only the documents that were kept, with the scores of `strong`; `threshold` and `top_n` are about
    these. Where there are no more than `keep` documents, `cheap` is not asked. `score` wants a score for every
    document, so it asks `strong` alone. An instruction goes to `strong`, and to `cheap` if that says that it takes one.
    `Ranking.truncated` counts what `strong` cut; `Ranking.usage` is the sum, None where one of the two does not say;
    `Ranking.missing` names what either dropped.

    Args:
        cheap: a ranker that can read many documents, such as `load()`.
        strong: the ranker whose order is wanted.
        keep: how many documents `strong` reads at most.

    Raises:
        InvalidInput: a ranker that is none, or a `keep` that is no whole number from 1 up.
    """
    require_rankers("cascade", cheap, strong)
    return ComposedRanker(Cascade(cheap, strong, whole("keep", keep, advice="it is how many documents are kept")))


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """How a cascade ranks."""

    cheap: Ranker
    strong: Ranker
    keep: int

    meant = None

    def __repr__(self) -> str:
        return f"cascade({self.cheap!r}, {self.strong!r}, keep={self.keep})"

    @property
    def rankers(self) -> tuple[Ranker, ...]:
        """Both."""
        return self.cheap, self.strong

    @property
    def model(self) -> str:
        """The name of the strong one's model."""
        return self.strong.model

    @property
    def identity(self) -> str:
        """Both decide, and how many are kept."""
        return f"cascade({told(self.cheap, 'identity')}, {told(self.strong, 'identity')}, keep={self.keep})"

    @property
    def listwise(self) -> bool:
        """Whether a document has a score at all depends on the others."""
        return True

    @property
    def takes_instruction(self) -> bool:
        """As the strong one says."""
        return bool(told(self.strong, "takes_instruction"))

    @property
    def max_length(self) -> int | None:
        """As the strong one says."""
        length: int | None = told(self.strong, "max_length")
        return length

    def rank(self, call: Call) -> Work[Answer[Ranking]]:
        """Let the cheap one choose if there is a choice, and the strong one rank."""
        started = time.perf_counter()
        if len(call.documents) <= self.keep:
            answer = yield from ask_ranking(self.strong, call)
            return replace(answer, value=replace(answer.value, elapsed_s=time.perf_counter() - started))
        chosen = yield from ask_ranking(self.cheap, self._choosing(call))
        # in the caller's order, so that the strong one's ties are in it too
        kept = sorted(hit.index for hit in chosen.value[: self.keep])
        documents = [call.documents[at] for at in kept]
        ranked = yield from ask_ranking(self.strong, replace(call, documents=documents))
        ranking = Ranking(
            tuple(Ranked(kept[hit.index], hit.score, call.documents[kept[hit.index]]) for hit in ranked.value),
            model=ranked.value.model,
            truncated=ranked.value.truncated,
            usage=_sum(chosen.value.usage, ranked.value.usage),
            elapsed_s=time.perf_counter() - started,
            missing=tuple(sorted([*chosen.value.missing, *(kept[at] for at in ranked.value.missing)])),
        )
        return Answer(ranking, lasting=chosen.lasting and ranked.lasting)

    def score(self, call: Call) -> Work[Answer[list[float]]]:
        """Let the strong one score everything."""
        return (yield from ask_scores(self.strong, call))

    def close(self) -> None:
        """Do nothing: a cascade holds nothing but its rankers."""

    def _choosing(self, call: Call) -> Call:
        instruction = call.instruction if getattr(self.cheap, "takes_instruction", False) else None
        return replace(call, cut=Cut(top_n=self.keep), instruction=instruction)


def _sum(first: Usage | None, second: Usage | None) -> Usage | None:
    return None if first is None or second is None else Usage(first.tokens + second.tokens)
