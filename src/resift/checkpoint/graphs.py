"""ONNX graphs: which file is which number format, and which files of weights a graph names."""

import mmap
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from resift.errors import ModelNotFound

FOLDERS = ("onnx", "")  # where people put graphs, in order of preference

# The names that exporters give to graphs, by the number format; in order of preference.
_STEMS = {
    "float32": ("model",),
    "float16": ("model_fp16",),
    "bfloat16": ("model_bf16",),
    "int8": (
        *("model_quantized", "model_int8"),
        *("model_qint8_avx512_vnni", "model_qint8_avx512", "model_quint8_avx2", "model_qint8_arm64"),
        "model_uint8",
    ),
}

_WEIGHTS = ("", "_data", ".data")  # what follows a graph's name in those of its files

# Numbers of fields in onnx.proto, by message.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 5, 6
_TENSOR_EXTERNAL_DATA = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

# How the protobuf format writes fields: a varint, a length with so many bytes, or 8 or 4 bytes.
_VARINT, _SIZED, _FIXED = 0, 2, {1: 8, 5: 4}
_LONGEST_VARINT = 10

Span = tuple[int, int]  # where a part of a file begins and ends


def graph_name(names: Sequence[str], dtype: str) -> str | None:
    """Return which of a model's files is its graph in a number format."""
    # what was quantised for another processor runs as well, but comes last
    foreign = "avx" if platform.machine().lower() in ("arm64", "aarch64") else "arm64"
    stems = sorted(_STEMS[dtype], key=lambda stem: foreign in stem)
    wanted = [str(PurePosixPath(folder, f"{stem}.onnx")) for stem in stems for folder in FOLDERS]
    return next((name for name in wanted if name in names), None)


def is_read(name: str) -> bool:
    """Whether a file is called as a graph that is read in some number format, or as the weights of such a one."""
    stem, dot, rest = name.partition(".onnx")
    return bool(dot) and rest in _WEIGHTS and any(stem in stems for stems in _STEMS.values())


def no_graph(who: str, names: Sequence[str], dtype: str) -> ModelNotFound:
    """Return the error for a number format that no graph of a model is in, which says what there is."""
    formats = {f"{stem}.onnx": name for name, stems in _STEMS.items() for stem in stems}
    there = [
        f"{name} (dtype={formats[path.name]!r})" if path.name in formats else name
        for name in names
        if (path := PurePosixPath(name)).suffix == ".onnx"
    ]
    found = f"choose from {', '.join(there)}" if there else "complete the download, or choose a model that has one"
    return ModelNotFound(f"{who} no ONNX graph for dtype={dtype!r} (onnx/{_STEMS[dtype][0]}.onnx); {found}")


def data_of(path: Path) -> dict[str, int]:
    """
    Return the files of weights that a graph names, and how many bytes it needs of each.

    Raises ValueError, with what is wrong, where the file is no whole graph.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            raise ValueError("is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            graphs = list(_parts(content, _MODEL_GRAPH, (0, len(content))))
            if not graphs:
                raise ValueError("holds no graph")
            needed: dict[str, int] = {}
            for tensor in (tensor for graph in graphs for tensor in _tensors(content, graph)):
                location, end = _place(content, tensor)
                if location:
                    needed[location] = max(end, needed.get(location, 0))
            return needed


def _tensors(content: mmap.mmap, graph: Span) -> Iterator[Span]:
    """Yield where the tensors of a graph are, those inside its nodes and inside their graphs included."""
    yield from _parts(content, _GRAPH_INITIALIZER, graph)
    for node in _parts(content, _GRAPH_NODE, graph):
        for attribute in _parts(content, _NODE_ATTRIBUTE, node):
            yield from _parts(content, _ATTRIBUTE_TENSOR, attribute)
            for inner in _parts(content, _ATTRIBUTE_GRAPH, attribute):
                yield from _tensors(content, inner)


def _place(content: mmap.mmap, tensor: Span) -> tuple[str, int]:
    """Return the file that holds a tensor, "" for the graph's own, and where in it the tensor ends."""
    entries = {}
    for entry in _parts(content, _TENSOR_EXTERNAL_DATA, tensor):
        key, value = (
            b"".join(content[start:end] for start, end in _parts(content, field, entry)).decode(errors="replace")
            for field in (_ENTRY_KEY, _ENTRY_VALUE)
        )
        entries[key] = value
    size = [entries.get(name, "0") for name in ("offset", "length")]
    return entries.get("location", ""), sum(int(number) for number in size if number.isdecimal())


def _parts(content: mmap.mmap, wanted: int, within: Span) -> Iterator[Span]:
    """Yield where the fields of one number begin and end in a message; raise ValueError where it is cut."""
    at, stop = within
    while at < stop:
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == _SIZED:
            size, at = _varint(content, at)
        elif kind == _VARINT:
            size = _varint(content, at)[1] - at
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError("is no ONNX graph")
        if at + size > stop:
            raise ValueError(f"ends too early, after {len(content)} bytes")
        if tag >> 3 == wanted and kind == _SIZED:
            yield at, at + size
        at += size


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """Return a number, and where what follows it begins."""
    number = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(content):
            raise ValueError(f"ends too early, after {len(content)} bytes")
        byte = content[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("is no ONNX graph")
