"""The node postprocessor: nodes and a query in, the same nodes in order of relevance out."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Literal, Self

from llama_index.core.bridge.pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_serializer,
    field_validator,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixin
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from llama_index.postprocessor.resift.nodes import (
    RERANK_ERROR,
    RETRIEVAL_SCORE,
    first_of_each,
    noted,
    read_nodes,
    read_query,
    text_of,
)
from llama_index.postprocessor.resift.options import read_options, require_writable
from llama_index.postprocessor.resift.watching import dispatcher, watched
from resift import InvalidInput, Ranker
from resift.adapting import OnError, Placement, Reranker
from resift.types import Cut

_SHOWN = ("model", "base_url", "top_n", "score_threshold", "instruction", "normalize")
_IN_A_CUT = {"top_n": "top_n", "score_threshold": "threshold"}


class ResiftRerank(BaseNodePostprocessor, PromptMixin):
    """
    Puts nodes in order of relevance to the query, with a model that runs here or behind an endpoint.

    Making one is cheap: settings are checked, and the model is loaded with the first query. Any number of threads and
    event loops may use one at once, and components with equal settings share one model. The caller's nodes stay as
    they are. What decides the ranker cannot be assigned later; what becomes of the nodes can. Neither `to_dict` nor a
    pickle holds the key.

    Args:
        model: a hub id, a local directory, or "lexical", the built-in scorer that needs no model (the default); with
            `base_url` the name by which the endpoint knows its model.
        base_url: the endpoint that ranks, if the model is not to run here.
        api_key: the endpoint's key; that of the environment variable RESIFT_API_KEY if not given.
        top_n: how many nodes to return; all if not given.
        score_threshold: the lowest score to return, before `top_n` counts.
        instruction: what the model is told to look for, where it knows instructions; also the prompt "instruction".
        normalize: None for the scores that the model's authors return, True for [0, 1], False for raw logits.
        metadata_mode: which metadata the model reads in front of a node's text.
        keep_retrieval_score: note the score that a node came with in its metadata, as `retrieval_score`.
        deduplicate: of nodes with the same id, return the first only.
        textless: whether nodes without a text come "last", where they get no score, or "drop" out.
        on_error: "raise", or "pass" to return the nodes as they came when the ranker fails, with the error's name in
            their metadata, as `rerank_error`. Mistakes, such as a model that does not exist, are raised nonetheless.
        options: the other options of `resift.load` or, with `base_url`, of `resift.connect`.
        ranker: any `resift.Ranker`, in place of `model`, `base_url` and what belongs to them.
        callback_manager: who hears of a rerank by callback; engines set it to their own.

    Raises:
        ValueError: a setting that cannot mean anything.
    """

    model_config = ConfigDict(validate_assignment=True, hide_input_in_errors=True)  # an input may be a key

    model: str | None = Field(default=None, frozen=True)
    base_url: str | None = Field(default=None, frozen=True)
    api_key: SecretStr | None = Field(default=None, frozen=True, exclude=True)
    top_n: int | None = None
    score_threshold: float | None = None
    instruction: str | None = None
    normalize: bool | None = Field(default=None, frozen=True)
    metadata_mode: MetadataMode = MetadataMode.EMBED
    keep_retrieval_score: bool = False
    deduplicate: bool = False
    textless: Literal["last", "drop"] = "last"
    on_error: OnError = Field(default="raise", frozen=True)
    options: dict[str, Any] = Field(default_factory=dict, frozen=True)
    _reranker: Reranker = PrivateAttr()
    _writable: bool = PrivateAttr()

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        base_url: str | None = None,
        *,
        api_key: str | SecretStr | None = None,
        top_n: int | None = None,
        score_threshold: float | None = None,
        instruction: str | None = None,
        normalize: bool | None = None,
        metadata_mode: MetadataMode | Literal["all", "embed", "llm", "none"] = MetadataMode.EMBED,
        keep_retrieval_score: bool = False,
        deduplicate: bool = False,
        textless: Literal["last", "drop"] = "last",
        on_error: OnError = "raise",
        options: Mapping[str, Any] | None = None,
        ranker: Ranker | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        others = read_options(options)
        reranker = Reranker(
            model,
            base_url,
            ranker=ranker,
            on_error=on_error,
            api_key=api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key,
            normalize=normalize,
            **others,
        )
        Cut(top_n, score_threshold)  # says what is wrong with them before pydantic says it in more words
        settings: dict[str, Any] = {
            "model": fspath(model) if isinstance(model, PathLike) else model,
            "base_url": base_url,
            "api_key": api_key,
            "top_n": top_n,
            "score_threshold": score_threshold,
            "instruction": instruction,
            "normalize": normalize,
            "metadata_mode": metadata_mode,
            "keep_retrieval_score": keep_retrieval_score,
            "deduplicate": deduplicate,
            "textless": textless,
            "on_error": on_error,
            "options": others,
        }
        super().__init__(callback_manager=callback_manager or CallbackManager(), **settings)
        self._reranker, self._writable = reranker, ranker is None

    def __setattr__(self, name: str, value: Any) -> None:
        self._require_free([name])  # pydantic refuses it too, but repeats the value, which may be a key
        super().__setattr__(name, value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show what was asked for, and nothing that may hold a key."""
        return [(name, given) for name in _SHOWN if (given := getattr(self, name)) is not None]

    def __getstate__(self) -> dict[Any, Any]:
        require_writable(self.options)
        state = BaseModel.__getstate__(self)
        fields = state["__dict__"] | {"api_key": None}
        del fields["callback_manager"]  # whose handlers belong to this process
        return state | {"__dict__": fields}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        fields = state["__dict__"] | {"callback_manager": CallbackManager()}
        # LlamaIndex's own would make another reranker, and lose the given ranker
        BaseModel.__setstate__(self, state | {"__dict__": fields})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        memo[id(self.callback_manager)] = self.callback_manager  # who listens to the one listens to the other
        return super().__deepcopy__(memo)

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex writes this class down."""
        return "ResiftRerank"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some settings changed, of those that may also be assigned."""
        self._require_free(update or ())
        return super().model_copy(update=update, deep=deep)

    def warm_up(self) -> None:
        """Load the model now, so that the first query does not have to."""
        self._reranker.warm_up()

    async def awarm_up(self) -> None:
        """Do what `warm_up` does without blocking the event loop."""
        await self._reranker.awarm_up()

    def close(self) -> None:
        """Give back the model or the connections; a later query takes them again. A given ranker stays open."""
        self._reranker.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        await self._reranker.aclose()

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        nodes, query = read_nodes(nodes), read_query(query_bundle)
        with self._watched(nodes, query) as ranked:
            call = self._read(nodes, query)
            ranked.extend(self._placed(call, self._reranker.rank(call.query, call.texts, **call.options)))
        return ranked

    @dispatcher.span  # LlamaIndex gives one to the method above by itself, and forgets this one
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        nodes, query = read_nodes(nodes), read_query(query_bundle)
        with self._watched(nodes, query) as ranked:
            call = self._read(nodes, query)
            ranked.extend(self._placed(call, await self._reranker.arank(call.query, call.texts, **call.options)))
        return ranked

    def _require_free(self, names: Iterable[str]) -> None:
        """Refuse to change what the ranker was made of."""
        fields = type(self).model_fields
        if fixed := sorted(name for name in names if name in fields and fields[name].frozen):
            raise InvalidInput(f"{', '.join(fixed)} decides the ranker; make another {type(self).__name__} for it")

    def _watched(
        self, nodes: list[NodeWithScore], query: QueryBundle | None
    ) -> AbstractContextManager[list[NodeWithScore]]:
        return watched(
            nodes, query, model=self._reranker.model, top_n=self.top_n, callback_manager=self.callback_manager
        )

    def _read(self, nodes: list[NodeWithScore], query: QueryBundle | None) -> "_Call":
        if query is None:
            raise InvalidInput("nodes are reranked by a query; pass query_str=... or query_bundle=...")
        if self.deduplicate:
            nodes = first_of_each(nodes)
        texts = [text_of(node.node, self.metadata_mode) for node in nodes]
        told = [node for node, text in zip(nodes, texts, strict=True) if text.strip()]
        textless = [node for node, text in zip(nodes, texts, strict=True) if not text.strip()]
        return _Call(
            query=query.query_str,
            texts=[text for text in texts if text.strip()],
            told=told,
            textless=textless if self.textless == "last" else [],
            as_they_came=nodes if self.textless == "last" else told,
            cut=Cut(self.top_n, self.score_threshold),
            instruction=self.instruction,
        )

    def _placed(self, call: "_Call", placement: Placement) -> list[NodeWithScore]:
        """Return the nodes in their new order, in wrappers of their own."""
        if placement.error is not None:
            error = type(placement.error).__name__
            return [_with_note(node, RERANK_ERROR, error) for node in call.as_they_came[: call.cut.top_n]]
        ranked = [self._scored(call.told[place.index], place.score) for place in placement.places]
        if call.cut.threshold is None:
            ranked += [self._scored(node, None) for node in call.textless]
        return ranked[: call.cut.top_n]

    def _scored(self, node: NodeWithScore, score: float | None) -> NodeWithScore:
        if self.keep_retrieval_score and node.score is not None and RETRIEVAL_SCORE not in node.node.metadata:
            node = _with_note(node, RETRIEVAL_SCORE, float(node.score))
        return node.model_copy(update={"score": score})

    def _get_prompts(self) -> PromptDictType:
        return {"instruction": PromptTemplate(self.instruction or "")}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        if "instruction" in prompts:
            self.instruction = prompts["instruction"].format() or None

    @field_serializer("metadata_mode")
    def _write_metadata_mode(self, mode: MetadataMode) -> str:
        return mode.value

    @field_serializer("options")
    def _write_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if not self._writable:
            raise InvalidInput("a ranker that was given cannot be written down; make the component where it is needed")
        require_writable(options)
        return options

    @field_validator("top_n", "score_threshold", mode="before")
    @classmethod
    def _require_sense(cls, given: Any, info: ValidationInfo) -> Any:
        Cut(**{_IN_A_CUT[info.field_name or ""]: given})
        return given


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Call:
    """One call: what was read of its nodes, and the settings as they were when it began."""

    query: str
    texts: list[str]
    told: list[NodeWithScore]
    """Those with a text, which the ranker is told."""

    textless: list[NodeWithScore]
    as_they_came: list[NodeWithScore]
    cut: Cut
    instruction: str | None

    @property
    def options(self) -> dict[str, Any]:
        """What the ranker is told beside the texts."""
        return {"top_n": self.cut.top_n, "threshold": self.cut.threshold, "instruction": self.instruction}


def _with_note(node: NodeWithScore, key: str, value: Any) -> NodeWithScore:
    score = None if node.score is None else float(node.score)  # which others may have made a number of NumPy's
    return node.model_copy(update={"node": noted(node.node, key, value), "score": score})
