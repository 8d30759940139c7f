"""resift as a cross-encoder, for code that is written around LangChain's `BaseCrossEncoder`."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, Field, SecretStr

from langchain_resift.settings import RankerSettings
from resift import InvalidInput, MissingDependency, Ranker

try:
    from langchain_core.cross_encoders import BaseCrossEncoder
except ModuleNotFoundError:  # before langchain-core 1.2.19 it was where the CrossEncoderReranker is
    try:
        from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
    except ModuleNotFoundError:
        raise MissingDependency(
            "ResiftCrossEncoder needs langchain-core 1.2.19 or newer, or langchain-classic beside an older one; "
            "install one of them, or use ResiftRerank, which needs neither"
        ) from None


class ResiftCrossEncoder(RankerSettings, BaseCrossEncoder):
    """
    Scores pairs of a query and a text: what `HuggingFaceCrossEncoder` did in a `CrossEncoderReranker`.

    Its arguments are taken as well: `model_name` for `model`, `model_kwargs` for `options`. The scores are equal; say
    `normalize=True` for bge-reranker models, whose authors return the logits that it put through a sigmoid.

    Where no `CrossEncoderReranker` is in place yet, `ResiftRerank` does more: it keeps scores, and awaits.

    >>> encoder = ResiftCrossEncoder()
    >>> scores = encoder.score(
    ...     [("what is a panda?", "Paris is in France."), ("what is a panda?", "The panda is a bear.")]
    ... )
    >>> scores[1] > scores[0]
    True
    """

    model: str | Path | None = Field(default=None, frozen=True, validation_alias=AliasChoices("model", "model_name"))
    """A hub id, a local directory, or the name by which an endpoint knows its model; "lexical" if nothing is given."""

    options: dict[str, Any] = Field(
        default_factory=dict, frozen=True, validation_alias=AliasChoices("options", "model_kwargs")
    )
    """The other options of `resift.load`, or with a `base_url` those of `resift.connect`."""

    if TYPE_CHECKING:  # who would not know the other names

        def __init__(
            self,
            *,
            model: str | Path | None = None,
            model_name: str | Path | None = None,
            base_url: str | None = None,
            api_key: SecretStr | None = None,
            normalize: bool | None = None,
            instruction: str | None = None,
            options: Mapping[str, Any] | None = None,
            model_kwargs: Mapping[str, Any] | None = None,
            ranker: Ranker | None = None,
        ) -> None: ...

    def score(self, text_pairs: Iterable[tuple[str, str]]) -> list[float]:
        """
        Return one score per pair, in their order; pairs of several queries are scored together.

        Raises:
            InvalidInput: what is no pair of texts, and a blank query.
            ResiftError: a pair could not be scored.
        """
        pairs = list(text_pairs)
        places: dict[str, list[int]] = {}
        for at, pair in enumerate(pairs):
            places.setdefault(_query(pair, at), []).append(at)
        requests = [(query, [pairs[at][1] for at in asked]) for query, asked in places.items()]
        answers = self._reranker.score_many(requests, instruction=self.instruction)
        scores = dict(zip(chain.from_iterable(places.values()), chain.from_iterable(answers), strict=True))
        return [scores[at] for at in range(len(pairs))]


def _query(pair: object, at: int) -> str:
    """Return a pair's query, or say why it is no pair."""
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise InvalidInput(f"text_pairs[{at}] must be a query and a text, not {type(pair).__name__}")
    query: str = pair[0]
    if not query.strip():
        raise InvalidInput(f"text_pairs[{at}] has a blank query; pass the words to score by")
    return query
