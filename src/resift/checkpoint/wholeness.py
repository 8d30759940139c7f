"""Whether a weight file is all there, told without reading the weights."""

import json
import zipfile
from pathlib import Path

from resift.checkpoint.graphs import data_of

_LFS_POINTER = b"version https://git-lfs"
_LENGTH_BYTES = 8  # a safetensors file opens with the length of its header


def fault_of(path: Path) -> str | None:
    """Say what keeps a weight file from being whole, without reading the weights."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            return "is a Git LFS pointer, not the file itself (`git lfs pull` fetches it)"
        known = {".safetensors": _safetensors_fault, ".onnx": _graph_fault}.get(path.suffix)
        return known(path) if known else _pickle_fault(path, start)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _safetensors_fault(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if header_size > size - _LENGTH_BYTES:
            return f"ends inside its header, after {size} bytes"
        header = file.read(header_size)
    try:
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        expected = _LENGTH_BYTES + header_size + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "has a header that cannot be read"
    return None if size == expected else f"has {size} bytes where its header announces {expected}"


def _pickle_fault(path: Path, start: bytes) -> str | None:
    if not start:
        return "is empty"
    # PyTorch has written zip archives since 1.6, and the directory of an archive is at its end
    cut = start.startswith(b"PK") and not zipfile.is_zipfile(path)
    return "ends before its table of contents" if cut else None


def _graph_fault(path: Path) -> str | None:
    try:
        data_of(path)
    except ValueError as error:
        return str(error)
    return None
