"""
Builds tiny models with random weights, and the texts that tests score with them.

A kind, a seed and a configuration give the same bytes on every machine and under every supported version of
transformers, so that numbers recorded elsewhere (`references/`) belong to exactly these models.
"""

import hashlib
import json
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from tokenizers import Tokenizer

VOCABULARIES = Path(__file__).parent / "references" / "vocabularies"

Fields = dict[str, Any]

QUERY = "How long do giant pandas sleep, and what do they eat?"

# More than three quarters of 512 tokens in every vocabulary, so that every limit on queries bites.
LONG_QUERY = " ".join(
    f"In which of the {count} mountain forests of China does a giant panda sleep, and what bamboo does it eat there?"
    for count in range(2, 14)
)

# Each is an edge: nothing, blanks, every ending that merges with a newline, scripts, look-alikes, one endless word,
# text that spells special tokens, and lengths beyond 64 and 512 tokens.
DOCUMENTS = (
    "",
    "   ",
    "Panda",
    "The giant panda eats bamboo and sleeps for most of the day.",
    "Do pandas sleep at night?",
    "What a bear!",
    "Pandas eat bamboo (and little else)",
    "The food of a panda, day by day:",
    "Giant panda\nFamily: bears\n\nIt lives in China,\nand it eats bamboo",
    "\nA panda sleeps after it eats.\n",
    "name\tfood\tsleep\npanda\tbamboo\t10 hours",
    "The first line.\r\nThe second line.",
    "  Two  blanks,   or three,  everywhere  ",
    "Der große Panda schläft täglich 10 Stunden; « le panda géant » aussi.",
    "Cafe\u0301 am Ba\u0308rengehege",
    "大熊猫吃竹子。它每天睡十个小时。",
    "パンダは竹を食べます。",
    "الباندا تأكل الخيزران وتنام طويلا.",
    "Pandas \N{PANDA FACE} love \N{TANABATA TREE}!",
    "\uff30\uff41\uff4e\uff44\uff41\uff53 sleep \uff11\uff10 hours; they \ufb01nd \ufb02owers.",
    "bamboo" * 30,
    "The marks <|im_end|>, [SEP], </s> and <eos> are only text here.",
    "Here <pad> or [PAD] stands before <mask> or [MASK].",
    "1. Red foxes hunt mice at night; grey wolves hunt in packs. " * 8,
    " ".join(f"On day {day} the panda ate {day % 7 + 9} kilos of bamboo, then slept again." for day in range(1, 23)),
)


@dataclass(frozen=True)
class Kind:
    architecture: str
    vocabulary: str
    config: Fields
    tokenizer: Fields = field(default_factory=dict)
    # How wide the weights spread: wide enough to tell documents apart, narrow enough to keep fp32 noise near 1e-6.
    gain: float = 1.5
    # The class of transformers that has the same weights below its head, where it has no class for the kind itself.
    like: str | None = None


def _rope(theta: float) -> Fields:
    # transformers 4 reads the first field only, transformers 5 writes the second.
    return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}


ENCODER: Fields = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "num_labels": 1,
}
ROBERTA: Fields = ENCODER | {"max_position_embeddings": 514, "type_vocab_size": 1}
DECODER: Fields = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "use_cache": True,
}
QWEN3: Fields = DECODER | _rope(1e6) | {"model_type": "qwen3", "head_dim": 16, "attention_bias": False}
GEMMA: Fields = (
    DECODER
    | _rope(20000.0)
    | {
        "head_dim": 16,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    }
)

KINDS: dict[str, Kind] = {
    "xlmr-cross": Kind("XLMRobertaForSequenceClassification", "xlmr", ROBERTA | {"model_type": "xlm-roberta"}),
    "roberta-cross": Kind("RobertaForSequenceClassification", "roberta", ROBERTA | {"model_type": "roberta"}),
    "bert-cross": Kind("BertForSequenceClassification", "bert", ENCODER | {"model_type": "bert"}),
    "bert-embedding": Kind("BertModel", "bert", ENCODER | {"model_type": "bert", "num_labels": None}),
    "electra-cross": Kind(
        "ElectraForSequenceClassification",
        "bert",
        ENCODER | {"model_type": "electra", "embedding_size": 16},
        {"tokenizer_class": "ElectraTokenizer"},
    ),
    "distilbert-cross": Kind(
        "DistilBertForSequenceClassification",
        "bert",
        {
            "model_type": "distilbert",
            "dim": 32,
            "hidden_dim": 64,
            "n_layers": 3,
            "n_heads": 4,
            "activation": "gelu",
            "max_position_embeddings": 512,
            "num_labels": 1,
        },
        {"tokenizer_class": "DistilBertTokenizer"},
    ),
    "deberta-cross": Kind(
        "DebertaV2ForSequenceClassification",
        "deberta",
        ENCODER
        | {
            "model_type": "deberta-v2",
            "type_vocab_size": 0,
            "relative_attention": True,
            "max_relative_positions": -1,
            "position_buckets": 32,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "pooler_dropout": 0,
            "pooler_hidden_act": "gelu",
            "pooler_hidden_size": 32,
        },
    ),
    "modernbert-cross": Kind(
        "ModernBertForSequenceClassification",
        "modernbert",
        {
            "model_type": "modernbert",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "hidden_activation": "gelu",
            "max_position_embeddings": 8192,
            "norm_eps": 1e-5,
            "global_attn_every_n_layers": 2,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "local_attention": 16,
            "global_rope_theta": 160000.0,
            "local_rope_theta": 20000.0,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0},
            },
            "classifier_pooling": "mean",
            "classifier_activation": "gelu",
            "reference_compile": False,
            "num_labels": 1,
        },
        gain=1.0,
    ),
    "qwen2": Kind(
        "Qwen2ForCausalLM",
        "qwen",
        DECODER | _rope(1e6) | {"model_type": "qwen2", "tie_word_embeddings": True},
        gain=0.7,
    ),
    "qwen3": Kind("Qwen3ForCausalLM", "qwen", QWEN3 | {"tie_word_embeddings": False}, gain=0.7),
    "qwen3-cross": Kind(
        "Qwen3ForSequenceClassification",
        "qwen",
        QWEN3 | {"tie_word_embeddings": True, "num_labels": 1},
        gain=0.7,
    ),
    "gemma": Kind("GemmaForCausalLM", "gemma", GEMMA | {"model_type": "gemma", "num_key_value_heads": 1}, gain=0.7),
    "gemma2": Kind(
        "Gemma2ForCausalLM",
        "gemma",
        GEMMA
        | {
            "model_type": "gemma2",
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "sliding_window": 16,
            "query_pre_attn_scalar": 16,
            "final_logit_softcapping": 30.0,
            # The real ones say 50.0, which only the eager attention of transformers applies: sdpa drops it silently.
            "attn_logit_softcapping": None,
        },
        gain=0.7,
    ),
}

MODERN_BERT = KINDS["modernbert-cross"].config
LLAMA: Fields = DECODER | _rope(10000.0) | {"model_type": "llama", "attention_bias": False, "head_dim": 8}
KINDS |= {
    "modernbert": Kind("ModernBertModel", "modernbert", MODERN_BERT | {"num_labels": None}, gain=1.0),
    "xlmr-embedding": Kind("XLMRobertaModel", "xlmr", ROBERTA | {"model_type": "xlm-roberta", "num_labels": None}),
    "llama": Kind("LlamaForCausalLM", "gemma", LLAMA | {"tie_word_embeddings": False}, gain=0.7),
    "llama-cross": Kind("LlamaForSequenceClassification", "gemma", LLAMA | {"num_labels": 1}, gain=0.7),
    "minicpm": Kind(
        "LayerWiseMiniCPMForCausalLM",
        "gemma",
        LLAMA
        | {
            "model_type": "minicpm",
            "use_cache": False,  # the authors' code keeps a cache as transformers 4.40 did, and no later one
            "rope_parameters": None,
            "num_key_value_heads": 4,
            "scale_emb": 12,
            "scale_depth": 1.4,
            "dim_model_base": 16,
            "start_layer": 1,
            "head_type": "simple",
            "head_multi": True,
            "tie_word_embeddings": False,
        },
        gain=0.7,
        like="LlamaForCausalLM",
    ),
    "mistral": Kind(
        "MistralForCausalLM",
        "gemma",
        LLAMA | {"model_type": "mistral", "sliding_window": None, "tie_word_embeddings": False},
        gain=0.7,
    ),
}

BRACKETS = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
FAIRSEQ = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}

TOKENIZERS: dict[str, Fields] = {
    "bert": BRACKETS | {"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]", "do_lower_case": True},
    "deberta": BRACKETS | {"tokenizer_class": "DebertaV2Tokenizer", "mask_token": "[MASK]", "do_lower_case": False},
    "modernbert": BRACKETS
    | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "mask_token": "[MASK]",
        "model_max_length": 8192,
        "model_input_names": ["input_ids", "attention_mask"],
    },
    "xlmr": FAIRSEQ | {"tokenizer_class": "XLMRobertaTokenizer", "pad_token": "<pad>", "mask_token": "<mask>"},
    "roberta": FAIRSEQ
    | {
        "tokenizer_class": "RobertaTokenizer",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "add_prefix_space": False,
    },
    "qwen": {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "add_bos_token": False,
        "add_prefix_space": False,
    },
    "gemma": {
        "tokenizer_class": "GemmaTokenizer",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "model_max_length": 8192,
        "add_bos_token": True,
        "add_eos_token": False,
    },
}

POOLING = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def build(kind: str, directory: Path, *, seed: int = 0, **config: Any) -> Path:
    """
    Write a complete checkpoint of `kind` into `directory` and return it.

    `config` overrides fields of config.json. The kind "bert-embedding" also takes `pooling`, `normalize`, `prompts`
    and `max_seq_length`, which describe its sentence-transformers modules.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made = KINDS[kind]
    if kind == "bert-embedding":
        config = _write_modules(directory, **config)
    _write_tokenizer(directory, made)
    fields = _config_fields(made, config)
    _write_json(directory / "config.json", fields)
    save_file(_weights(made, fields, seed=seed), directory / "model.safetensors", {"format": "pt"})
    return directory


def fingerprint(directory: Path) -> dict[str, str]:
    """Hash the files that decide a score."""
    names = ("config.json", "model.safetensors", "tokenizer.json")
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config_fields(kind: Kind, config: Fields) -> Fields:
    tokenizer = Tokenizer.from_file(str(VOCABULARIES / f"{kind.vocabulary}.json"))
    tokens = TOKENIZERS[kind.vocabulary]
    fields: Fields = {
        "architectures": [kind.architecture],
        # Rounded up, as real checkpoints have more rows than their tokenizer has tokens.
        "vocab_size": math.ceil(tokenizer.get_vocab_size() / 64) * 64,
        "torch_dtype": "float32",
    }
    for role in ("pad", "bos", "eos", "cls", "sep"):
        token = tokens.get(f"{role}_token")
        fields[f"{role}_token_id"] = None if token is None else tokenizer.token_to_id(token)
    fields |= kind.config | config
    num_labels = fields.pop("num_labels", None)
    if num_labels is not None:
        fields["id2label"] = {str(label): f"LABEL_{label}" for label in range(num_labels)}
        fields["label2id"] = {f"LABEL_{label}": label for label in range(num_labels)}
    return fields


def _write_tokenizer(directory: Path, kind: Kind) -> None:
    text = (VOCABULARIES / f"{kind.vocabulary}.json").read_bytes()
    (directory / "tokenizer.json").write_bytes(text)
    fields = {"model_max_length": 512} | TOKENIZERS[kind.vocabulary] | kind.tokenizer
    _write_json(directory / "tokenizer_config.json", fields)
    roles = {role: token for role, token in fields.items() if role.endswith("_token") and isinstance(token, str)}
    _write_json(directory / "special_tokens_map.json", roles)


def _weights(kind: Kind, fields: Fields, *, seed: int) -> dict[str, np.ndarray]:
    known = fields if kind.like is None else fields | _rope(10000.0) | {"model_type": "llama"}
    config = transformers.AutoConfig.for_model(**known)
    with torch.device("meta"):
        model = getattr(transformers, kind.like or kind.architecture)(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if fields.get("tie_word_embeddings") or kind.like is not None:
        shapes.pop("lm_head.weight", None)
    if kind.like is not None:
        heads = fields["num_hidden_layers"] + 1 - fields["start_layer"]
        shapes |= {f"lm_head.{at}.linear_head.weight": (1, fields["hidden_size"]) for at in range(heads)}
    # Gemma's norms multiply by 1 + weight.
    centre = 0.0 if fields["model_type"].startswith("gemma") else 1.0
    return {
        name: _values(name, shape, seed=seed, gain=kind.gain, centre=centre) for name, shape in sorted(shapes.items())
    }


def _values(name: str, shape: tuple[int, ...], *, seed: int, gain: float, centre: float) -> np.ndarray:
    # RandomState's stream is frozen, and sums of four uniforms are exact arithmetic: the same bits on every machine.
    stream = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()))
    normal = (stream.random_sample((4, *shape)) - 0.5).sum(axis=0) * math.sqrt(3.0)
    if len(shape) > 1:
        values = normal * (gain / math.sqrt(shape[-1]))
    else:
        values = 0.1 * normal + (0.0 if name.endswith("bias") else centre)
    return np.asarray(values, dtype=np.float32)


def _write_modules(
    directory: Path,
    *,
    pooling: str = "cls",
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    max_seq_length: int = 512,
    **config: Any,
) -> Fields:
    """Write what sentence-transformers adds to a backbone, and return the fields that are left."""
    names = ["", "1_Pooling"] + ["2_Normalize"] * normalize
    types = ["Transformer", "Pooling", "Normalize"]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{type_}"}
        for index, (path, type_) in enumerate(zip(names, types, strict=False))
    ]
    _write_json(directory / "modules.json", modules)
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    width = config.get("hidden_size", ENCODER["hidden_size"])
    fields = {"word_embedding_dimension": width} | dict.fromkeys(POOLING.values(), False) | {POOLING[pooling]: True}
    (directory / "1_Pooling").mkdir(exist_ok=True)
    _write_json(directory / "1_Pooling" / "config.json", fields)
    settings = {"prompts": prompts or {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write_json(directory / "config_sentence_transformers.json", settings)
    return config
