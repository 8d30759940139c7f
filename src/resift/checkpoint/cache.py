"""Which hub models are in this machine's cache, without asking the hub or its client."""

import os
from pathlib import Path


def cache_directory(cache_dir: str | None = None) -> Path:
    """Return where hub models are kept, by the same variables that the hub's client goes by."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if found := os.environ.get(variable):
            return Path(os.path.expandvars(found)).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", str(Path(caches) / "huggingface"))
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def is_cached(model: str, cache_dir: str | None = None) -> bool:
    """Whether some commit of a hub model is in the cache."""
    snapshots = cache_directory(cache_dir) / f"models--{model.replace('/', '--')}" / "snapshots"
    return snapshots.is_dir() and any(snapshots.iterdir())


def size_of(directory: Path) -> tuple[int, int]:
    """Return how many files a model's directory has, and how many bytes they hold."""
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
