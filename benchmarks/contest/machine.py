"""The machine, how much it can do at best, and the commit that was measured on it."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRIES = 50
WIDTHS = {"cpu": 1024, "cuda": 8192}
DTYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}


def name_of(device: str) -> str:
    """Return what the machine says of what computes."""
    return f"{processor()}, {os.cpu_count()} cores" if device == "cpu" else graphics_card()


def processor() -> str:
    """Return what the machine says of its processor: family and model, too, where the name hides them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    stripped = {key.strip(): value.strip() for key, value in found.items()}
    return f"{stripped.get('model name')}, family {stripped.get('cpu family')}, model {stripped.get('model')}"


def graphics_card() -> str:
    """Return the name of the GPU, and of the processor beside it, which tokenises."""
    import torch

    return f"{torch.cuda.get_device_name()}; {os.cpu_count()} cores of {processor()}"


def memory_bytes() -> int:
    """Return how much memory the machine can give now."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def commit() -> str:
    """Return the commit that is measured, and whether files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607 - the git that is on the path
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def ceilings(device: str) -> dict[str, float]:
    """Return the most operations a second that a large matrix product reaches here in each format."""
    from resift.scoring.backends.torch.linears import PlainLinear, PrepackedLinear

    kinds: tuple[Callable[..., Any], ...] = (PlainLinear, PrepackedLinear) if device == "cpu" else (PlainLinear,)
    return {dtype: max(_ceiling(kind, dtype, device) for kind in kinds) for dtype in DTYPES[device]}


def _ceiling(kind: Callable[..., Any], dtype: str, device: str) -> float:
    import torch

    width = WIDTHS[device]
    weight, states = (torch.randn(width, width, device=device).to(getattr(torch, dtype)) for _ in range(2))

    def once() -> float:
        start = time.perf_counter()
        layer(states)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    with torch.inference_mode():
        try:
            layer = kind(weight, None)
            return 2 * width**3 / min(once() for _ in range(TRIES))
        except (AttributeError, RuntimeError):  # an operator that this torch or processor does not have
            return 0.0
