"""resift in LangChain: a document compressor, a retriever around it, and a cross-encoder."""

from typing import TYPE_CHECKING, Any

from langchain_resift.rerank import ResiftRerank
from langchain_resift.retriever import ResiftRetriever

if TYPE_CHECKING:
    from langchain_resift.cross_encoder import ResiftCrossEncoder
else:

    def __getattr__(name: str) -> Any:
        """Import the cross-encoder where somebody asks for it: an older langchain-core has none to derive it from."""
        if name == "ResiftCrossEncoder":
            from langchain_resift.cross_encoder import ResiftCrossEncoder

            return ResiftCrossEncoder
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ResiftCrossEncoder", "ResiftRerank", "ResiftRetriever"]
