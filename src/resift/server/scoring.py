"""One scoring request from its bytes to its reply: read, let in, ranked, written, and refused wherever that ends it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from resift.errors import ScoringFailed
from resift.server.dispatch import Way, choose
from resift.server.house import House, Note, note_of
from resift.server.leaving import unless_gone
from resift.server.reading import Asked, read, read_object
from resift.server.reasons import GivenUp, Gone
from resift.server.refusing import NoJson, Unclear, UnknownModel, refusal
from resift.server.served import Scores, Served
from resift.server.writing import Answered, write
from resift.soundness import sound_scores
from resift.types import Ranked, Ranker, Ranking
from resift.wire.shapes import NVIDIA, TEI

T = TypeVar("T")

_LARGE: Final = 100_000  # from so many bytes on, work on a body would be felt by everybody on the event loop
_NO_MODEL: Final = (None, "default/not-specified")  # the latter is what Infinity's client says for none
_NO_JSON: Final = ("multipart/", "image/", "audio/", "video/", "application/octet-stream", "application/xml")


async def rerank(request: Request) -> Response:
    """Answer a scoring request in any dialect."""
    house: House = request.app.state.resift
    note = note_of(request.scope)
    body = await request.body()
    exchange = _Exchange(house, note, tei=b'"texts"' in body)
    try:
        with house.admission.enter():
            return await exchange.answer(request, body)
    except Gone:
        raise
    except Exception as error:  # noqa: BLE001 - every error is an answer, and the table knows which
        told = refusal(error, retry_after_s=house.admission.retry_after_s)
        note.reason = told.reason
        return told.reply(tei=exchange.tei, path=request.scope["path"])


class _Exchange:
    """One request being answered."""

    def __init__(self, house: House, note: Note, *, tei: bool) -> None:
        self._house, self._note = house, note
        self.tei = tei
        """Whether errors are told in the words of text-embeddings-inference; a guess until the body is read."""

    async def answer(self, request: Request, body: bytes) -> Response:
        """Return the reply, unless it takes too long or the client leaves."""
        patience_s = self._house.settings.timeout_s
        try:
            async with asyncio.timeout(patience_s) as clock:
                return await unless_gone(request.receive, self._answer(request, body))
        except TimeoutError:
            if clock.expired():
                raise GivenUp(
                    f"the answer was not there within {patience_s:g} s; send fewer documents at once"
                ) from None
            raise

    async def _answer(self, request: Request, body: bytes) -> Response:
        _require_json(request)
        is_large = len(body) > _LARGE
        asked, way = await _off_the_loop(lambda: self._understand(request, body), large=is_large)
        self._note.documents = len(asked.documents)
        served = find(self._house.models, asked.model or request.path_params.get("model"), any_=self._takes_any)
        self._note.model = served.name
        answered = await self._ranked(asked, way, served)
        return await _off_the_loop(lambda: write(answered), large=is_large and asked.returns_documents)

    def _understand(self, request: Request, body: bytes) -> tuple[Asked, Way]:
        """Read the body, and let go of everything in it that was not asked for: JSON may be much larger as objects."""
        found = read_object(body)
        way = choose(request.scope["path"], request.headers, found)
        self.tei = way.shape is TEI
        return read(found, way, max_documents=self._house.settings.max_documents), way

    @property
    def _takes_any(self) -> bool:
        return self._house.settings.accept_any_model

    async def _ranked(self, asked: Asked, way: Way, served: Served) -> Answered:
        ranker, scores = _choose_ranker(asked, way, served)
        _require_instructable(ranker, asked)
        ranking = await ranker.arank(asked.query, asked.texts, top_n=asked.top_n, instruction=asked.instruction)
        self._house.metrics.scored(
            served.name,
            documents=len(asked.documents),
            tokens=ranking.usage.tokens if ranking.usage else 0,
            truncated=ranking.truncated,
        )
        window = getattr(ranker, "max_length", None)
        if ranking.truncated and not asked.may_cut:
            raise _too_long(ranking, len(asked.documents), window)
        return Answered(
            asked=asked,
            way=way,
            model=served.name,
            scores=scores,
            hits=_sound(ranking, len(asked.documents), complete=way.shape is TEI)[: asked.top_n],
            ranking=ranking,
            listwise=bool(getattr(ranker, "listwise", False)),
            warnings=_warnings(asked, ranking, window),
        )


def find(models: Sequence[Served], name: str | None, *, any_: bool = False) -> Served:
    """
    Return the model of that name, the first where none is named.

    A name may lack what stands before its last slashes, or have something before them that the served name lacks.
    """
    if name in _NO_MODEL:
        return models[0]
    exact = (served for served in models if served.name == name)
    close = (served for served in models if _ends_with(served.name, name) or _ends_with(name, served.name))
    found = next(exact, None) or next(close, None)
    if found is None and not any_:
        names = ", ".join(served.name for served in models)
        raise UnknownModel(f"no model of that name is served; there is {names}", param="model", code="model_not_found")
    return found or models[0]


def _ends_with(name: str, end: str) -> bool:
    return name.endswith(f"/{end}")


def _choose_ranker(asked: Asked, way: Way, served: Served) -> tuple[Ranker, Scores]:
    """Return the ranker for the kind of scores that was asked for; one that cannot be had is refused."""
    wanted = asked.scores or ("raw" if asked.raw else None)
    if wanted is not None and wanted not in served.rankers:
        kinds = ", ".join(served.rankers)
        raise Unclear(
            f"this model gives no {wanted} scores; it gives {kinds}", param="scores" if asked.scores else "raw_scores"
        )
    if wanted is None and asked.raw is False:
        wanted = "normalized"
    if wanted is None and way.shape is NVIDIA:
        wanted = "raw"  # its clients read the member `logit`, and may apply a sigmoid to it
    return served.ranker(wanted)


def _require_instructable(ranker: Ranker, asked: Asked) -> None:
    # not `isinstance(ranker, Described)`, which works out all that a ranker says of itself, once for every request
    if asked.instruction is not None and not getattr(ranker, "takes_instruction", True):
        raise Unclear("this model takes no instruction; leave it out", param="instruction")


def _sound(ranking: Ranking, count: int, *, complete: bool) -> list[Ranked]:
    """Return the hits in the order that every client may rely on, or fail where a score or an index is none."""
    sound_scores(ranking, count)
    if complete and ranking.missing:
        raise ScoringFailed("some documents got no score, and this dialect cannot say so")
    return sorted(ranking, key=lambda hit: (-hit.score, hit.index))


def _warnings(asked: Asked, ranking: Ranking, window: int | None) -> list[str]:
    warnings: list[str] = []
    if asked.max_tokens_per_doc and window is not None and asked.max_tokens_per_doc < window:
        warnings.append(
            f"max_tokens_per_doc was not applied: the model reads up to {window} tokens of query and document"
        )
    if ranking.truncated:
        warnings.append(
            f"{ranking.truncated} of {len(asked.documents)} documents were too long and were cut{_to(window)}"
        )
    if ranking.missing:
        warnings.append(f"these documents got no score: {', '.join(map(str, ranking.missing))}")
    return warnings


def _too_long(ranking: Ranking, count: int, window: int | None) -> Unclear:
    return Unclear(
        f"{ranking.truncated} of {count} documents are too long for the model{_to(window)}; "
        "shorten them, or let them be cut",
        code="too_long",
    )


def _to(window: int | None) -> str:
    return "" if window is None else f": it reads {window} tokens of a query with one document"


def _require_json(request: Request) -> None:
    """Refuse what says that it is no JSON; whatever else is said or left out, the body is read as JSON."""
    kind = request.headers.get("content-type", "").strip().lower()
    if kind.startswith(_NO_JSON):
        raise NoJson("send the request as application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise NoJson("send the request's body as it is, without a Content-Encoding")


async def _off_the_loop(work: Callable[[], T], *, large: bool) -> T:
    return await asyncio.to_thread(work) if large else work()
