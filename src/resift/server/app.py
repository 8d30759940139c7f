"""The application: every route, what stands around all of them, and nothing that knows how a model works."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from resift.server.access import Access
from resift.server.dispatch import PATHS
from resift.server.house import House
from resift.server.metrics import CONTENT_TYPE
from resift.server.openapi import describe
from resift.server.page import page
from resift.server.receiving import Receiving
from resift.server.refusing import not_here, refusal
from resift.server.scoring import rerank
from resift.server.served import Served
from resift.server.settings import ServerSettings
from resift.wire.strict_json import write_json


def create_app(models: Sequence[Served], settings: ServerSettings) -> FastAPI:
    """Return the server for these models; without any it is not ready until `app.state.resift` opens."""
    app = FastAPI(
        title="resift",
        version=version("resift"),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _not_here},
    )
    house = app.state.resift = House.around(models, settings)
    for path in PATHS:  # plain routes: FastAPI's own would validate what is read strictly and described by hand here
        app.add_route(path, rerank, methods=["POST"])
    for paths, answer in _QUESTIONS.items():
        for path in paths:
            app.add_route(path, answer, methods=["GET"])
    document = describe(settings, version=app.version)
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's own way to replace it
    shown = HTMLResponse(page(document), headers={"content-security-policy": _ONLY_OURS})
    app.add_route("/docs", lambda _: shown, methods=["GET"])
    app.add_middleware(Receiving, house=house)
    app.add_middleware(Access, house=house)
    app.add_middleware(_PlainPaths)
    return app


_ONLY_OURS = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


class _PlainPaths:
    """Makes one path of all ways to write it: clients join addresses with one slash too many."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = re.sub("//+", "/", scope["path"])
            scope = {**scope, "path": path.rstrip("/") or "/"}
        await self._app(scope, receive, send)


async def _alive(request: Request) -> Response:
    """Say that the process lives; no queue and no model is asked."""
    return _json({"status": "ok"})


async def _ready(request: Request) -> Response:
    """Say whether requests are answered now."""
    house: House = request.app.state.resift
    try:
        house.admission.require_open()
    except Exception as error:  # noqa: BLE001 - the table knows what each means
        return refusal(error).reply()
    return _json({"status": "ready"})


async def _metrics(request: Request) -> Response:
    """Show the counters."""
    house: House = request.app.state.resift
    return Response(house.metrics.render(), headers={"content-type": CONTENT_TYPE})


async def _models(request: Request) -> Response:
    """List the models by the names that requests may use, as OpenAI does."""
    house: House = request.app.state.resift
    served = [{"id": each.name, "object": "model", "created": 0, "owned_by": "resift"} for each in house.models]
    return _json({"object": "list", "data": served})


_QUESTIONS = {
    ("/health", "/healthz", "/livez"): _alive,
    ("/ready", "/readyz"): _ready,
    ("/metrics",): _metrics,
    ("/v1/models", "/models"): _models,
}


async def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return not_here(error.status_code, error.headers or {})


def _json(value: Any) -> Response:
    return Response(write_json(value), media_type="application/json")
