"""A rerank endpoint on this machine, which notes the keys it is shown, and quotes them where it refuses."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from resift.testing.fake_ranker import checksum


class LoopbackEndpoint:
    """Answers on a free port of loopback inside a `with` block, in the shape that most servers share."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.authorizations: list[str] = []
        """What came as the header `Authorization`, "" for nothing, of each request."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="loopback-endpoint")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, asked: dict[str, Any], authorization: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the reply to a request."""
        self.authorizations.append(authorization)
        if self.refuses:
            return 401, {"error": {"message": f"the key in {authorization!r} is not known"}}
        scores = [checksum(asked["query"], text, None) for text in asked["documents"]]
        results = [{"index": at, "relevance_score": score} for at, score in enumerate(scores)]
        return 200, {"model": asked.get("model") or "loopback", "results": results}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = endpoint.answer(asked, self.headers.get("Authorization", ""))
                written = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)

            def log_message(self, *_: object) -> None:
                """Say nothing on standard error."""

        return Handler
