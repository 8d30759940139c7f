"""Models with weights, written as ONNX graphs: for machines without torch, and for runtimes that are not ours."""

from resift.exporting.exporting import Exported, export

__all__ = ["Exported", "export"]
