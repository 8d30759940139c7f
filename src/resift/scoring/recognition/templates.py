"""Language models that their own chat template asks: what sentence-transformers saved beside them."""

from collections.abc import Mapping
from typing import Any

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Answer
from resift.scoring.catalog.rows import TemplateRow
from resift.scoring.families import LogitScale
from resift.scoring.families.chat import ChatTemplate
from resift.scoring.families.templated import TemplatedLM
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import (
    cuts_front,
    default_prompt_of,
    encoder_of,
    kind_of,
    longest_of,
    looks_back_only,
    max_length_of,
    refuse_windows,
    saved_json,
    says_sigmoid,
    special_tokens_of,
)
from resift.settings import Settings

_TRANSFORMER = "sentence_bert_config.json"
_LOGITS = "causal_logits"
_SIZES = ("padding", "truncation", "max_length", "return_tensors")  # what is said of lengths, wherever it is said
# what templates say that take a message as a list of parts, by which sentence-transformers tells them from others
_IN_PARTS = ("content[0]", ".type", "'type'", '"type"', "item.type", "message.content[")


def recognise_templated(checkpoint: Checkpoint, row: TemplateRow, settings: Settings) -> Recognised:
    """Decide how a language model is read that was saved as Transformer and LogitScore."""
    task = saved_json(checkpoint, _TRANSFORMER).get("transformer_task")
    if task != "text-generation":
        raise ModelUnsupported(
            f"{checkpoint.name} was saved for the task {task!r}; known here is text-generation. Choose another model"
        )
    modules = checkpoint.json("modules.json") or ()
    folder = next(str(module["path"]) for module in modules if kind_of(module) == "LogitScore")
    saved = checkpoint.json(folder, "config.json")
    if not isinstance(saved, Mapping) or not isinstance(saved.get("true_token_id"), int):
        raise checkpoint.damaged(f"{folder}/config.json", "it does not say which token means 'relevant'")
    if saved.get("module_input_name", _LOGITS) != _LOGITS:
        raise ModelUnsupported(f"{checkpoint.name} scores by {saved['module_input_name']!r}; known here is {_LOGITS!r}")
    answer = Answer(saved["true_token_id"], saved.get("false_token_id"))
    family = templated_family(checkpoint, settings, shares_prefix=looks_back_only(checkpoint))
    return Recognised(family, answer, "bfloat16")


def speaks_in_messages(checkpoint: Checkpoint) -> bool:
    """Whether a model was saved as one that is given messages, and not texts."""
    return "message" in (saved_json(checkpoint, _TRANSFORMER).get("modality_config") or {})


def templated_family(checkpoint: Checkpoint, settings: Settings, *, shares_prefix: bool) -> TemplatedLM:
    """Return the family of a model that is asked by its own chat template."""
    refuse_windows(checkpoint, settings)
    template = _template_of(checkpoint)
    if template is None or not speaks_in_messages(checkpoint):
        raise ModelUnsupported(
            f"{checkpoint.name} has no chat template that puts query and document into a prompt; name the model that "
            "it was made from, like='Qwen/Qwen3-Reranker-0.6B', or declare a resift.Prompt"
        )
    said = saved_json(checkpoint, _TRANSFORMER).get("processing_kwargs") or {}
    variables = {name: value for name, value in (said.get("chat_template") or {}).items() if name not in _SIZES}
    restores_end = variables.pop("restore_suffix", True)
    sizes = {**(said.get("common") or {}), **(said.get("text") or {}), **(said.get("chat_template") or {})}
    if sizes.get("truncation", True) not in (True, "longest_first"):
        raise ModelUnsupported(f"{checkpoint.name} cuts texts by {sizes['truncation']!r}, which is not known here")
    chat = ChatTemplate(
        template,
        in_parts=_takes_parts(checkpoint, template),
        variables=special_tokens_of(checkpoint) | {"add_generation_prompt": False} | variables,
    )
    if (reason := chat.why_not_pairs()) is not None:
        raise ModelUnsupported(
            f"the chat template of {checkpoint.name} cannot carry a query and a document ({reason}); name the model "
            "that it was made from, like='Qwen/Qwen3-Reranker-0.6B', or declare a resift.Prompt"
        )
    return TemplatedLM(
        encoder_of(checkpoint),
        chat,
        max_length=max_length_of(checkpoint, settings, sizes.get("max_length") or longest_of(checkpoint)),
        scale=LogitScale(sigmoid_by_default=says_sigmoid(checkpoint)),
        instruction=default_prompt_of(checkpoint),
        cuts_front=cuts_front(checkpoint),
        restores_end=bool(restores_end),
        shares_prefix=shares_prefix,
    )


def _template_of(checkpoint: Checkpoint) -> str | None:
    """Return the chat template: of a file of its own, else of the tokenizer's, where it may be one of several."""
    file = checkpoint.file("chat_template.jinja")
    if file is not None:
        return file.read_text(encoding="utf-8")
    saved = saved_json(checkpoint, "tokenizer_config.json").get("chat_template")
    if isinstance(saved, list):
        saved = {each.get("name"): each.get("template") for each in saved}.get("default")
    return saved if isinstance(saved, str) else None


def _takes_parts(checkpoint: Checkpoint, template: str) -> bool:
    message: Mapping[str, Any] = saved_json(checkpoint, _TRANSFORMER)["modality_config"]["message"]
    form = message.get("format", "auto")
    return form == "structured" if form in ("structured", "flat") else any(part in template for part in _IN_PARTS)
