"""What LlamaIndex's two ways of watching are told about a rerank: instrumentation events, and callbacks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # its documented home
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import NodeWithScore, QueryBundle

dispatcher = get_dispatcher(__name__)


@contextmanager
def watched(
    nodes: Sequence[NodeWithScore],
    query: QueryBundle | None,
    *,
    model: str,
    top_n: int | None,
    callback_manager: CallbackManager,
) -> Iterator[list[NodeWithScore]]:
    """
    Say that a rerank begins, and that it ended, whether it was empty, failed or was cancelled.

    The yielded list is to be filled with the reranked nodes; it stays empty where there are none to show.
    """
    ranked: list[NodeWithScore] = []
    most = len(nodes) if top_n is None else top_n
    begun: dict[str, Any] = {
        EventPayload.NODES: list(nodes),
        EventPayload.MODEL_NAME: model,
        EventPayload.QUERY_STR: None if query is None else query.query_str,
        EventPayload.TOP_K: most,
    }
    dispatcher.event(ReRankStartEvent(query=query, nodes=list(nodes), top_n=most, model_name=model))
    try:
        with callback_manager.event(CBEventType.RERANKING, payload=begun) as event:
            yield ranked
            event.on_end(payload={EventPayload.NODES: list(ranked)})
    finally:
        dispatcher.event(ReRankEndEvent(nodes=ranked))
