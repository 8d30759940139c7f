"""Builds a tiny model that brings its own code, as some do on the hub."""

import json
from pathlib import Path

import numpy as np
import pytest
import transformers.dynamic_module_utils
from safetensors.numpy import load_file, save_file

import tiny

_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class ToyConfig(PretrainedConfig):
    model_type = "toy"


class ToyForSequenceClassification(PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "toy"

    def __init__(self, config):
        super().__init__(config)
        self.score = torch.nn.Embedding(config.vocab_size, 1)
        self.post_init()

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=(self.score(input_ids) * attention_mask[..., None]).sum(1))
"""


def build(directory: Path, monkeypatch: pytest.MonkeyPatch, *, model_type: str = "toy") -> Path:
    """Write a cross-encoder whose code scores by the sum of its tokens' weights, whatever it calls itself."""
    tiny.build("bert-cross", directory, architectures=["ToyForSequenceClassification"])
    config = json.loads((directory / "config.json").read_text())
    classes = {"AutoConfig": "toy.ToyConfig", "AutoModelForSequenceClassification": "toy.ToyForSequenceClassification"}
    config |= {"model_type": model_type, "auto_map": classes, "type_vocab_size": 0}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "toy.py").write_text(_CODE.replace('"toy"', f'"{model_type}"'))
    weights = load_file(directory / "model.safetensors") | {
        "score.weight": np.arange(config["vocab_size"], dtype=np.float32)[:, None] / 100
    }
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    modules = str(directory.parent / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", modules)
    monkeypatch.syspath_prepend(modules)
    return directory
