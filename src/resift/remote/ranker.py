"""The ranker whose model is behind an endpoint."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from resift.documents import read_instruction, read_query
from resift.errors import EndpointMisbehaved, InvalidInput
from resift.remote.endpoint import Endpoint
from resift.remote.exchange import Exchange, Line
from resift.remote.replies import read_reply
from resift.remote.requests import Ask, Part, is_listwise, split
from resift.remote.scales import rescale
from resift.remote.transport import Received
from resift.submitting import Call, Loop, SubmittingRanker
from resift.types import Cut, Document, Ranked, Ranking, Usage
from resift.wire.shapes import LISTWISE

_ROUNDS_AHEAD = 2  # how far `rank_many` reads on, in full rounds of requests


class _Call(Call[list[Received]]):
    """A call with what is asked of the endpoint, and the requests that ask it."""

    ask: Ask
    parts: Sequence[Part] = ()


class RemoteRanker(SubmittingRanker[_Call]):
    """
    Ranks with a model behind an endpoint. Any number of threads and event loops may use one at once.

    It opens connections with the first call, keeps them, and closes them with `close` or when it is forgotten. A
    pickled ranker is its settings without its key; a copy shares the connections, as that of `with_timeout` does.
    """

    def __init__(self, endpoint: Endpoint, *, line: Line | None = None) -> None:
        self._endpoint = endpoint
        self._line = Line(endpoint) if line is None else line
        self._conversion = endpoint.conversion

    def __repr__(self) -> str:
        return f"RemoteRanker({self.model!r}, {self._endpoint.base_url!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[Endpoint]]:
        return type(self), (self._endpoint,)

    @property
    def model(self) -> str:
        """The name of the model that scores; the endpoint's host where none was named."""
        return self._endpoint.name

    @property
    def identity(self) -> str:
        """All that the scores depend on besides the texts, as one line of JSON."""
        names = ("base_url", "model", "normalize", "scores", "instruction", "fields")
        known = {name: getattr(self._endpoint, name) for name in names}
        return json.dumps({**known, "dialect": self._line.spoken.name})

    @property
    def listwise(self) -> bool:
        """Whether a document's score depends on the other documents of the call."""
        return is_listwise(self._endpoint.model)

    @property
    def takes_instruction(self) -> bool:
        """Whether a request has a place for an instruction."""
        return self._line.spoken.takes_instruction

    @property
    def max_length(self) -> int | None:
        """None: an endpoint does not say how many tokens its model reads."""
        return None

    def with_timeout(self, timeout_s: float) -> Self:
        """
        Return a ranker that allows its calls another time, over the same connections.

        Both count as one for `max_concurrency` and retries, and closing either closes both.
        """
        return type(self)(replace(self._endpoint, timeout_s=timeout_s), line=self._line)

    def __copy__(self) -> Self:
        return self.with_timeout(self._endpoint.timeout_s)

    def __deepcopy__(self, memo: object) -> Self:
        return self.with_timeout(self._endpoint.timeout_s)

    def close(self) -> None:
        """Answer the calls under way and close the connections; a client of the caller's own stays open."""
        self._line.close()

    def _new_call(self, query: str, documents: list[Document], cut: Cut, *, loop: Loop | None = None) -> _Call:
        return _Call(query, documents, cut, loop=loop)

    def _prepare(self, call: _Call, instruction: str | None) -> None:
        """Turn the caller's texts into the bodies of requests, in whatever thread this is."""
        given = self._endpoint
        self._line.require_open()
        if self._line.asynchronous and call.loop is None:
            raise InvalidInput(
                "an async http_client cannot be used without its event loop; call arank, ascore or arank_many, "
                "or connect with a sync client or none"
            )
        told = read_instruction(instruction)
        call.ask = Ask(
            given.model,
            read_query(call.query),
            call.distinct_texts(given.fields),
            instruction=given.instruction if told is None else told,
            normalize=given.normalize,
        )
        call.parts = split(self._line.spoken, call.ask, max_documents=given.max_documents_per_request)
        if call.parts:
            self._line.opened()  # here, because what this costs the first time must not stop a caller's event loop

    def _submit(self, call: _Call) -> None:
        """Hand the requests over, if there are any."""
        if call.parts:
            exchange = Exchange(
                self._line, call.ask, call.parts, timeout_s=self._endpoint.timeout_s, patient=call.ahead
            )
            call.future = self._line.submit(exchange, call.loop)
        else:
            call.future.set_result([])

    def _is_far_ahead(self, waiting: Sequence[_Call]) -> bool:
        return sum(max(1, len(call.parts)) for call in waiting) > self._endpoint.max_concurrency * _ROUNDS_AHEAD

    def _scores(self, call: _Call) -> list[float]:
        scores, _ = self._read(call)
        missing = _missing(call, scores)
        if missing:
            raise EndpointMisbehaved(
                f"{self._endpoint.host} left out documents {_listed(missing)}; "
                "rank() names them in Ranking.missing and ranks the others"
            )
        return [scores[at] for at in range(len(call.documents))]

    def _ranking(self, call: _Call) -> Ranking:
        scores, tokens = self._read(call)
        scored = [at for at in range(len(call.documents)) if at in scores]
        kept = [scored[place] for place in call.cut.apply([scores[at] for at in scored])]
        return Ranking(
            tuple(Ranked(at, scores[at], call.documents[at]) for at in kept),
            model=self.model,
            usage=None if tokens is None else Usage(tokens),
            elapsed_s=time.perf_counter() - call.started,
            missing=_missing(call, scores),
        )

    def _read(self, call: _Call) -> tuple[Mapping[int, float], int | None]:
        """Return the scores by document, and the tokens that were read where every reply says so."""
        try:
            return self._read_replies(call)
        except EndpointMisbehaved as error:
            wrong = error
        # without the frames that have read the replies, because these know the key
        raise EndpointMisbehaved(f"{self._endpoint.host}: {wrong}", status=wrong.status, request_id=wrong.request_id)

    def _read_replies(self, call: _Call) -> tuple[Mapping[int, float], int | None]:
        distinct: dict[int, float] = {}
        tokens: int | None = 0
        for part, reply in zip(call.parts, call.future.result(), strict=True):
            if len(call.parts) > 1 and LISTWISE in reply.headers:
                raise InvalidInput(
                    f"the model at {self._endpoint.host} weighs documents against each other, so these "
                    f"{len(call.ask.texts)} cannot be ranked in several requests; send fewer, or say model=..."
                )
            read = read_reply(
                reply.body,
                reply.headers,
                dialect=self._line.spoken,
                count=len(part.places),
                secrets=self._endpoint.secrets(),
                texts=[call.ask.query, *(call.ask.texts[place] for place in part.places)],
            )
            distinct.update((part.places[place], score) for place, score in read.scores.items())
            tokens = None if tokens is None or read.tokens is None else tokens + read.tokens
        found = {at: distinct[place] for at, place in enumerate(call.places) if place in distinct}
        return rescale(found, self._conversion), tokens


def _missing(call: _Call, scores: Mapping[int, float]) -> tuple[int, ...]:
    return tuple(at for at in range(len(call.documents)) if at not in scores)


def _listed(positions: Sequence[int]) -> str:
    shown = ", ".join(map(str, positions[:10]))
    return f"{shown}, ... ({len(positions)} in all)" if len(positions) > 10 else shown
