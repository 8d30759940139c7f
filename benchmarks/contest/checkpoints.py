"""Checkpoints of real size with random weights: speed does not depend on what they say."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest.prompts import TEMPLATES
from benchmarks.contest.sizes import SIZES, Size

REAL_VOCABULARIES = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"
WORD_BEGINS = "\N{LOWER ONE EIGHTH BLOCK}\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"  # of SentencePiece, of bytes


@dataclass(frozen=True)
class Checkpoint:
    """A model that was written down, and what the measurements need to know of it."""

    folder: Path
    size: Size
    words: list[str]
    """Words of its vocabulary, of one token each."""

    matrix_weights: int
    """How many weights each token is multiplied with."""

    @property
    def vocabulary(self) -> str:
        """Where its words are from."""
        return self.size.vocabulary if real_vocabulary(self.size).is_file() else "made up"


def write_model(folder: Path, size: str = "minilm", *, max_length: int = 512) -> Checkpoint:
    """Write a random-weight model of a known size as transformers does."""
    import torch
    import transformers

    made = SIZES[size]
    torch.manual_seed(0)
    config = getattr(transformers, f"{made.classes}Config")(**made.config)
    if not made.template:
        config.num_labels = 1
    kind = "ForCausalLM" if made.template else "ForSequenceClassification"
    model = getattr(transformers, made.classes + kind)(config)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:  # a matrix; wider than the usual start, so that scores spread
            torch.nn.init.normal_(weight, std=0.06 if "embed" in name else 1.5 / weight.shape[1] ** 0.5)
    model.save_pretrained(folder)
    _write_tokenizer(folder, made, max_length)
    return Checkpoint(folder, made, _words(folder, made), _matrix_weights(model))


def real_vocabulary(size: Size) -> Path:
    """Return where the real vocabulary of a model is, if it is at hand."""
    return REAL_VOCABULARIES / (size.vocabulary or "none") / "tokenizer.json.gz"


def _matrix_weights(model: Any) -> int:
    import torch

    layers = model.base_model.named_modules()
    linear = (layer for name, layer in layers if isinstance(layer, torch.nn.Linear) and not name.startswith("pooler"))
    return sum(layer.weight.numel() for layer in linear)


def _write_tokenizer(folder: Path, made: Size, max_length: int) -> None:
    (folder / "tokenizer.json").write_text(tokenizer_of(made), encoding="utf-8")
    specials = {f"{name}_token": token for name, token in made.specials.items()}
    config = {"model_max_length": max_length, **made.tokenizer, **specials}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(specials), encoding="utf-8")


def _words(folder: Path, made: Size) -> list[str]:
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    pieces = [entry if isinstance(entry, str) else entry[0] for entry in vocabulary]
    marks = tuple(mark for mark in WORD_BEGINS if any(piece.startswith(mark) for piece in pieces))
    words = [piece.lstrip(WORD_BEGINS) for piece in pieces if not marks or piece.startswith(marks)]
    plain = (word for word in words if word.isascii() and word.isalpha() and word.islower() and len(word) > 1)
    return list(plain)


def tokenizer_of(made: Size) -> str:
    """Return the model's real vocabulary where it is at hand, else one of made-up words of the same size."""
    path = real_vocabulary(made)
    if path.is_file():
        return gzip.decompress(path.read_bytes()).decode()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = list(dict.fromkeys(made.specials.values()))
    for template in TEMPLATES.values() if made.template else ():
        words += [template.positive, template.negative]
    words += [a + b + c + d for a in letters for b in letters for c in letters for d in letters]
    vocabulary = {word: at for at, word in enumerate(words[: made.config["vocab_size"]])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=made.specials["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if not made.template:
        end, begin = ((made.specials[name], vocabulary[made.specials[name]]) for name in ("sep", "cls"))
        tokenizer.post_processor = processors.BertProcessing(end, begin)
    tokenizer.add_special_tokens(list(made.specials.values()))
    return str(tokenizer.to_str())
