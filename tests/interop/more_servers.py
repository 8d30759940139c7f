"""How Xinference, local-reranker and llama.cpp's server are started; the last is compiled from source on first use."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from interop.environments import ENVIRONMENTS, NotMade, alone, environment, run
from interop.servers import Command, Server, free_port, running

LAUNCH_S = 240.0
LLAMA = "0.3.36"
"""The release of llama-cpp-python whose source package holds the llama.cpp that is compiled."""

# Apart from the converter's packages, so that a change among those compiles nothing again.
LLAMA_FOLDER = ENVIRONMENTS / f"llama-{LLAMA}"

# Its model is named in its source, and its command line cannot name another.
_RUN_LOCAL_RERANKER = """
import sys, uvicorn, local_reranker.api as api
api.DEFAULT_MODEL_NAME = sys.argv[1]
uvicorn.run(api.app, host="127.0.0.1", port=int(sys.argv[2]))
"""

# The converter knows a tokenizer by a hash of what it does, and has never seen the one of a tiny RoBERTa.
_CONVERT = """
import runpy, sys
source = sys.argv.pop(1)
sys.path[:0] = [source, source + "/gguf-py"]
from conversion import base
for held in list(vars(base).values()):
    if hasattr(held, "get_vocab_base_pre"):
        held.get_vocab_base_pre = lambda self, tokenizer: "roberta-bpe"
runpy.run_path(source + "/convert_hf_to_gguf.py", run_name="__main__")
"""


def local_reranker(directory: Path, port: int) -> Command:
    """Return how local-reranker serves a model, whatever name it is asked for."""
    python = environment("servers-local-reranker").python
    return Command([python, "-c", _RUN_LOCAL_RERANKER, directory, str(port)], "/health")


@contextmanager
def xinference(directory: Path, *, folder: Path) -> Iterator[Server]:
    """Start Xinference, and have it serve a model as `tiny`."""
    port = free_port()
    program = environment("servers-xinference").program("xinference-local")
    settings = {
        "XINFERENCE_HOME": str(folder / "xinference"),
        "XINFERENCE_AUTH_ADVANCED": "false",  # otherwise a person has to set up an account first
        "XINFERENCE_ENABLE_VIRTUAL_ENV": "0",  # otherwise it installs what it thinks a model needs
    }
    command = Command([program, "--host", "127.0.0.1", "--port", str(port)], "/status", settings)
    family = {
        "version": 2,
        "model_name": "tiny",
        "language": ["en"],
        "type": "normal",
        "max_tokens": 512,
        "model_specs": [
            {
                "model_format": "pytorch",
                "model_hub": "huggingface",
                "model_id": "nobody/tiny",
                "model_revision": None,
                "model_uri": str(directory),
                "quantization": "none",
            }
        ],
        "virtualenv": None,
    }
    with running("xinference", command, port, folder=folder) as server:
        _post(f"{server.url}/v1/model_registrations/rerank", {"model": json.dumps(family), "persist": False})
        launch = {"model_name": "tiny", "model_type": "rerank", "model_engine": "sentence_transformers"}
        _post(f"{server.url}/v1/models", launch)
        yield server


def llama(model: Path, port: int, *, key: str) -> Command:
    """Return how llama.cpp serves a converted model as `tiny`."""
    words = [_llama_server(), "-m", model, "--reranking", "--host", "127.0.0.1", "--port", str(port)]
    # A pair has to fit into one batch, and the context is shared by what is answered at once.
    words += ["-c", "1024", "-b", "512", "-ub", "512", "-np", "2", "-t", "1"]
    words += ["--alias", "tiny", "--offline", "--api-key", key]
    return Command(words, "/health")


def as_gguf(directory: Path, path: Path) -> Path:
    """Write a RoBERTa in the format of llama.cpp, without loss, and return where it is."""
    python = environment("servers-llama").python
    options = ["--outfile", str(path), "--outtype", "f32"]
    run([str(python), "-c", _CONVERT, str(_llama_source()), str(directory), *options])
    return path


def _llama_server() -> Path:
    """Return the program, compiled where it is not there yet: a quarter of an hour on two processors."""
    source, build = _llama_source(), LLAMA_FOLDER / "build"
    program = build / "bin" / "llama-server"
    with alone(LLAMA_FOLDER.name):
        if not program.is_file():
            _compile(source, build)
    return program


def _llama_source() -> Path:
    """Return the folder of llama.cpp's source, fetched and unpacked where it is not there yet."""
    python = environment("servers-llama").python
    unpacked = LLAMA_FOLDER / ".unpacked"
    with alone(LLAMA_FOLDER.name):
        if not unpacked.is_file():
            shutil.rmtree(LLAMA_FOLDER, ignore_errors=True)
            _unpack(python, LLAMA_FOLDER)
            unpacked.touch()
    return LLAMA_FOLDER / f"llama_cpp_python-{LLAMA}" / "vendor" / "llama.cpp"


def _unpack(python: Path, folder: Path) -> None:
    wanted = ["--no-deps", "--no-binary", ":all:", f"llama-cpp-python=={LLAMA}"]
    run([str(python), "-m", "pip", "download", "--quiet", "--dest", str(folder), *wanted])
    for package in folder.glob("*.tar.gz"):
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")


def _compile(source: Path, build: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        raise NotMade("llama.cpp is compiled, and there is no cmake; install it, and a C++ compiler")
    off = ["LLAMA_CURL", "LLAMA_OPENSSL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_UI"]
    off += ["GGML_NATIVE", "BUILD_SHARED_LIBS"]
    run([cmake, "-S", str(source), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release", *(f"-D{name}=OFF" for name in off)])
    run([cmake, "--build", str(build), "--target", "llama-server", "--parallel", "2"])


def _post(url: str, body: Any) -> None:
    reply = httpx2.post(url, json=body, timeout=LAUNCH_S, trust_env=False)
    assert reply.is_success, f"{url} answered {reply.status_code}: {reply.text[:2000]}"
