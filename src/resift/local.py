"""The ranker whose model runs in this process."""

import json
import time
from collections.abc import Sequence
from functools import cache
from typing import Self

import numpy as np

from resift.documents import read_instruction, read_query
from resift.errors import InvalidInput
from resift.scoring.backends import Outputs, RunsOn
from resift.scoring.families import Prepared
from resift.scoring.loading import Hold
from resift.settings import Settings
from resift.submitting import Call, Loop, SubmittingRanker
from resift.types import Cut, Document, Ranked, Ranking, Usage, Workload

_NOTHING: Outputs = np.empty((0, 0), dtype=np.float32)
_DECISIVE = ("backend", "device", "dtype", "long_documents", "normalize", "instruction", "fields")
_BREATHS_AHEAD, _REQUESTS_AHEAD = 2, 256  # how far `rank_many` reads on while the model is busy


class _Call(Call[Outputs]):
    """A call with what the family made of its distinct texts; None while or where there are none."""

    prepared: Prepared | None = None


class LocalRanker(SubmittingRanker[_Call]):
    """
    Ranks with a model that runs here. Any number of threads and event loops may use one at once.

    Rankers with equal settings share one loaded model. A pickled ranker is its settings, loaded where it is unpickled.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hold = Hold(settings)
        try:
            if settings.instruction is not None:
                self._require_instructable()
            if settings.normalize and not self._hold.family.bounded:
                raise InvalidInput(
                    f"normalize=True means nothing for {self.model}: its scores have no bounds; leave it out"
                )
        except InvalidInput:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"LocalRanker({self.model!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[Settings]]:
        return type(self), (self._settings,)

    @property
    def model(self) -> str:
        """The name of the model that scores."""
        return self._settings.model

    @property
    def identity(self) -> str:
        """All that the scores depend on besides the texts, as one line of JSON."""
        given = self._settings
        return json.dumps(
            {
                "resift": _version(),
                "model": given.model,
                "state": self._hold.version,
                "like": given.like if isinstance(given.like, str | None) else repr(given.like),
                **{name: getattr(given, name) for name in _DECISIVE},
                "max_length": self.max_length,
            }
        )

    @property
    def listwise(self) -> bool:
        """Whether a document's score depends on the other documents of the call."""
        return self._hold.family.listwise

    @property
    def takes_instruction(self) -> bool:
        """Whether an instruction means something to the model."""
        return self._hold.family.instructable

    @property
    def max_length(self) -> int | None:
        """How many tokens the model reads of a query with one document; None where there is no limit."""
        return self._hold.family.max_length

    @property
    def runs_on(self) -> tuple[RunsOn, ...]:
        """Which backend runs the model, on which device and in which number format: one for each device."""
        return self._hold.runs_on

    @property
    def workload(self) -> Workload:
        """What the model's devices have done since it was loaded, and what waits for them."""
        return self._hold.workload

    def close(self) -> None:
        """Let go of the model; when no other ranker holds it, answer what was accepted and free its memory."""
        self._hold.release()

    def _new_call(self, query: str, documents: list[Document], cut: Cut, *, loop: Loop | None = None) -> _Call:
        return _Call(query, documents, cut, loop=loop)

    def _prepare(self, call: _Call, instruction: str | None) -> None:
        """Turn the caller's texts into ids, in whatever thread this is."""
        family = self._hold.family
        query, told = read_query(call.query), read_instruction(instruction)
        if told is not None:
            self._require_instructable()
        read = call.texts if family.listwise else call.distinct_texts
        texts = read(self._settings.fields)
        if texts:
            call.prepared = family.prepare(query, texts, self._settings.instruction if told is None else told)

    def _submit(self, call: _Call) -> None:
        """Hand what was prepared to the engine, if there is anything to run."""
        prepared = call.prepared
        if prepared is not None and prepared.sequences:
            call.future = self._hold.submit(prepared.sequences, prepared.prefix)
        else:
            call.future.set_result(_NOTHING)

    def _is_far_ahead(self, waiting: Sequence[_Call]) -> bool:
        tokens = sum(call.prepared.tokens for call in waiting if call.prepared)
        return tokens > self._hold.breath_tokens * _BREATHS_AHEAD or len(waiting) > _REQUESTS_AHEAD

    def _scores(self, call: _Call) -> list[float]:
        if call.prepared is None:
            return []
        distinct = call.prepared.finish(call.future.result(), self._settings.normalize).tolist()
        return [distinct[place] for place in call.places]

    def _ranking(self, call: _Call) -> Ranking:
        scores = self._scores(call)
        was_cut = call.prepared.cut if call.prepared else ()
        return Ranking(
            tuple(Ranked(at, scores[at], call.documents[at]) for at in call.cut.apply(scores)),
            model=self.model,
            truncated=sum(was_cut[place] for place in call.places) if was_cut else 0,
            usage=Usage(call.prepared.tokens if call.prepared else 0),
            elapsed_s=time.perf_counter() - call.started,
        )

    def _require_instructable(self) -> None:
        if not self._hold.family.instructable:
            raise InvalidInput(
                f"{self.model} takes no instruction; leave it out, or choose a model that was trained with one"
            )


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("resift")


def place_of(ranker: object) -> str | None:
    """Say which backend runs a ranker's model, on which devices and in which number format; None if none does here."""
    if not isinstance(ranker, LocalRanker) or not ranker.runs_on:
        return None
    return ", ".join(dict.fromkeys(f"{one.backend} on {one.device} in {one.dtype}" for one in ranker.runs_on))
