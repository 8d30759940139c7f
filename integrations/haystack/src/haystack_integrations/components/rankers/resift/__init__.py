"""Haystack's door to resift: the component that puts documents in order of relevance."""

from haystack_integrations.components.rankers.resift.ranker import ResiftRanker

__all__ = ["ResiftRanker"]
