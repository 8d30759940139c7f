"""What an adapter costs before it is used: nothing to speak of."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from resift.testing.adapters.hooks import QUERY, TEXTS, AdapterHooks
from resift.testing.watching import loads

_HEAVY = (
    *("torch", "transformers", "onnxruntime", "openvino", "sentence_transformers", "huggingface_hub", "safetensors"),
    *("httpx", "httpx2", "fastapi", "uvicorn"),
)
_PATIENCE_S = 120

# Imports a framework, then an adapter, makes a component, and prints what the adapter added.
_PROGRAM = """
import importlib, json, sys

told = json.loads(sys.argv[1])
for module in told["framework"]:
    importlib.import_module(module)
before = {name.partition(".")[0] for name in sys.modules}
touched = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        touched.append(event)

sys.addaudithook(watch)
importlib.import_module(told["package"])
exec(told["construction"], {})
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"imported": sorted((after - before) & set(told["heavy"])), "touched": touched}))
"""


class Lightness(AdapterHooks):
    """The promises about what a component costs."""

    def test_importing_and_making_one_is_light(self) -> None:
        """No library for models or HTTP is imported, and no network touched, until a component is used."""
        told = {
            "framework": list(self.framework),
            "package": self.package,
            "construction": self.construction,
            "heavy": _HEAVY,
        }
        done = subprocess.run(  # noqa: S603 - this Python, with the program above
            [sys.executable, "-c", _PROGRAM, json.dumps(told)],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )

        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {"imported": [], "touched": []}

    def test_making_one_loads_no_model(self) -> None:
        """A model is loaded when documents are first to be ranked, not before."""
        with self.unheld() as settings, loads() as loaded:
            component = self.make(**settings)
            assert self.both(component, QUERY, ()) == []
            assert loaded == []
            self.rerank(component, QUERY, TEXTS)
            self.close(component)

    def test_no_documents_open_nothing(self) -> None:
        """Where there are no documents, a model that does not exist is not even looked for."""
        assert self.asked({"model": "/no/such/model"}, ()) == []

    def test_equal_settings_share_one_model(self) -> None:
        """Components with the same settings load their model once, even where threads use them at the same time."""
        self.needs("options")
        with self.unheld() as settings, loads(delay_s=0.05) as loaded:
            components = [self.make(**settings) for _ in range(4)]
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(lambda at: self.rerank(components[at % 4], QUERY, TEXTS), range(16)))
            for component in components:
                assert self.both(component, QUERY) == answers[0]
                self.close(component)

        assert answers == [answers[0]] * 16
        assert loaded == ["lexical"]
