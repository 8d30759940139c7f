"""What scores an endpoint gives, and how the caller's wish becomes theirs: declared, never guessed from the numbers."""

import math
from collections.abc import Mapping
from typing import Literal, get_args

from resift.errors import EndpointMisbehaved, InvalidInput
from resift.remote.dialects import Dialect, Scale

Conversion = Literal["none", "sigmoid", "bounded"]
"""What happens to scores as they come: nothing, a sigmoid, or a check that they lie in [0, 1]."""

Scores = Literal["logits", "probabilities"]


def conversion(
    dialect: Dialect, *, normalize: bool | None, scores: Scores | None = None, model: str | None = None
) -> Conversion:
    """
    Return what has to happen to the endpoint's scores so that they are what `normalize` asks for.

    `scores` says what the endpoint gives where its dialect does not. InvalidInput if the wish cannot be granted.
    """
    _require_choices(normalize, scores)
    if dialect.knob:
        if scores is not None:
            raise InvalidInput(
                f"the {dialect.name} dialect asks for the scores that normalize wants; leave scores={scores!r} out"
            )
        return "bounded" if normalize else "none"
    return _without_knob(scores or _scale(dialect, model), dialect, normalize=normalize)


def rescale(given: Mapping[int, float], how: Conversion) -> dict[int, float]:
    """Return the scores after `how`; one that should lie in [0, 1] and does not is EndpointMisbehaved."""
    if how == "sigmoid":
        return {place: _sigmoid(score) for place, score in given.items()}
    if how == "bounded":
        beyond = next((score for score in given.values() if not 0.0 <= score <= 1.0), None)
        if beyond is not None:
            raise EndpointMisbehaved(
                f"the endpoint gave the score {beyond!r}, and its scores should lie in [0, 1]; if they are logits, "
                "say scores='logits'; with normalize=None they are returned as they are"
            )
    return dict(given)


def _scale(dialect: Dialect, model: str | None) -> Scale:
    # cosines, which may be negative
    return "unknown" if "jina-reranker-v3" in (model or "") else dialect.scale


def _without_knob(scale: Scale, dialect: Dialect, *, normalize: bool | None) -> Conversion:
    if normalize is None:
        return "none"
    if scale == "unknown":
        raise InvalidInput(
            f"normalize={normalize} needs to know what this endpoint's scores are, and its dialect "
            f"({dialect.name}) does not say; add scores='logits' or scores='probabilities'"
        )
    if normalize:
        return "sigmoid" if scale == "logits" else "bounded"
    if scale == "probabilities":
        raise InvalidInput(f"normalize=False asks for logits, and {dialect.name} endpoints give probabilities only")
    return "none"


def _require_choices(normalize: object, scores: object) -> None:
    if not isinstance(normalize, bool | None):
        raise InvalidInput(f"normalize must be None, True or False, not {normalize!r}")
    if scores is not None and scores not in get_args(Scores):
        raise InvalidInput(f"scores must be 'logits', 'probabilities' or None, not {scores!r}")


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    grown = math.exp(logit)
    return grown / (1.0 + grown)
