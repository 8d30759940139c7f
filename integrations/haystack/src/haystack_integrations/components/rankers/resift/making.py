"""From a component's settings to the reranker behind it: which settings go together, and where the key comes from."""

from collections.abc import Mapping
from typing import Any

from haystack.utils import Secret

from haystack_integrations.components.rankers.resift.arguments import read_device
from haystack_integrations.components.rankers.resift.options import fill_in
from resift import InvalidInput
from resift.adapting import Reranker

USUAL_KEY = Secret.from_env_var("RESIFT_API_KEY", strict=False)


def make_reranker(settings: Mapping[str, Any], *, resolve: bool) -> Reranker:
    """Return a reranker with these settings; with the secrets among them, or only for the settings to be checked."""
    _require_agreement(settings)
    if settings["ranker"] is not None:
        return Reranker(ranker=settings["ranker"], on_error=settings["on_error"])
    options = fill_in(settings["options"], resolve=resolve)
    if settings["device"] is not None:
        options["device"] = read_device(settings["device"])
    if settings["api_base_url"] is not None:
        options["api_key"] = _key(settings["api_key"]) if resolve else ""
    return Reranker(
        settings["model"],
        settings["api_base_url"],
        on_error=settings["on_error"],
        normalize=settings["scale_score"],
        instruction=settings["instruction"],
        **options,
    )


def _key(secret: Secret | None) -> str | None:
    """Return the endpoint's key, an empty one for none; None leaves it to the core to look for the usual one."""
    if secret == USUAL_KEY:
        return None
    return "" if secret is None else secret.resolve_value() or ""


def _require_agreement(settings: Mapping[str, Any]) -> None:
    """Refuse settings that contradict one another."""
    given = [name for name in ("model", "api_base_url", "scale_score", "device") if settings[name] is not None]
    given += ["options"] if settings["options"] else []
    given += ["api_key"] if settings["api_key"] not in (None, USUAL_KEY) else []
    if settings["ranker"] is not None and given:
        raise InvalidInput(f"a ranker has settings of its own; leave out {', '.join(given)}, or the ranker")
    if "api_key" in given and not isinstance(settings["api_key"], Secret):
        kind = type(settings["api_key"]).__name__
        raise InvalidInput(f'api_key must be a Secret, such as Secret.from_env_var("RESIFT_API_KEY"), not {kind}')
    if "api_key" in given and "api_base_url" not in given:
        raise InvalidInput("api_key is for endpoints only; say api_base_url, or leave it out")
    if "device" in given and "api_base_url" in given:
        raise InvalidInput("device is for models that run here only; leave it out, or leave out api_base_url")
    if "device" in given and "device" in settings["options"]:
        raise InvalidInput("device is given twice; leave out the parameter, or the one in options")
