"""Which row a model is read by: the caller's, its own in the catalogue, or one made from its files."""

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.catalog import find_row, row_of
from resift.scoring.catalog.rows import (
    ChainRow,
    EmbeddingRow,
    LateRow,
    ListwiseRow,
    PairRow,
    PromptRow,
    Row,
    TemplateRow,
)
from resift.scoring.recognition.chains import ends_in_scores
from resift.scoring.recognition.late import is_late
from resift.scoring.recognition.listwise import is_listwise
from resift.scoring.recognition.saved import longest_of, modules_of, prompts_of, unknown_chain
from resift.settings import Prompt

_DECLARED_PROMPT_LENGTH = 8192


def choose_row(checkpoint: Checkpoint, like: str | Prompt | None) -> Row:
    """Return the row by which a model is read."""
    if isinstance(like, Prompt):
        return PromptRow(like, max_length=_DECLARED_PROMPT_LENGTH)
    if like is not None:
        return row_of(like)
    return find_row(checkpoint.name) or find_row(str(checkpoint.path.absolute())) or _row_by_files(checkpoint)


def _row_by_files(checkpoint: Checkpoint) -> Row:
    modules = modules_of(checkpoint)
    architecture = (checkpoint.config.get("architectures") or [""])[0]
    if is_late(checkpoint):
        return LateRow()
    if is_listwise(checkpoint):
        return ListwiseRow()
    if modules[1:] == ["LogitScore"]:
        return TemplateRow()
    if modules[1:2] == ["Pooling"] and ends_in_scores(checkpoint):
        return ChainRow(max_length=longest_of(checkpoint))
    if modules[1:2] == ["Pooling"]:
        return EmbeddingRow(prompts_of(checkpoint).get("query", ""), max_length=longest_of(checkpoint))
    if len(modules) > 1:
        raise unknown_chain(checkpoint)
    if architecture.endswith("ForSequenceClassification"):
        return PairRow(max_length=longest_of(checkpoint))
    raise ModelUnsupported(f"{checkpoint.name} {_why_not(architecture)}")


def _why_not(architecture: str) -> str:
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        return (
            f"is a language model ({architecture}), and how to ask it is not known. Declare it, "
            "like=resift.Prompt(pieces=(..., '{query}', ..., '{document}', ...), positive='yes', negative='no'), or "
            "name the model that it was tuned from, like='Qwen/Qwen3-Reranker-0.6B'"
        )
    if not architecture:
        return (
            "does not say in its config.json what it is (architectures); pass like= with the model that it is a copy of"
        )
    return (
        f"is a {architecture}, which has no head that scores a pair; choose a reranker, or, if it was trained to "
        "embed by its first token as bge was, say like='BAAI/bge-large-en-v1.5'"
    )
