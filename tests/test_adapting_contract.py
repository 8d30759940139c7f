"""
The contract of adapters: kept by the least that one can be, and broken by none unnoticed.

That least is `resift.adapting` and names for its settings.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack, cast

import numpy as np
import pytest

from promising import outcome, promises
from resift.adapting import Reranker
from resift.errors import InvalidInput, ResiftError
from resift.testing import AdapterContract, AdapterSettings, FakeRanker, Overrides, Places


class Component:
    """A framework's component, where documents are their texts."""

    def __init__(
        self,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        instruction: str | None = None,
        options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._reranker = Reranker(**settings, **(options or {}))
        self._asks = {"top_n": top_n, "threshold": threshold, "instruction": instruction}

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        placement = self._reranker.rank(query, texts, **self._asking(overrides))
        return [(place.index, place.score) for place in placement.places]

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        placement = await self._reranker.arank(query, texts, **self._asking(overrides))
        return [(place.index, place.score) for place in placement.places]

    def close(self) -> None:
        self._reranker.close()

    def _asking(self, overrides: dict[str, Any]) -> dict[str, Any]:
        return {**self._asks, **{name: given for name, given in overrides.items() if given is not None}}


class TestComponent(AdapterContract):
    """The least adapter."""

    package = "resift.adapting"
    construction = "from resift.adapting import Reranker; Reranker('nobody/nothing')"
    overrides = frozenset({"top_n", "threshold", "instruction", "normalize"})

    def make(self, **settings: Unpack[AdapterSettings]) -> Component:
        return Component(**settings)  # type: ignore[arg-type]  # what means nothing is given on purpose

    def rerank(self, component: Component, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]) -> Places:
        return component.rerank(query, texts, **overrides)

    async def arerank(
        self, component: Component, query: str, texts: Sequence[str], **overrides: Unpack[Overrides]
    ) -> Places:
        return await component.arerank(query, texts, **overrides)

    def close(self, component: Component) -> None:
        component.close()


# broken ones


class Warped(Component):
    """An adapter that changes what it is asked, or what it answers, in both ways alike."""

    def asks(self, query: str, texts: Sequence[str]) -> tuple[str, Sequence[str]]:
        return query, texts

    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return places

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        return self.says(super().rerank(*self.asks(query, texts), **overrides), texts)

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        return self.says(await super().arerank(*self.asks(query, texts), **overrides), texts)


class Upended(Warped):
    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return places[::-1]


class Distinct(Warped):
    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return [(at, score) for at, score in places if texts[at] not in texts[:at]]


class Shifting(Warped):
    """Leaves blank texts out, and forgets that the others have moved up."""

    def asks(self, query: str, texts: Sequence[str]) -> tuple[str, Sequence[str]]:
        return query, [text for text in texts if text.strip()]


class Numerical(Warped):
    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return [(at, cast("float", np.float32(score or 0.0))) for at, score in places]


class Losing(Warped):
    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return [place for place in places if place[1] is not None]


class Hoarding(Warped):
    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return [*places, *((at, None) for at in range(len(texts)) if at not in dict(places))]


class Short(Warped):
    def asks(self, query: str, texts: Sequence[str]) -> tuple[str, Sequence[str]]:
        return query, texts[:1000]


class Hasty(Warped):
    """Asks the ranker before it looks whether there is anything to ask."""

    def asks(self, query: str, texts: Sequence[str]) -> tuple[str, Sequence[str]]:
        self._reranker._source.get().score("q", list(texts))  # noqa: SLF001
        return query, texts


class Glossing(Warped):
    """Finds words where there are none."""

    def asks(self, query: str, texts: Sequence[str]) -> tuple[str, Sequence[str]]:
        return query if query.strip() else "query", texts


class AtLeastOne(Warped):
    def says(self, places: Places, texts: Sequence[str]) -> Places:
        return places if places or not texts else [(0, 0.0)]


class Remembering(Component):
    """Keeps what a call was given for the next."""

    def _asking(self, overrides: dict[str, Any]) -> dict[str, Any]:
        self._asks = super()._asking(overrides)
        return self._asks


class Deaf(Component):
    """Does not listen at the call."""

    def _asking(self, overrides: dict[str, Any]) -> dict[str, Any]:
        return super()._asking({})


class FalsyAtTheCall(Component):
    def _asking(self, overrides: dict[str, Any]) -> dict[str, Any]:
        return super()._asking({name: given or None for name, given in overrides.items()})


class Apologetic(Component):
    """Never fails, and says nothing of what went wrong."""

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        try:
            return super().rerank(query, texts, **overrides)
        except Exception:  # noqa: BLE001 - that is what is wrong with it
            return [(at, None) for at in range(len(texts))]

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        try:
            return await super().arerank(query, texts, **overrides)
        except Exception:  # noqa: BLE001 - the same
            return [(at, None) for at in range(len(texts))]


class Quoting(Apologetic):
    """Tells the log what it could not rank."""

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        logging.getLogger("another").warning("passing %s on", texts)
        return super().rerank(query, texts, **overrides)


class Credulous(Component):
    """Believes whatever a given ranker says."""

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        ranker = self._reranker._source.get()  # noqa: SLF001
        return [(hit.index, hit.score) for hit in ranker.rank(query, list(texts), **self._asking(overrides))]

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        return self.rerank(query, texts, **overrides)


class Threading(Component):
    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        return await asyncio.to_thread(self.rerank, query, texts, **overrides)


class Standing(Component):
    """Lets the event loop wait."""

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        return self.rerank(query, texts, **overrides)


class Stubborn(Component):
    """Goes on when it is cancelled."""

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        return await asyncio.shield(super().arerank(query, texts, **overrides))


class Attached(Component):
    """Serves the first event loop that it meets."""

    loop: asyncio.AbstractEventLoop | None = None

    async def arerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return await super().arerank(query, texts, **overrides)


class Muddled(Component):
    """Keeps the answer where every thread finds it."""

    answers = 0

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        self.answers += 1
        number = self.answers
        time.sleep(0.01)
        places = super().rerank(query, texts, **overrides)
        return places if number == self.answers else places[::-1]


class Heavy(Component):
    """Loads its model at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._reranker.warm_up()


class Lonely(Component):
    """Shares its model with nobody."""

    made = 0

    def __init__(self, *, options: Mapping[str, Any] | None = None, **settings: Any) -> None:
        Lonely.made += 1
        super().__init__(options={**(options or {}), "max_queue_tokens": 1_000_000 + Lonely.made}, **settings)


class Spent(Component):
    """Ranks until it is closed."""

    open = True

    def close(self) -> None:
        self.open = False

    def _asking(self, overrides: dict[str, Any]) -> dict[str, Any]:
        if not self.open:
            raise RuntimeError("closed")
        return super()._asking(overrides)


class Keyed(Component):
    """Keeps its key in plain sight."""

    def __init__(self, *, api_key: str | None = None, **settings: Any) -> None:
        super().__init__(api_key=api_key, **settings)
        self.api_key = api_key


class Showing(Keyed):
    def __repr__(self) -> str:
        return f"Showing({self.api_key!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "api_key": None}


class Blurting(Keyed):
    """Tells the log and its callers what it has."""

    def rerank(self, query: str, texts: Sequence[str], **overrides: Any) -> Places:
        logging.getLogger("another").debug("asking with %s", self.api_key)
        try:
            return super().rerank(query, texts, **overrides)
        except ResiftError as error:
            raise RuntimeError(f"{self.api_key} did not help") from error


class Forgetful(Keyed):
    """Makes copies without a key, and of its own defaults."""

    def __reduce__(self) -> Any:
        return _remade, ()

    def __deepcopy__(self, memo: object) -> Component:
        return _remade()


def _remade() -> Component:
    return Component(model="lexical")


class CopiedWarm(Component):
    def __deepcopy__(self, memo: object) -> Component:
        copied = Component(model="lexical")
        copied.rerank("q", ["a"])
        return copied


def told(component: Callable[..., Any], **instead: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return what makes a component with settings other than it was given."""

    def make(**settings: Any) -> Any:
        return component(
            **{name: instead[name](given) if name in instead else given for name, given in settings.items()}
        )

    return make


def lost(*names: str) -> Callable[..., Any]:
    """Return what makes a component without regard to some settings."""

    def make(**settings: Any) -> Any:
        return Component(**{name: given for name, given in settings.items() if name not in names})

    return make


def _known_only(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given for name, given in options.items() if name in ("max_length", "cache_dir")}


def _ranker_first(**settings: Any) -> Component:
    chosen = {name: given for name, given in settings.items() if name in ("ranker", "on_error")}
    return Component(**(chosen if "ranker" in settings else settings))


def _any_ranker(**settings: Any) -> Component:
    ranker = settings.pop("ranker")
    return Component(**settings, ranker=ranker if isinstance(ranker, FakeRanker) else None)


def _key_needed(**settings: Any) -> Component:
    if not settings.get("api_key"):
        raise InvalidInput("there is no key")
    return Component(**settings)


def _keyless(**settings: Any) -> Component:
    return Component(**{**settings, "api_key": settings.get("api_key", "")})


def _one_cut_only(**settings: Any) -> Component:
    return Component(**({**settings, "top_n": None} if "threshold" in settings else settings))


def _passing_whole(**settings: Any) -> Component:
    return (Apologetic if settings.get("on_error") == "pass" else Component)(**{**settings, "on_error": "raise"})


def _or_none(given: Any) -> Any:
    return given or None


def _just_above(threshold: float | None) -> float | None:
    return None if threshold is None else math.nextafter(threshold, math.inf)


def _number_or_none(threshold: float) -> float | None:
    return None if math.isnan(threshold) else threshold


def _raise_or_pass(on_error: Any) -> str:
    return "pass" if on_error == "pass" else "raise"


BROKEN_ADAPTERS: dict[str, list[Callable[..., Any]]] = {
    # answers
    "test_a_model_here_answers_as_in_plain_resift": [Upended],
    "test_an_endpoint_answers_as_in_plain_resift": [Upended],
    "test_a_given_ranker_answers": [Upended],
    "test_no_documents_ask_nobody": [Hasty],
    "test_ties_keep_their_order": [Upended],
    "test_equal_documents_are_all_kept": [Distinct],
    "test_blank_documents_keep_their_places": [Shifting],
    "test_scores_are_python_floats": [Numerical],
    "test_documents_without_a_score_come_last": [Losing],
    "test_documents_without_a_score_pass_no_threshold": [Hoarding],
    "test_many_documents_are_ranked_whole": [Short],
    "test_an_instruction_reaches_the_ranker": [lost("instruction")],
    "test_an_instruction_may_be_given_at_the_call": [Deaf],
    "test_normalize_says_what_scores_mean": [lost("normalize")],
    "test_normalize_may_be_given_at_the_call": [Deaf, FalsyAtTheCall],
    # cuts
    "test_top_n_keeps_the_best": [lost("top_n")],
    "test_a_top_n_below_1_is_refused": [told(Component, top_n=_or_none)],
    "test_top_n_may_be_given_at_the_call": [Deaf, FalsyAtTheCall],
    "test_a_call_changes_no_settings": [Remembering],
    "test_a_threshold_is_inclusive": [told(Component, threshold=_just_above)],
    "test_a_threshold_of_0_is_one": [told(Component, threshold=_or_none)],
    "test_a_threshold_may_leave_nothing": [AtLeastOne],
    "test_a_threshold_and_top_n_both_count": [_one_cut_only],
    "test_a_threshold_may_be_given_at_the_call": [Deaf, FalsyAtTheCall],
    "test_a_threshold_is_a_number": [told(Component, threshold=_number_or_none)],
    # failures
    "test_errors_are_raised": [Apologetic],
    "test_a_score_is_a_finite_number": [Apologetic, Credulous],
    "test_a_ranking_is_of_the_callers_documents": [Apologetic, Credulous],
    "test_documents_may_pass_as_they_came": [lost("on_error"), Upended],
    "test_no_more_than_top_n_pass": [_passing_whole],
    "test_a_failure_that_passes_is_logged": [_passing_whole, Quoting],
    "test_mistakes_never_pass": [_passing_whole],
    # mistakes
    "test_a_blank_query_is_refused": [Glossing],
    "test_a_misspelt_option_is_refused_with_a_hint": [told(Component, options=_known_only)],
    "test_an_option_of_the_other_kind_is_refused": [told(Component, options=_known_only)],
    "test_a_ranker_has_settings_of_its_own": [_ranker_first],
    "test_what_cannot_rank_is_no_ranker": [_any_ranker],
    "test_an_unknown_on_error_is_refused": [told(Component, on_error=_raise_or_pass)],
    "test_a_mistake_loads_no_model": [Heavy],
    # secrets
    "test_the_key_is_shown_to_the_endpoint": [lost("api_key")],
    "test_no_key_is_needed": [_key_needed],
    "test_the_key_may_come_from_the_environment": [_keyless],
    "test_the_key_is_never_written_down": [Showing, Keyed],
    "test_the_key_is_in_no_error": [Blurting],
    "test_the_key_is_in_no_log": [Blurting],
    "test_a_copy_keeps_the_key": [Forgetful],
    "test_an_unpickled_one_finds_a_key_in_the_environment": [Forgetful],
    # copies
    "test_a_pickled_one_reranks_the_same": [Forgetful],
    "test_a_deep_copy_reranks_the_same": [Forgetful],
    "test_copying_loads_no_model": [CopiedWarm],
    "test_it_may_be_used_after_it_was_closed": [Spent],
    # lightness
    "test_making_one_loads_no_model": [Heavy],
    "test_no_documents_open_nothing": [Heavy],
    "test_equal_settings_share_one_model": [Lonely],
    # crowds
    "test_threads_may_share_it": [Muddled],
    "test_event_loops_may_follow_one_another": [Attached],
    "test_hundreds_of_coroutines_wait_at_once": [Threading],
    "test_the_event_loop_stays_free": [Standing],
    "test_loading_leaves_the_event_loop_free": [Standing],
    "test_cancelling_reaches_the_ranker": [Stubborn],
}
BROKEN_CONSTRUCTIONS = [
    "import httpx2",
    "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
]


def adapter_contract(made: Callable[..., Any], construction: str = "") -> AdapterContract:
    """Return the contract for such an adapter."""

    class Contract(TestComponent):
        def make(self, **settings: Unpack[AdapterSettings]) -> Component:
            component: Component = made(**settings)
            return component

    contract = Contract()
    contract.construction = construction or contract.construction  # type: ignore[misc]  # a test's own
    return contract


def test_every_promise_of_adapters_is_broken_here() -> None:
    """No promise about adapters is left out below."""
    assert sorted({*BROKEN_ADAPTERS, "test_importing_and_making_one_is_light"}) == promises(AdapterContract)


@pytest.mark.parametrize(
    ("promise", "made"), [(promise, made) for promise, broken in BROKEN_ADAPTERS.items() for made in broken]
)
def test_an_adapter_that_breaks_a_promise_is_caught(
    promise: str, made: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each promise about adapters fails for an adapter that breaks it."""
    monkeypatch.setattr("resift.testing.adapters.crowds._PATIENCE_S", 0.5)
    monkeypatch.setattr("resift.testing.adapters.crowds._ATTEMPTS", 1)
    assert outcome(adapter_contract(made), promise) == "broken"


@pytest.mark.parametrize("construction", BROKEN_CONSTRUCTIONS)
def test_an_adapter_that_is_heavy_is_caught(construction: str) -> None:
    """Importing a library for HTTP is noticed, and so is a word to the network."""
    contract = adapter_contract(Component, construction)
    assert outcome(contract, "test_importing_and_making_one_is_light") == "broken"


SLOW = {
    "test_importing_and_making_one_is_light",
    "test_loading_leaves_the_event_loop_free",
    "test_the_event_loop_stays_free",
}


@pytest.mark.parametrize("lacking", sorted(AdapterSettings.__optional_keys__ - {"model"}))
def test_what_an_adapter_lacks_is_skipped(lacking: str) -> None:
    """Where a component has no name for a setting, it is never given it, and the other promises are tested."""

    class Contract(TestComponent):
        lacks = frozenset({lacking})
        overrides = TestComponent.overrides - lacks

        def make(self, **settings: Unpack[AdapterSettings]) -> Component:
            assert lacking not in settings
            return super().make(**settings)

    others = set(promises(AdapterContract)) - SLOW
    outcomes = {promise: outcome(Contract(), promise) for promise in others}
    assert set(outcomes.values()) == {"kept", "skipped"}, outcomes
