"""The ranker itself: Haystack's documents and words in, resift's reranker behind it."""

import inspect
from collections.abc import Iterable
from functools import partial
from os import PathLike, fspath
from typing import Any, Self

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.core.errors import SerializationError
from haystack.utils import ComponentDevice, Secret
from haystack.utils.auth import EnvVarSecret

from haystack_integrations.components.rankers.resift.documents import placed, read_documents, text_of
from haystack_integrations.components.rankers.resift.settings import (
    USUAL_KEY,
    core_key,
    core_options,
    read_fields,
    read_options,
    read_threshold,
    read_top_k,
    require_alone,
    require_kinds,
    require_known,
    require_portable,
    restore_options,
    write_options,
)
from resift import InvalidInput, Ranker
from resift.adapting import OnError, Reranker
from resift.documents import read_query


@component
class ResiftRanker:
    """
    Puts documents in order of relevance to a query, with a model that runs here or behind an endpoint.

    Without `api_base_url` the model runs in this process: a cross-encoder, a prompted language model or an embedding
    model of the Hugging Face hub, a local directory, or `"lexical"`, the built-in scorer that needs no model (the
    default). With it, the model is behind a rerank endpoint: Cohere, Jina, Voyage, vLLM, TEI, Infinity, llama.cpp,
    resift's own server, and others. Nothing is loaded and no key is read before `warm_up` or the first `run`.

    Rankers with equal settings share one loaded model, so that each pipeline can have a ranker of its own. Any number
    of threads and event loops may use one at once.

    ### Usage example

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.resift import ResiftRanker

    ranker = ResiftRanker("BAAI/bge-reranker-v2-m3", top_k=2)
    documents = [Document(content="Paris is in France."), Document(content="The giant panda is a bear.")]
    result = ranker.run(query="what is a panda?", documents=documents)
    print(len(result["documents"]))
    ```

    ### Usage example with an endpoint

    ```python
    from haystack.utils import Secret

    ranker = ResiftRanker(
        "BAAI/bge-reranker-v2-m3",
        api_base_url="http://localhost:8000/v1",
        api_key=Secret.from_env_var("RESIFT_API_KEY", strict=False),
        options={"timeout_s": 10, "max_retries": 3},
    )
    ```
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        *,
        api_base_url: str | None = None,
        api_key: Secret | None = USUAL_KEY,
        top_k: int | None = None,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        instruction: str | None = None,
        device: ComponentDevice | None = None,
        keep_retrieval_score: bool | str = False,
        deduplicate: bool = True,
        on_error: OnError = "raise",
        options: dict[str, Any] | None = None,
        ranker: Ranker | None = None,
    ) -> None:
        """
        Create a ResiftRanker. All settings are checked now; nothing is loaded, sent or read from the environment.

        :param model:
            A model of the Hugging Face hub, a local directory, or `"lexical"` (the default); with `api_base_url`, the
            name by which the endpoint knows the model.
        :param api_base_url:
            A rerank endpoint: a host, a base such as `http://localhost:8000/v1`, or the full route.
        :param api_key:
            The endpoint's key, read when the ranker warms up. `None` for an endpoint without keys.
        :param top_k:
            How many documents to return at most; all if not given.
        :param score_threshold:
            The lowest score to return, applied before `top_k`.
        :param scale_score:
            `None` for the scores that the model's authors return, `True` for scores in [0, 1], `False` for raw logits.
        :param meta_fields_to_embed:
            The meta fields that stand in front of the content, in this order. Documents that lack one go without it.
        :param meta_data_separator:
            What stands between those fields and the content.
        :param query_prefix:
            A text in front of the query.
        :param query_suffix:
            A text behind the query.
        :param document_prefix:
            A text in front of each document.
        :param document_suffix:
            A text behind each document.
        :param instruction:
            What the model is told to look for, where it knows instructions.
        :param device:
            Where the model runs; the first GPU, or the CPU, if not given.
        :param keep_retrieval_score:
            Whether the score that a document came with is kept as `meta["retrieval_score"]`; a text names another key.
        :param deduplicate:
            Whether only the highest scoring one of several documents with the same id is ranked.
        :param on_error:
            `"raise"`, or `"pass"` to return the documents as they came when the ranker fails: the first `top_k`, their
            scores `None`, the error's name in `meta["rerank_error"]`. Mistakes, such as a model that does not exist,
            are raised nonetheless.
        :param options:
            The other options of `resift.load` or, with `api_base_url`, of `resift.connect`. The values of `headers` may
            be secrets.
        :param ranker:
            Any `resift.Ranker`, in place of all settings that say which model ranks. It is not closed with this
            component, and a component that holds one cannot be serialized.
        :raises ValueError:
            If a setting cannot mean anything, or contradicts another one.
        """
        require_kinds(locals())
        self._model = fspath(model) if isinstance(model, PathLike) else model
        self.api_base_url = api_base_url
        self.api_key = api_key
        self.top_k = read_top_k(top_k)
        self.score_threshold = read_threshold(score_threshold)
        self.scale_score = scale_score
        self.meta_fields_to_embed = read_fields(meta_fields_to_embed)
        self.meta_data_separator = meta_data_separator
        self.query_prefix = query_prefix
        self.query_suffix = query_suffix
        self.document_prefix = document_prefix
        self.document_suffix = document_suffix
        self.instruction = instruction
        self.device = device
        self.keep_retrieval_score = keep_retrieval_score
        self.deduplicate = deduplicate
        self.on_error = on_error
        self.options = read_options(options)
        self.ranker = ranker
        self.model: str = self._reranker(resolve=False).model
        """What the model is called."""

    def warm_up(self) -> None:
        """
        Load the model, or read the key and get ready to send. Again does nothing.

        :raises ValueError:
            If an environment variable that must hold a key does not exist.
        """
        self._opened().warm_up()

    async def warm_up_async(self) -> None:
        """
        Do what `warm_up` does without blocking the event loop.

        :raises ValueError:
            If an environment variable that must hold a key does not exist.
        """
        await self._opened().awarm_up()

    def close(self) -> None:
        """Give back the model's memory, unless other rankers use it, and the connections. A later `run` opens again."""
        if (reranker := self._forgotten()) is not None:
            reranker.close()

    async def close_async(self) -> None:
        """Do what `close` does without blocking the event loop."""
        if (reranker := self._forgotten()) is not None:
            await reranker.aclose()

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        *,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, list[Document]]:
        """
        Return the documents in order of relevance to the query.

        Documents come back as copies with new scores; those that were given stay as they are. Several documents with
        the same id count as one, unless `deduplicate` is off.

        :param query:
            What the documents are to be relevant to.
        :param documents:
            The documents to rank. Without documents nothing is loaded or sent.
        :param top_k:
            How many documents to return at most. Overrides the setting of the component.
        :param score_threshold:
            The lowest score to return, applied before `top_k`. Overrides the setting of the component.
        :param scale_score:
            `True` for scores in [0, 1], `False` for raw logits. Overrides the setting of the component.
        :returns:
            A dictionary with the following key:
            - `documents`: The documents, most relevant first. One that the endpoint gave no score stands last with the
              score `None`, and is left out where there is a threshold.
        :raises ValueError:
            If the query is blank, or `top_k` is not above 0.
        :raises resift.ResiftError:
            If the ranker fails, and `on_error` is `"raise"`.
        """
        given, asked = self._read(query, documents, top_k, score_threshold=score_threshold, scale_score=scale_score)
        if not given:
            return {"documents": []}
        return {"documents": placed(given, self._opened().rank(**asked), keep=self.keep_retrieval_score)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        *,
        score_threshold: float | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, list[Document]]:
        """
        Do what `run` does without blocking the event loop, which loading the model does not either.

        Cancelling it ends the request to an endpoint. A model that runs here finishes the batch that it has begun.

        :param query:
            What the documents are to be relevant to.
        :param documents:
            The documents to rank. Without documents nothing is loaded or sent.
        :param top_k:
            How many documents to return at most. Overrides the setting of the component.
        :param score_threshold:
            The lowest score to return, applied before `top_k`. Overrides the setting of the component.
        :param scale_score:
            `True` for scores in [0, 1], `False` for raw logits. Overrides the setting of the component.
        :returns:
            A dictionary with the following key:
            - `documents`: The documents, most relevant first. One that the endpoint gave no score stands last with the
              score `None`, and is left out where there is a threshold.
        :raises ValueError:
            If the query is blank, or `top_k` is not above 0.
        :raises resift.ResiftError:
            If the ranker fails, and `on_error` is `"raise"`.
        """
        given, asked = self._read(query, documents, top_k, score_threshold=score_threshold, scale_score=scale_score)
        if not given:
            return {"documents": []}
        return {"documents": placed(given, await self._opened().arank(**asked), keep=self.keep_retrieval_score)}

    def to_dict(self) -> dict[str, Any]:
        """
        Serialize the component to a dictionary.

        :returns:
            Dictionary with serialized data; secrets are the names of environment variables.
        :raises ValueError:
            If the key is a token.
        :raises SerializationError:
            If the component holds what cannot be written down: a ranker, an HTTP client, headers that are no secrets.
        """
        if self.ranker is not None:
            raise SerializationError(
                "a ResiftRanker with ranker=... cannot be serialized; "
                "say which model ranks with model, api_base_url and options instead"
            )
        settings = self._settings()
        if "options" in settings:
            settings["options"] = write_options(self.options)
        return default_to_dict(self, **settings)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """
        Deserialize the component from a dictionary, which stays as it is.

        :param data:
            Dictionary to deserialize from.
        :returns:
            Deserialized component.
        :raises DeserializationError:
            If the data is not of this component, or holds a parameter that does not exist.
        """
        settings = dict(data.get("init_parameters") or {})
        require_known(cls.__name__, settings, _parameters(cls))
        if isinstance(settings.get("options"), dict):
            settings["options"] = restore_options(settings["options"])
        return default_from_dict(cls, {**data, "init_parameters": settings})

    def __copy__(self) -> Self:
        return type(self)(**self._settings())

    def __deepcopy__(self, memo: Any) -> Self:
        return type(self)(**self._settings())  # a component's own copy would take its whole pipeline along

    def __reduce__(self) -> tuple[Any, ...]:
        require_portable(self.options)
        settings = self._settings()
        if "api_key" in settings and not isinstance(self.api_key, EnvVarSecret | None):
            settings["api_key"] = USUAL_KEY  # a pickle holds no key; where it is opened, the environment may
        return partial(type(self), **settings), ()

    def _settings(self) -> dict[str, Any]:
        """Return what another one like this is made with."""
        return {name: self._model if name == "model" else getattr(self, name) for name in _parameters(type(self))}

    def _reranker(self, *, resolve: bool) -> Reranker:
        """Return a reranker with these settings; with their secrets, or only for them to be checked."""
        key = None if self.api_key == USUAL_KEY else self.api_key
        if self.ranker is not None:
            require_alone(
                model=self._model,
                api_base_url=self.api_base_url,
                api_key=key,
                scale_score=self.scale_score,
                device=self.device,
                options=self.options or None,
            )
            return Reranker(ranker=self.ranker, on_error=self.on_error)
        options = core_options(self.options, self.device, resolve=resolve)
        if key is not None or self.api_base_url is not None:
            options["api_key"] = core_key(self.api_key, resolve=resolve)
        return Reranker(
            self._model,
            self.api_base_url,
            on_error=self.on_error,
            normalize=self.scale_score,
            instruction=self.instruction,
            **options,
        )

    def _opened(self) -> Reranker:
        """Return the reranker that ranks, made with the key when it is first needed."""
        found: Reranker | None = self.__dict__.get("_open")
        # of two threads that come at once, the second one takes what the first one made
        return found or self.__dict__.setdefault("_open", self._reranker(resolve=True))

    def _forgotten(self) -> Reranker | None:
        """Return the reranker that is open, if one is; the next call makes another, with the key of that time."""
        reranker: Reranker | None = self.__dict__.pop("_open", None)
        return reranker

    def _read(
        self,
        query: str,
        documents: Iterable[Document],
        top_k: int | None,
        *,
        score_threshold: float | None,
        scale_score: bool | None,
    ) -> tuple[list[Document], dict[str, Any]]:
        """Return the documents to rank, and what the reranker is asked; None is as the component was made."""
        require_kinds({"score_threshold": score_threshold, "scale_score": scale_score})
        if scale_score is not None and self.ranker is not None:
            raise InvalidInput(f"scale_score={scale_score!r} cannot change the scores of a given ranker; leave it out")
        given = read_documents(documents, deduplicate=self.deduplicate)
        asked: dict[str, Any] = {
            "top_n": read_top_k(self.top_k if top_k is None else top_k),
            "threshold": read_threshold(self.score_threshold if score_threshold is None else score_threshold),
            "normalize": scale_score,
            "instruction": self.instruction,
        }
        if given:  # a blank query is refused before a prefix can hide it
            asked["query"] = f"{self.query_prefix}{read_query(query)}{self.query_suffix}"
            texts = (text_of(document, self.meta_fields_to_embed, self.meta_data_separator) for document in given)
            asked["documents"] = [f"{self.document_prefix}{text}{self.document_suffix}" for text in texts]
        return given, asked


def _parameters(kind: type[ResiftRanker]) -> tuple[str, ...]:
    """Name what a component is made with, a subclass's own parameters included."""
    return tuple(inspect.signature(kind.__init__).parameters)[1:]
