"""What the contract of adapters must be told about one: how to make it, and how to have it rerank."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, Unpack
from unittest import SkipTest

from resift.testing.watching import raises
from resift.testing.ways import run
from resift.types import Ranker

Places: TypeAlias = list[tuple[int, float | None]]
"""Reranked texts in their new order: the position in the caller's list, and the score, None where there is none."""

QUERY = "what does a panda eat?"
TEXTS = (
    "Paris is the capital of France.",
    "A panda will eat bamboo all day.",
    "The giant panda is a bear.",
    "Bamboo is a grass, and grows fast.",
    "What does a bear eat in winter? Nothing.",
    "a panda",
)


class Overrides(TypedDict, total=False):
    """What a component may also be told at the call. None, like nothing at all, means as it was made."""

    top_n: int | None
    threshold: float | None
    normalize: bool | None
    instruction: str | None


class AdapterSettings(Overrides, total=False):
    """What a component is made with, in resift's words."""

    model: str | None
    base_url: str | None
    api_key: str | None
    on_error: Literal["raise", "pass"]
    options: Mapping[str, Any]
    """What else `resift.load` or `resift.connect` takes."""

    ranker: Ranker | None
    """Whom to ask instead of a model or an endpoint."""


class AdapterHooks:
    """
    What `AdapterContract` is told about an adapter.

    `package`, `construction`, `make`, `rerank` and `arerank` must be given.
    """

    package: ClassVar[str]
    """The import name of the adapter's package, "langchain_resift" for one."""

    construction: ClassVar[str]
    """
    Statements that import the component and make one with the settings model="nobody/nothing" and no others.

    They run in a process of their own, where loading a model, touching the network or importing much is noticed.
    """

    framework: ClassVar[Sequence[str]] = ()
    """
    The modules of the framework that the package itself imports.

    They are imported before it, so that what a framework loads is not held against its adapter.
    """

    lacks: ClassVar[frozenset[str]] = frozenset()
    """The settings that the component has no name for; what is promised about them is skipped."""

    overrides: ClassVar[frozenset[str]] = frozenset()
    """The settings that `rerank` and `arerank` can also be given at the call."""

    def make(self, **settings: Unpack[AdapterSettings]) -> Any:
        """
        Return a component with these settings, and with the framework's and the adapter's own defaults for all others.

        The subclass gives them the names that its users type. It must neither check nor mend them: what means nothing
        is for the component to refuse.
        """
        raise NotImplementedError

    def rerank(self, component: Any, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        """
        Have the component rerank documents with these texts, in the way a user of the framework would.

        Each document must carry its position in `texts`, in its metadata for one: texts may be equal, and positions are
        what is compared. Documents come without scores of their own.
        """
        raise NotImplementedError

    async def arerank(self, component: Any, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        """Do what `rerank` does through the component's coroutine."""
        raise NotImplementedError

    def close(self, component: Any) -> None:
        """Give back what the component holds; nothing, where it has no way to be told."""

    def written(self, component: Any) -> Iterable[str | bytes]:
        """
        Return what the framework's own ways to write a component down make of it: `model_dump_json()`, `to_dict()`.

        `repr`, `str` and `pickle` are looked at anyway.
        """
        return ()

    @contextmanager
    def unheld(self) -> Iterator[AdapterSettings]:
        """Give settings of a model that nobody holds, so that whoever uses it first must load it."""
        with TemporaryDirectory() as folder:
            settings: AdapterSettings = {"model": "lexical", "options": {"cache_dir": folder}}
            if "options" in self.lacks:
                del settings["options"]
            yield settings

    def needs(self, *settings: str) -> None:
        """Skip a test about settings that the component has no name for."""
        for setting in settings:
            if setting in self.lacks:
                raise SkipTest(f"the component has no setting for {setting}")

    def needs_override(self, setting: str) -> None:
        """Skip a test about a setting that cannot be given at the call."""
        if setting not in self.overrides:
            raise SkipTest(f"{setting} cannot be given at the call")

    def both(self, component: Any, query: str, texts: Sequence[str] = TEXTS, **overrides: Unpack[Overrides]) -> Places:
        """Rerank in both ways, demand that they agree, and return what they say."""
        places = self.rerank(component, query, texts, **overrides)
        awaited = run(self.arerank(component, query, texts, **overrides))
        assert awaited == places, f"arerank gave {awaited}, and rerank {places}"
        return places

    def asked(self, settings: AdapterSettings, texts: Sequence[str] = TEXTS, **overrides: Unpack[Overrides]) -> Places:
        """Make a component, rerank in both ways, and return what they agree on."""
        component = self.make(**settings)
        try:
            return self.both(component, QUERY, texts, **overrides)
        finally:
            self.close(component)

    def refused(
        self,
        settings: AdapterSettings,
        query: str = QUERY,
        texts: Sequence[str] = TEXTS,
        **overrides: Unpack[Overrides],
    ) -> str:
        """Demand a ValueError when a component is made so, or at the latest when it is used so; return its message."""
        by = f"{settings} for {query!r} with {overrides}"
        with raises(ValueError, by=f"rerank of {by}") as raised:
            self.rerank(self.make(**settings), query, texts, **overrides)
        with raises(type(raised.error), by=f"arerank of {by}") as later:
            run(self.arerank(self.make(**settings), query, texts, **overrides))
        assert str(later.error) == str(raised.error)
        return str(raised.error)
