"""What the reranking component of every framework does: open a ranker when it is needed, rank, fail as it was told."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, get_args

from resift.api import opener
from resift.documents import read_documents, read_query
from resift.errors import (
    EndpointMisbehaved,
    EndpointUnavailable,
    InvalidInput,
    MissingDependency,
    ModelNotFound,
    ModelUnsupported,
    ResiftError,
    ScoringFailed,
)
from resift.many import numbered, read_many
from resift.opening import Given, Opening
from resift.settings import hint
from resift.soundness import sound_scores
from resift.types import Cut, Document, Ranker, Ranking

logger = logging.getLogger("resift")

OnError = Literal["raise", "pass"]

_MISTAKES = (InvalidInput, MissingDependency, ModelNotFound, ModelUnsupported)
"""What stays wrong until somebody corrects it, and is raised whatever the caller wants to pass."""

_CLOSED = (ScoringFailed, EndpointUnavailable)
"""What a ranker that is closed says, a local or a remote one; others say it for other reasons."""


@dataclass(frozen=True, slots=True)
class Place:
    """A document's place in the new order: its position in the caller's list, and its score if it got one."""

    index: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Placement:
    """The order in which documents are to stand."""

    places: tuple[Place, ...]
    model: str
    truncated: int = 0
    error: Exception | None = None
    """What went wrong where the documents were passed on as they came."""


class Reranker:
    """
    What the reranking component of a framework stands on: settings in, the documents' new order out.

    Settings are checked at once; the model is loaded with the first call or by `warm_up`, and rerankers with equal
    settings share it. Any number of threads and event loops may use one at once. A pickled or copied reranker is its
    settings; a pickle holds no key.

    Args:
        model: as for `resift.load`, or with `base_url` as for `resift.connect`.
        base_url: the endpoint that ranks, if the model is not to run here.
        ranker: any ranker, in place of all settings; it is not closed with the reranker.
        on_error: "raise", or "pass" to pass documents on as they came when the ranker fails. Mistakes, such as a model
            that does not exist, are raised nonetheless.
        api_key: the endpoint's key; that of the environment variable RESIFT_API_KEY if not given.
        options: the other options of `resift.load` or `resift.connect`.

    Raises:
        InvalidInput: a setting that cannot mean anything.

    >>> reranker = Reranker("lexical")
    >>> placement = reranker.rank("what is a panda?", ["Paris is in France.", "The panda is a bear."])
    >>> [place.index for place in placement.places]
    [1, 0]
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        base_url: str | None = None,
        *,
        ranker: Ranker | None = None,
        on_error: OnError = "raise",
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        if on_error not in get_args(OnError):
            raise InvalidInput(f"on_error={on_error!r} is not known; {hint(on_error, get_args(OnError))}")
        self.on_error = on_error
        if api_key is not None:
            options["api_key"] = api_key
        self._source: Opening | Given
        if ranker is None:
            self._source = Opening(opener(model, base_url, **options))
        else:
            _require_alone(ranker, {"model": model, "base_url": base_url, **options})
            self._source = Given(ranker)
        self._rescaled: dict[bool, Opening] = {}

    def __repr__(self) -> str:
        return f"Reranker({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"on_error": self.on_error, "_source": self._source, "_rescaled": {}}

    @property
    def model(self) -> str:
        """The name of the model that scores; known before it is loaded."""
        return self._source.model

    def rank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        normalize: bool | None = None,
    ) -> Placement:
        """
        Return the documents' new order: scores from `threshold` up, then the best `top_n`.

        Nothing is opened where there are no documents. One that the endpoint gave no score stands behind the others,
        or is left out where there is a `threshold`.

        Args:
            query: what the documents are to be relevant to.
            documents: texts, or mappings, which are written as `key: value` lines.
            top_n: how many to keep; all if not given.
            threshold: the lowest score to keep; all if not given.
            instruction: what the model is told to look for, where it knows instructions.
            normalize: another meaning of the scores than the one that the reranker was made with.

        Raises:
            InvalidInput: a blank query, a `top_n` below 1, and whatever else cannot mean anything.
            ResiftError: the ranker failed, and `on_error` is "raise".
        """
        call = _Call(query, read_documents(documents), Cut(top_n, threshold), instruction)
        source = self._sourced(normalize)
        if not call.documents:
            return Placement((), self.model)
        try:
            return call.placed(_ask(source, call))
        except Exception as error:
            if not self._passes(error):
                raise
            return self._passed(call, error)

    async def arank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        normalize: bool | None = None,
    ) -> Placement:
        """Do what `rank` does without blocking the event loop, which loading the model does not either."""
        call = _Call(query, read_documents(documents), Cut(top_n, threshold), instruction)
        source = self._sourced(normalize)
        if not call.documents:
            return Placement((), self.model)
        try:
            return call.placed(await _ask_async(source, call))
        except Exception as error:
            if not self._passes(error):
                raise
            return self._passed(call, error)

    def score_many(
        self, requests: Iterable[tuple[str, Iterable[Document]]], *, instruction: str | None = None
    ) -> list[list[float]]:
        """
        Return one score per document for many queries at once, which share batches; in input order.

        There is nothing to pass on in place of a score, so whatever goes wrong is raised.
        """
        read = [(query, documents) for _, query, documents in numbered(read_many(requests))]
        asked = [at for at, (_, documents) in enumerate(read) if documents]
        scores: list[list[float]] = [[] for _ in read]
        if not asked:
            return scores
        rankings = self._source.get().rank_many([read[at] for at in asked], instruction=instruction)
        for at, ranking in zip(asked, rankings, strict=True):
            count = len(read[at][1])
            found = sound_scores(ranking, count)
            if ranking.missing:
                raise EndpointMisbehaved(f"{self.model} gave {len(ranking.missing)} of {count} documents no score")
            scores[at] = [found[index] for index in range(count)]
        return scores

    def warm_up(self) -> None:
        """Open the ranker now, so that the first call does not have to."""
        self._source.get()

    async def awarm_up(self) -> None:
        """Do what `warm_up` does without blocking the event loop."""
        await self._source.aget()

    def close(self) -> None:
        """Give back what was opened here; a later call opens it again."""
        for ranker in self._taken():
            ranker.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        for ranker in self._taken():
            await ranker.aclose()

    def _taken(self) -> list[Ranker]:
        taken = [source.take() for source in (self._source, *self._rescaled.values())]
        return [ranker for ranker in taken if ranker is not None]

    def _sourced(self, normalize: bool | None) -> Opening | Given:  # noqa: FBT001 - named where it is called
        """Return where the ranker comes from whose scores mean what the caller wants."""
        if normalize is None:
            return self._source
        if isinstance(self._source, Given):
            raise InvalidInput(f"normalize={normalize!r} cannot change the scores of a given ranker; leave it out")
        if normalize not in self._rescaled:
            self._rescaled.setdefault(normalize, Opening(self._source.opener.normalized(normalize)))
        return self._rescaled[normalize]

    def _passes(self, error: Exception) -> bool:
        """Whether documents are passed on as they came when this goes wrong."""
        return self.on_error == "pass" and not isinstance(error, _MISTAKES)

    def _passed(self, call: "_Call", error: Exception) -> Placement:
        # what others raise may hold anything in its words; ours never hold a key or a text
        said = f"{type(error).__name__}: {error}" if isinstance(error, ResiftError) else type(error).__name__
        logger.warning("%r ranked nothing, and %d documents pass as they came (%s)", self.model, call.kept, said)
        places = tuple(Place(at, None) for at in range(call.kept))
        return Placement(places, self.model, error=error.with_traceback(None))  # whose frames hold the documents


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One call, checked."""

    query: str
    documents: list[Document]
    cut: Cut
    instruction: str | None

    def __post_init__(self) -> None:
        if self.documents:
            read_query(self.query)

    @property
    def options(self) -> dict[str, Any]:
        """What a ranker is told beside the texts."""
        return {"top_n": self.cut.top_n, "threshold": self.cut.threshold, "instruction": self.instruction}

    @property
    def kept(self) -> int:
        """How many documents are kept where nobody scores them."""
        return len(self.documents[: self.cut.top_n])

    def placed(self, ranking: Ranking) -> Placement:
        """Return where a ranking puts the documents."""
        places = [Place(*scored) for scored in sound_scores(ranking, len(self.documents)).items()]
        if self.cut.threshold is None:
            places += [Place(index, None) for index in ranking.missing]
        return Placement(tuple(places[: self.cut.top_n]), ranking.model, truncated=ranking.truncated)


def _ask(source: Opening | Given, call: _Call) -> Ranking:
    """Ask the ranker; where somebody closes it just then, ask the one that is opened next, as any later call does."""
    ranker = source.get()
    try:
        return ranker.rank(call.query, call.documents, **call.options)
    except _CLOSED:
        if source.holds(ranker):
            raise
    return source.get().rank(call.query, call.documents, **call.options)


async def _ask_async(source: Opening | Given, call: _Call) -> Ranking:
    """Do what `_ask` does without blocking the event loop."""
    ranker = await source.aget()
    try:
        return await ranker.arank(call.query, call.documents, **call.options)
    except _CLOSED:
        if source.holds(ranker):
            raise
    return await (await source.aget()).arank(call.query, call.documents, **call.options)


def _require_alone(ranker: object, settings: dict[str, Any]) -> None:
    """Refuse what cannot rank, and settings beside a ranker that has its own."""
    if isinstance(ranker, type) or not isinstance(ranker, Ranker):
        raise InvalidInput(f"ranker must be a Ranker, as load() and connect() make them, not {type(ranker).__name__}")
    beside = sorted(name for name, given in settings.items() if given is not None)
    if beside:
        raise InvalidInput(f"a ranker has settings of its own; leave out {', '.join(beside)}, or the ranker")
