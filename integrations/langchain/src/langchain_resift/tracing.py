"""
One run per rerank for whoever watches: LangSmith, a callback, OpenTelemetry.

It is a chain's run, as a runnable in its place would make, and no retriever's: who collects sources as retrievers end
finds each document once, in the run of the retriever that the reranker works for.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, Callbacks
from langchain_core.runnables.config import ensure_config


@contextmanager
def traced(name: str, inputs: dict[str, Any], callbacks: Callbacks | None) -> Iterator[dict[str, Any]]:
    """Run a block as a run of its own; what it puts into the mapping that it is given are the run's outputs."""
    manager = CallbackManager.configure(**_surroundings(callbacks))
    run = manager.on_chain_start(None, inputs, name=name)
    outputs: dict[str, Any] = {}
    try:
        yield outputs
    except BaseException as error:
        run.on_chain_error(error)
        raise
    run.on_chain_end(outputs)


@asynccontextmanager
async def atraced(name: str, inputs: dict[str, Any], callbacks: Callbacks | None) -> AsyncIterator[dict[str, Any]]:
    """Do what `traced` does, and await callbacks that are coroutines."""
    manager = AsyncCallbackManager.configure(**_surroundings(callbacks))
    run = await manager.on_chain_start(None, inputs, name=name)
    outputs: dict[str, Any] = {}
    try:
        yield outputs
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(outputs)


def _surroundings(callbacks: Callbacks | None) -> dict[str, Any]:
    """Return what the run inherits; callbacks that nobody passed on are those of the runnable all this happens in."""
    config = ensure_config(None if callbacks is None else {"callbacks": callbacks})
    return {
        "inheritable_callbacks": config.get("callbacks"),
        "inheritable_tags": config.get("tags"),
        "inheritable_metadata": config.get("metadata"),
    }
