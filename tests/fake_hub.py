"""A model hub on this machine's loopback: enough of the real one's HTTP for the real client to download from it."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass
class FakeHub:
    """
    Serves models from memory while the `with` block runs.

    `fetched` lists the files that were downloaded, `tokens` the access tokens that were sent; `fails_with` makes the
    answer an error of that status wherever `fails_at` is part of the path.
    """

    fetched: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    requests: int = 0
    fails_with: int | None = None
    fails_at: str = ""

    def __post_init__(self) -> None:
        self._commits: dict[str, dict[str, Files]] = {}
        self._gated: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"hub": self}))
        # short polls let the block end at once
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Be gone: refuse connections from now on."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """The address that stands for the hub's."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, model: str, files: Files, *, gated: bool = False) -> str:
        """Make `files` the newest commit of `model` and return its id."""
        commit = _commit(files)
        self._commits.setdefault(model, {}).pop(commit, None)
        self._commits[model][commit] = files
        if gated:
            self._gated.add(model)
        return commit

    def answer(self, path: str) -> "_Answer":
        """Return what a GET of `path` gets."""
        if self.fails_with is not None and self.fails_at in path:
            return _Answer(self.fails_with, b"out of order")
        model = next((name for name in self._commits if f"/{name}/" in f"{path}/"), None)
        if model is None:
            return _refusal(404, "RepoNotFound")
        action, revision, name = _parts(path.partition(model)[2])
        commits = self._commits[model]
        commit = list(commits)[-1] if revision in {"", "main"} else revision
        if commit not in commits:
            return _refusal(404, "RevisionNotFound")
        if action == "resolve":
            return _refusal(403, "GatedRepo") if model in self._gated else _file(commits[commit], commit, name)
        listing = _tree(commits[commit]) if action == "tree" else _info(model, commit, commits[commit])
        return _Answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    """Hands requests to the hub; HTTP/1.0, so that no connection outlives its answer."""

    hub: FakeHub
    timeout = 5

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer()

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        answer = self.hub.answer(path)
        self.hub.requests += 1
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        if self.command == "GET" and answer.status == 200 and "/resolve/" in path:
            self.hub.fetched.append(_parts(path[path.index("/resolve/") :])[2])
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is its own."""


def _parts(rest: str) -> tuple[str, str, str]:
    """Split what follows a model's name: the action, the revision and the file."""
    action, revision, name = [*rest.strip("/").split("/", 2), "", "", ""][:3]
    return action, revision, name


def _commit(files: Files) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name])
    return digest.hexdigest()


def _info(model: str, commit: str, files: Files) -> dict[str, Any]:
    siblings = [{"rfilename": name} for name in files]
    return {"id": model, "modelId": model, "sha": commit, "tags": [], "private": False, "siblings": siblings}


def _tree(files: Files) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": name, "size": len(content), "oid": _commit({"": content})}
        for name, content in files.items()
    ]


def _file(files: Files, commit: str, name: str) -> _Answer:
    if name not in files:
        return _refusal(404, "EntryNotFound")
    headers = {"X-Repo-Commit": commit, "ETag": f'"{_commit({"": files[name]})}"', "Accept-Ranges": "none"}
    return _Answer(200, files[name], headers)


def _refusal(status: int, code: str) -> _Answer:
    return _Answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
