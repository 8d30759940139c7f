"""What a machine has for ranking, gathered without trusting any of it: what may be broken is tried in a child."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from resift.checkpoint.cache import cache_directory

State = Literal["good", "missing", "old", "broken"]

_PATIENCE_S = 180.0
_AT_ONCE = 4
_NOT_FOR_USERS = {"all", "dev"}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*(?P<needed>[^;]*?)\s*(?:;.*extra == ['\"](?P<extra>\w+)['\"])?$")
_SURVEYED = ("torch", "onnxruntime", "openvino")
_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
_FEATURES_ARM = ("asimd", "sve", "i8mm", "bf16", "asimdhp")
# A number format is fast where the processor multiplies in it; otherwise it is emulated, and slower than float32.
_FAST = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "asimdhp"},
    "int8": {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"},
}
_MODULES = {"huggingface-hub": "huggingface_hub", "prometheus-client": "prometheus_client"}


@dataclass(frozen=True, slots=True)
class Package:
    """One package that resift uses, and how it is."""

    name: str
    version: str
    needed: str
    state: State
    reason: str = ""


def check_up() -> dict[str, Any]:
    """Return all that is known, as plain values."""
    listed = _requirements()
    names = {name for group in listed.values() for name in group}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tried = dict(zip(sorted(names), pool.map(_try, sorted(names)), strict=True))
    extras = {
        extra: [_package(name, needed, tried[name]) for name, needed in group.items()]
        for extra, group in listed.items()
    }
    packages = [package for group in extras.values() for package in group]
    surveys = {name: tried[name].get("found") for name in _SURVEYED if name in tried}
    torch = surveys.get("torch") or {}
    return {
        "resift": version("resift"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "gpus": torch.get("cards", []),
        "backends": {name: surveys.get(name) for name in _SURVEYED},
        "cache": _cache(),
        "extras": {extra: _summary(group) for extra, group in extras.items()},
        "advice": list(_advice(extras)),
        "healthy": all(package.state in ("good", "missing") for package in packages),
    }


def processor(path: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return the processor's name, its extensions for numbers, and the number formats that are fast on it."""
    try:
        told = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        told = ""
    flags = set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", told, re.MULTILINE)[:1]).split())
    name = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    return {
        "name": name[1].strip() if name else platform.processor(),
        "cores": os.cpu_count() or 1,
        "features": [feature for feature in (*_FEATURES, *_FEATURES_ARM) if feature in flags],
        "fast_dtypes": ["float32", *(dtype for dtype, needs in _FAST.items() if needs & flags)],
    }


def _requirements() -> dict[str, dict[str, str]]:
    """Return what each extra asks for, by what the installed resift says of itself; the core's own are an extra too."""
    groups: dict[str, dict[str, str]] = {}
    for line in requires("resift") or ():
        found = _REQUIREMENT.match(line)
        if found is not None and found["extra"] not in _NOT_FOR_USERS:
            groups.setdefault(found["extra"] or "core", {})[found["name"]] = found["needed"]
    return groups


def _try(name: str) -> dict[str, Any]:
    """Import a package in a process of its own, and say what it finds or why it does not work."""
    try:
        installed = version(name)
    except PackageNotFoundError:
        return {"version": ""}
    module = _MODULES.get(name, name.replace("-", "_"))
    surveyed = ["-m", "resift.scoring.backends.survey", name]
    command = surveyed if name in _SURVEYED else ["-c", f"import {module}"]
    try:
        done = subprocess.run(  # noqa: S603 - this very Python, and names of our own requirements
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {"version": installed, "reason": f"it has not been imported after {_PATIENCE_S:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        return {"version": installed, "reason": last}
    return {"version": installed, "found": json.loads(done.stdout) if name in _SURVEYED else None}


def _package(name: str, needed: str, tried: Mapping[str, Any]) -> Package:
    installed, reason = tried["version"], tried.get("reason", "")
    if not installed:
        return Package(name, "", needed, "missing")
    if reason:
        return Package(name, installed, needed, "broken", reason)
    return Package(name, installed, needed, "old" if _is_older(installed, needed) else "good")


def _is_older(installed: str, needed: str) -> bool:
    least = re.search(r">=\s*([\d.]+)", needed)
    return least is not None and _numbers(installed) < _numbers(least[1])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"[\d.]*", text)[0].split(".") if part)  # type: ignore[index]


def _summary(group: Iterable[Package]) -> dict[str, Any]:
    packages = list(group)
    return {
        "complete": all(package.state == "good" for package in packages),
        "packages": [asdict(package) for package in packages],
    }


def _advice(extras: Mapping[str, Iterable[Package]]) -> Iterable[dict[str, str]]:
    """Yield what to run for each extra that is not whole."""
    for extra, group in extras.items():
        wrong = [package for package in group if package.state != "good"]
        target = "resift" if extra == "core" else f"resift[{extra}]"
        if any(package.state == "broken" for package in wrong):
            names = " ".join(package.name for package in wrong if package.state == "broken")
            yield {"why": f"{names} is broken", "run": f"pip install --force-reinstall {names}"}
        elif wrong:
            named = ", ".join(package.name for package in wrong)
            verb = "to complete" if len(wrong) < len(list(group)) else "for"
            yield {"why": f"{verb} the extra {extra} ({named})", "run": f'pip install --upgrade "{target}"'}


def _cache() -> dict[str, Any]:
    directory = cache_directory()
    return {"directory": str(directory), "models": len(list(directory.glob("models--*"))) if directory.is_dir() else 0}
