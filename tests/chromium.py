"""A real browser for tests of pages: Chromium without a window, told what to do through its own protocol."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE_S = 60.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND"),
)

# The protocol speaks on the descriptors 3 and 4, whichever numbers the pipes have here.
_HAND_OVER = """
import os, sys
one, other = (os.dup(int(number)) for number in sys.argv[1:3])
while min(one, other) < 5:
    one, other = os.dup(one), os.dup(other)
os.dup2(one, 3)
os.dup2(other, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Tab:
    """One page that is looked at, and all that the browser complained about."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._numbers = itertools.count(1)
        self._unread = b""
        self._session: str | None = None
        self.loaded = False
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def attach(self) -> Self:
        """Take the browser's first page."""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.tell(f"{domain}.enable")
        return self

    def open(self, path: Path, *, width: int = 1280, height: int = 900, fragment: str = "") -> Self:
        """Load a file and wait until it has been drawn."""
        self.resize(width, height)
        for address in ("about:blank", path.resolve().as_uri() + fragment):  # a new fragment alone loads nothing
            self.loaded = False
            self.tell("Page.navigate", url=address)
            deadline = time.monotonic() + _PATIENCE_S
            while not self.loaded:
                self._take(deadline)
        return self

    def resize(self, width: int, height: int) -> None:
        """Give the page another size."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Prefer "light" or "dark"."""
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def ask(self, expression: str) -> Any:
        """Return what an expression of JavaScript is worth in the page."""
        said = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def press(self, key: str, *, code: int, text: str = "") -> None:
        """Press a key and let it go."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.tell("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.tell("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, path: Path) -> None:
        """Keep what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return the browser's answer to it."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            heard = self._take(deadline)
            if heard.get("id") == number:
                assert "error" not in heard, (method, heard["error"])
                result: dict[str, Any] = heard["result"]
                return result

    def _take(self, deadline: float) -> dict[str, Any]:
        """Read one message, and note it if it is news."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._back], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            piece = os.read(self._back, 1 << 20)
            assert piece, "the browser has ended"
            self._unread += piece
        written, _, self._unread = self._unread.partition(b"\0")
        heard: dict[str, Any] = json.loads(written)
        self._note(heard.get("method", ""), heard.get("params", {}))
        return heard

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif event in ("Log.entryAdded", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(told))
        elif event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])


@contextmanager
def browsing() -> Iterator[Tab]:
    """Start a browser with a profile of its own, and end it after use."""
    assert PROGRAM is not None
    read_by_it, to = os.pipe()
    back, written_by_it = os.pipe()

    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _HAND_OVER, str(read_by_it), str(written_by_it)),
                *(PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(read_by_it, written_by_it),
        )
        os.close(read_by_it)
        os.close(written_by_it)
        try:
            yield Tab(to, back).attach()
        finally:
            os.close(to)
            os.close(back)
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
