"""A prompted language model on bare transformers, as model cards show it: padded batches, the logits of all words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.contest.prompts import TEMPLATES
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

PACKAGES = ("torch", "transformers")


def load(model: Path, settings: dict[str, Any]) -> Callable[[str, list[str]], list[float]]:
    """Load in the number format that is asked for."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")
    network = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, settings["dtype"]))
    network = network.to(settings["device"]).eval()
    template = TEMPLATES[settings["template"]]
    words = [_ids(tokenizer, word)[0] for word in (template.positive, template.negative)]
    only_last = {"logits_to_keep": 1} if settings["positions"] == "last" else {}
    size = settings["batch_size"]

    def score(query: str, documents: list[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(documents), size):
            prompts = [template.fill(query, document) for document in documents[start : start + size]]
            ids = [[number for piece in prompt for number in _ids(tokenizer, piece)] for prompt in prompts]
            batch = tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt").to(settings["device"])
            with torch.inference_mode():
                logits = network(**batch, **only_last).logits[:, -1, words].float()
            scores += (logits[:, 0] - logits[:, 1]).tolist()
        return scores

    return score


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
