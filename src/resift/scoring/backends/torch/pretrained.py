"""Build the models of transformers from checkpoints, quietly, and with every weight that their classes need."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from resift.checkpoint import Checkpoint
from resift.errors import MissingDependency, ModelNotFound, ModelUnsupported
from resift.forking import Lock
from resift.scoring.backends import Answer, Classify, Embed, Readout

# transformers changes process-wide defaults while it builds a model, so one is built at a time
_BUILDING = Lock()

_AUTO_CLASSES = {Classify: "AutoModelForSequenceClassification", Answer: "AutoModelForCausalLM", Embed: "AutoModel"}


def build(checkpoint: Checkpoint, readout: Readout, *, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """Load the weights into the class that transformers has for the purpose, and miss none of them."""
    checkpoint.weights()  # says what is missing or damaged, before transformers says less
    try:
        import transformers
    except ImportError as error:
        raise MissingDependency('this model needs transformers: pip install "resift[local]"') from error
    auto = getattr(transformers, _AUTO_CLASSES[type(readout)])
    with _BUILDING, _quiet(transformers):
        try:
            model, report = auto.from_pretrained(
                str(checkpoint.path),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
        except (ValueError, KeyError, ImportError, AttributeError) as error:
            raise ModelUnsupported(_unsupported(checkpoint, error)) from error
        except (OSError, RuntimeError) as error:
            raise ModelNotFound(
                f"{checkpoint.name}: its weights cannot be read; download it again ({error})"
            ) from error
    unread = ("pooler.",) if isinstance(readout, Embed) else ()
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unread))
    if missing:
        raise ModelUnsupported(
            f"{checkpoint.name} has no weights for {', '.join(missing[:3])}: its head was never trained, so its scores "
            "would be random; use a reranker, or the model as an embedding model"
        )
    return model.eval().requires_grad_(False)


def _unsupported(checkpoint: Checkpoint, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"{checkpoint.name} brings its own code; read it, and if you trust it, pass trust_remote_code=True "
            "to load it"
        )
    kind, reason = checkpoint.config.get("model_type"), str(error).partition("\n")[0]
    return f"{checkpoint.name}: transformers cannot load this {kind!r} model as a reranker ({reason})"


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and load reports off the caller's terminal: what matters in them is said as an error."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
