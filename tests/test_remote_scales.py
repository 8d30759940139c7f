"""What the endpoint's scores are, and what the caller wants them to be."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import EndpointMisbehaved, InvalidInput
from resift.remote.dialects import DIALECTS, choose
from resift.remote.scales import conversion, rescale


@pytest.mark.parametrize(
    ("name", "normalize", "scores", "how"),
    [
        ("openai", None, None, "none"),
        ("openai", None, "logits", "none"),
        ("openai", True, "logits", "sigmoid"),
        ("openai", True, "probabilities", "bounded"),
        ("openai", False, "logits", "none"),
        ("nvidia", None, None, "none"),
        ("nvidia", True, None, "sigmoid"),
        ("nvidia", False, None, "none"),
        ("cohere", True, None, "bounded"),
        ("cohere", None, None, "none"),
        ("cohere", True, "logits", "sigmoid"),
        ("tei", True, None, "bounded"),
        ("tei", False, None, "none"),
        ("resift", True, None, "bounded"),
        ("resift", False, None, "none"),
        ("resift", None, None, "none"),
    ],
)
def test_c34_the_declared_scale_decides(name: str, normalize: bool | None, scores: Any, how: str) -> None:  # noqa: FBT001
    """What happens to scores follows from what is said about them, before a single one is seen."""
    assert conversion(DIALECTS[name], normalize=normalize, scores=scores) == how


@pytest.mark.parametrize(
    ("name", "normalize", "scores", "why"),
    [
        ("openai", True, None, "add scores='logits'"),
        ("openai", False, None, "add scores='logits'"),
        ("openai", False, "probabilities", "probabilities only"),
        ("mixedbread", True, None, "add scores="),
        ("cohere", False, None, "probabilities only"),
        ("tei", True, "logits", "leave scores='logits' out"),
        ("resift", None, "probabilities", "leave scores='probabilities' out"),
        ("openai", True, "cosines", "must be 'logits'"),
        ("openai", "yes", None, "None, True or False"),
        ("openai", 1, None, "None, True or False"),
        ("openai", None, True, "must be 'logits'"),
    ],
)
def test_c34_a_wish_that_would_need_guessing_is_refused(name: str, normalize: Any, scores: Any, why: str) -> None:
    """Where the scale is not known, or cannot be what is asked for, connecting says what to add."""
    with pytest.raises(InvalidInput, match=why):
        conversion(DIALECTS[name], normalize=normalize, scores=scores)


def test_c34_cosines_are_no_probabilities() -> None:
    """Jina's list-wise model gives cosines on a host whose other models give probabilities."""
    jina = choose("auto", "https://api.jina.ai")

    assert conversion(jina, normalize=True, model="jina-reranker-v2-base-multilingual") == "bounded"
    with pytest.raises(InvalidInput, match="does not say"):
        conversion(jina, normalize=True, model="jina-reranker-v3")


def test_c34_a_sigmoid_is_applied_once() -> None:
    """Logits become probabilities, without overflow at either end."""
    scores = rescale({0: 0.0, 1: 2.0, 2: -2.0, 3: 1e6, 4: -1e6}, "sigmoid")

    assert scores == pytest.approx({0: 0.5, 1: 0.880797078, 2: 0.119202922, 3: 1.0, 4: 0.0})


def test_c34_probabilities_are_left_as_they_are() -> None:
    """Numbers that look like logits are returned unchanged unless something else was asked for."""
    assert rescale({0: 7.5, 1: -3.0}, "none") == {0: 7.5, 1: -3.0}
    assert rescale({0: 0.0, 2: 0.25, 1: 1.0}, "bounded") == {0: 0.0, 2: 0.25, 1: 1.0}


@pytest.mark.parametrize("score", [1.0000001, -1e-9, 7.5])
def test_c34_a_probability_beyond_its_bounds_is_not_trusted(score: float) -> None:
    """An endpoint that promised [0, 1] and gives something else is not squeezed into it."""
    with pytest.raises(EndpointMisbehaved, match=r"\[0, 1\]"):
        rescale({0: 0.5, 1: score}, "bounded")


@given(st.dictionaries(st.integers(0, 50), st.floats(allow_nan=False, allow_infinity=False)))
def test_c34_a_sigmoid_keeps_the_order(scores: dict[int, float]) -> None:
    """Any logits become numbers in [0, 1] in the same order."""
    found = rescale(scores, "sigmoid")
    order = sorted(scores, key=scores.__getitem__)

    assert all(0.0 <= score <= 1.0 for score in found.values())
    assert all(found[low] <= found[high] for low, high in pairwise(order))
