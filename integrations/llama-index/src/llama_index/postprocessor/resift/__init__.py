"""resift in LlamaIndex: a node postprocessor that puts nodes in order of relevance."""

from llama_index.postprocessor.resift.rerank import ResiftRerank

__all__ = ["ResiftRerank"]
