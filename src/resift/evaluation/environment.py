"""Where an evaluation ran: what anybody needs to know before comparing its latencies with others."""

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("resift", "numpy", "tokenizers", "torch", "transformers", "onnxruntime", "openvino", "httpx2")
_GIT_S = 10.0

Environment = dict[str, str]


@cache
def environment() -> Environment:
    """Return the machine, the versions and the commit, each as one line; what cannot be known is left out."""
    known = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or ""),
        "memory": _memory(),
        "gpus": _gpus(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "commit": _commit(),
        **{package: _version(package) for package in _PACKAGES},
    }
    return {name: value for name, value in known.items() if value}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    return _first(r"model name\s*: (.+)", Path("/proc/cpuinfo")) or platform.processor()


def _memory() -> str:
    kib = _first(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo"))
    return f"{int(kib) / 2**20:.1f} GiB" if kib else ""


def _gpus() -> str:
    """Return the names of the GPUs as the driver tells them, so that no library for them is loaded."""
    found = Path("/proc/driver/nvidia/gpus").glob("*/information")
    return ", ".join(filter(None, (_first(r"Model:\s*(.+)", path) for path in sorted(found))))


def _first(pattern: str, path: Path) -> str:
    try:
        matched = re.search(pattern, path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return matched[1].strip() if matched else ""


def _commit() -> str:
    """Return the commit of a checkout of resift, marked where files differ from it; nothing for an installed one."""
    git, root = shutil.which("git"), Path(__file__).parents[3]
    if git is None or not (root / ".git").exists():
        return ""
    told = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603 - nothing of it comes from a caller
            told, capture_output=True, text=True, timeout=_GIT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
