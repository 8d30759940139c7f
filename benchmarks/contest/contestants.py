"""Who takes part: every peer in the ways its users run it, and resift."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contest.graphs import OURS as OUR_GRAPH
from benchmarks.contest.graphs import PLAIN
from benchmarks.contest.sizes import Size

OURS = "resift"


@dataclass(frozen=True)
class Contestant:
    """One way to score the requests; a row of the table."""

    name: str
    peer: str
    """The folder of `peers` that says how."""

    dtype: str = "float32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    graph: str = ""
    """Which exported graph it reads, if it reads one."""

    in_turns: bool = False
    """Whether callers that come at once are measured, too."""

    @property
    def together(self) -> bool:
        """Whether several callers may call at once; libraries of others do not promise it."""
        return self.peer == OURS


def exact(size: Size) -> str:
    """Return the name of the row whose scores the others are compared with: the reference in full precision."""
    return "transformers, float32, last position" if size.template else "sentence-transformers, float32"


def baseline(size: Size, device: str) -> str:
    """Return the name of the row that counts as one."""
    if size.template:
        return "transformers, bfloat16, as on the model card"
    return "sentence-transformers, float32" if device == "cpu" else "sentence-transformers, bfloat16"


def contestants(size: Size, device: str, peers: Iterable[str] | None = None) -> list[Contestant]:
    """Return who takes part with a model on a device; of the peers only those called `peers`, and always ours."""
    if size.template:
        rows = [*_prompted(size), *_ours(size, device)]
    elif device == "cpu":
        rows = [*_classifiers(), *_on_graphs(), *_ours(size, device)]
    else:
        rows = [*_classifiers_on_gpu(), *_ours(size, device)]
    needed = {exact(size), baseline(size, device)}
    chosen = None if peers is None else {*peers, OURS}
    return [row for row in rows if chosen is None or row.peer in chosen or row.name in needed]


def _row(name: str, peer: str, dtype: str = "float32", *, in_turns: bool = False, **settings: Any) -> Contestant:
    return Contestant(f"{name}, {dtype}", peer, dtype, settings | {"dtype": dtype}, in_turns=in_turns)


def _ours(size: Size, device: str) -> list[Contestant]:
    how = {"backend": "torch", "like": size.like}
    dtypes = ("float32", "bfloat16") if device == "cpu" else ("bfloat16", "float16", "float32")
    rows = [_row(OURS, OURS, dtype, in_turns=not size.template or dtype == "bfloat16", **how) for dtype in dtypes]
    if device != "cpu" or size.template:
        return rows
    graphs = [("onnx", "float32"), ("onnx", "int8"), ("openvino", "float32"), ("openvino", "bfloat16")]
    for backend, dtype in [*graphs, ("openvino", "int8")]:
        settings = {"backend": backend, "dtype": dtype}
        name = f"{OURS} on {backend}, {dtype}"
        rows.append(Contestant(name, OURS, dtype, settings, graph=OUR_GRAPH, in_turns=backend == "openvino"))
    return rows


def _classifiers() -> list[Contestant]:
    reference = "sentence-transformers"
    return [
        _row(reference, "sentence_transformers", in_turns=True),
        Contestant(
            f"{reference}, float32, batch_size=8", "sentence_transformers", "float32", {"batch_size": 8}, in_turns=True
        ),
        _row(reference, "sentence_transformers", "bfloat16"),
        _row("FlagEmbedding", "flag_embedding"),
        _row("mxbai-rerank", "mxbai_rerank"),
        _row("rerankers", "rerankers"),
    ]


def _classifiers_on_gpu() -> list[Contestant]:
    reference, peer = "sentence-transformers", "sentence_transformers"
    large = [
        Contestant(
            f"{reference}, bfloat16, batch_size={size}", peer, "bfloat16", {"dtype": "bfloat16", "batch_size": size}
        )
        for size in (128, 512)
    ]
    return [
        _row(reference, peer, "bfloat16", in_turns=True),
        _row(reference, peer, "float16"),
        *large,
        _row(reference, peer),
        _row("FlagEmbedding", "flag_embedding", "float16"),
        _row("mxbai-rerank", "mxbai_rerank", "bfloat16"),
        _row("rerankers", "rerankers", "bfloat16"),
    ]


def _on_graphs() -> list[Contestant]:
    ways: list[tuple[str, str, str, dict[str, Any]]] = [
        ("ONNX Runtime, float32, batches of 32", "onnx_runtime", "float32", {"batch_size": 32}),
        ("ONNX Runtime, float32, sorted", "onnx_runtime", "float32", {"batch_tokens": 1000}),
        ("ONNX Runtime, int8, sorted", "onnx_runtime", "int8", {"batch_tokens": 1000}),
        ("OpenVINO, float32, batches of 32", "openvino", "float32", {"batch_size": 32}),
        ("OpenVINO, float32, sorted", "openvino", "float32", {"batch_tokens": 1000}),
        ("OpenVINO, bfloat16, sorted", "openvino", "bfloat16", {"batch_tokens": 1000}),
        ("OpenVINO, int8, sorted", "openvino", "int8", {"batch_tokens": 1000}),
        ("fastembed, float32", "fastembed", "float32", {}),
        ("FlashRank, float32", "flashrank", "float32", {}),
        ("FlashRank, int8", "flashrank", "int8", {}),
    ]
    return [
        Contestant(
            name, peer, dtype, how | {"dtype": dtype}, graph=PLAIN, in_turns="sorted" in name and dtype != "int8"
        )
        for name, peer, dtype, how in ways
    ]


def _prompted(size: Size) -> list[Contestant]:
    peer, asked = "transformers", {"template": size.template, "batch_size": 8}
    rows = [
        Contestant(
            f"{peer}, {dtype}, {name}",
            peer,
            dtype,
            asked | {"dtype": dtype, "positions": positions},
            in_turns=(dtype, positions) == ("bfloat16", "last"),
        )
        for dtype, name, positions in (
            ("bfloat16", "as on the model card", "all"),
            ("bfloat16", "last position", "last"),
            ("float32", "last position", "last"),
        )
    ]
    if size.template == "mxbai":
        rows += [_row("mxbai-rerank", "mxbai_rerank", dtype) for dtype in ("float32", "bfloat16")]
    return rows
