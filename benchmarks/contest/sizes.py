"""The models that people run, by their numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_BRACKETS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_DEBERTA_BRACKETS = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}
_ANGLES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>"}
_QWEN = {"pad": "<|endoftext|>", "unk": "<|endoftext|>", "eos": "<|im_end|>"}

_BERT_TOKENIZER = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
# by this class, transformers reads tokenizer.json as it is, which it does not by the models' own
_AS_IT_IS = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}

_ROUTES = {"qwen3": "Qwen/Qwen3-Reranker-0.6B", "mxbai": "mixedbread-ai/mxbai-rerank-base-v2"}


@dataclass(frozen=True)
class Size:
    """A model that people run, by its numbers."""

    title: str
    classes: str
    vocabulary: str
    """The real vocabulary that stands for its own; where there is none, words are made up."""

    config: Mapping[str, Any]
    tokenizer: Mapping[str, object]
    specials: Mapping[str, str]
    """Its special tokens, in the order of their ids."""

    template: str = ""
    """How it is asked, if it is a language model."""

    layers_of_attention: float = 1.0
    """What share of all pairs of positions its attention looks at: half of them where it only looks back."""

    workload: Mapping[str, int] = field(default_factory=lambda: {"documents": 100, "queries": 1, "calls": 1})
    """Queries of a round and documents of each, and how often each of the callers calls that come at once."""

    @property
    def like(self) -> str | None:
        """The row of resift's catalogue that it is read as, where its files do not say what it is."""
        return _ROUTES.get(self.template)


def _shape(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


def _language_model(width: int, layers: int, heads: tuple[int, int], *, inner: int, **more: Any) -> dict[str, Any]:
    return _shape(width, layers, heads[0]) | {
        "num_key_value_heads": heads[1],
        "intermediate_size": inner,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "pad_token_id": 151643,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        **more,
    }


def _xlm_r(title: str, positions: int, shape: dict[str, int]) -> Size:
    config = {"vocab_size": 250002, "max_position_embeddings": positions, "type_vocab_size": 1, "pad_token_id": 1}
    return Size(title, "XLMRoberta", "xlm-roberta-base", config | shape, _AS_IT_IS, _ANGLES)


def _prompted(title: str, classes: str, config: dict[str, Any], template: str, documents: int) -> Size:
    return Size(
        title,
        classes,
        "qwen2",
        config,
        _AS_IT_IS,
        _QWEN,
        template=template,
        layers_of_attention=0.5,
        workload={"documents": documents, "queries": 1, "calls": 1},
    )


_QWEN2_SMALL = _language_model(896, 24, (14, 2), inner=4864)

SIZES = {
    "minilm": Size(
        "BERT cross-encoder 384 x 6",
        "Bert",
        "bert-base-uncased",
        {"vocab_size": 30522} | _shape(384, 6, 12),
        _BERT_TOKENIZER,
        _BRACKETS,
        workload={"documents": 100, "queries": 2, "calls": 2},
    ),
    "base": _xlm_r("XLM-R cross-encoder 768 x 12", 514, _shape(768, 12, 12)),
    "deberta": Size(
        "DeBERTa-v3 cross-encoder 768 x 12",
        "DebertaV2",
        "",
        {
            "vocab_size": 128100,
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 256,
            "max_relative_positions": -1,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "max_position_embeddings": 512,
            "layer_norm_eps": 1e-7,
            "pooler_hidden_size": 768,
            "pooler_hidden_act": "gelu",
            "pooler_dropout": 0,
        }
        | _shape(768, 12, 12),
        _AS_IT_IS,
        _DEBERTA_BRACKETS,
    ),
    "modernbert": Size(
        "ModernBERT cross-encoder 768 x 22",
        "ModernBert",
        "",
        _shape(768, 22, 12)
        | {
            "vocab_size": 50368,
            "intermediate_size": 1152,
            "pad_token_id": 0,
            "cls_token_id": 2,
            "bos_token_id": 2,
            "sep_token_id": 3,
            "eos_token_id": 3,
            "classifier_pooling": "mean",
        },
        _AS_IT_IS,
        {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    ),
    "qwen2": _prompted("Qwen2 0.5B asked as Qwen3-Reranker", "Qwen2", _QWEN2_SMALL, "qwen3", 16),
    "qwen2-mxbai": _prompted("Qwen2 0.5B asked as mxbai-rerank-base-v2", "Qwen2", _QWEN2_SMALL, "mxbai", 16),
    "large": _xlm_r("XLM-R cross-encoder 1024 x 24", 8194, _shape(1024, 24, 16)),
    "qwen2-large": _prompted(
        "Qwen2 1.5B asked as mxbai-rerank-large-v2",
        "Qwen2",
        _language_model(1536, 28, (12, 2), inner=8960),
        "mxbai",
        100,
    ),
    "qwen3-4b": _prompted(
        "Qwen3 4B asked as Qwen3-Reranker-4B",
        "Qwen3",
        _language_model(2560, 36, (32, 8), inner=9728, head_dim=128),
        "qwen3",
        100,
    ),
}
ON_CPU = ("minilm", "base", "deberta", "modernbert", "qwen2", "qwen2-mxbai")
"""What `--model all` runs where there is no GPU."""
