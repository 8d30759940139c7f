"""A ranker as mteb asks for a cross-encoder."""

from collections.abc import Iterable, Mapping
from typing import Any

from resift.errors import MissingDependency
from resift.evaluation.elsewhere.pairs import Scores, score_pairs
from resift.types import Ranker


class MTEBReranker:
    """
    Any ranker as a model that `mteb.evaluate` takes for reranking tasks.

    `name` is what mteb calls it in its results, of the form "owner/model".
    """

    def __init__(
        self, ranker: Ranker, *, name: str | None = None, revision: str | None = None, instruction: str | None = None
    ) -> None:
        self._ranker = ranker
        self._name = name or (ranker.model if "/" in ranker.model else f"resift/{ranker.model}")
        self._revision = revision
        self._instruction = instruction

    def __repr__(self) -> str:
        return f"MTEBReranker({self._ranker!r})"

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb writes into its results about the model."""
        try:
            from mteb.models import ModelMeta  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingDependency("this adapter is for mteb, which is not installed: pip install mteb") from error
        return ModelMeta.create_empty(
            overwrites={"name": self._name, "revision": self._revision, "model_type": ["cross-encoder"]}
        )

    def predict(
        self,
        inputs1: Iterable[Mapping[str, list[str]]],
        inputs2: Iterable[Mapping[str, list[str]]],
        **_: Any,
    ) -> Scores:
        """Return the score of each pair: the queries are in the batches of `inputs1`, the documents in `inputs2`."""
        queries, documents = ([text for batch in inputs for text in batch["text"]] for inputs in (inputs1, inputs2))
        pairs = list(zip(queries, documents, strict=True))
        return score_pairs(self._ranker, pairs, instruction=self._instruction)
