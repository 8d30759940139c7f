"""Pairs in padded batches, as users of a bare runtime write it: of a fixed size as they come, or sorted by length."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

Feed = dict[str, npt.NDArray[np.int64]]
GRAPHS = {"float32": "model.onnx", "bfloat16": "model.onnx", "int8": "model_quantized.onnx"}


class Batches:
    """Texts of one model to inputs of its graph."""

    def __init__(self, model: Path, *, inputs: Sequence[str], batch_size: int = 0, batch_tokens: int = 0) -> None:
        told = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.enable_truncation(told["model_max_length"])
        self._pad = self._tokenizer.token_to_id(told["pad_token"]) or 0
        self._inputs, self._size, self._tokens = set(inputs), batch_size, batch_tokens

    def score(self, query: str, documents: list[str], run: Callable[[Feed], npt.NDArray[np.float32]]) -> list[float]:
        """Return the logits of all pairs."""
        encodings = self._tokenizer.encode_batch([(query, document) for document in documents])
        scores = np.empty(len(encodings))
        for batch in self._plan([len(encoding) for encoding in encodings]):
            scores[batch] = run(self._feed([encodings[place] for place in batch])).reshape(-1)
        numbers: list[float] = scores.tolist()
        return numbers

    def _plan(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        if self._size:
            for start in range(0, len(lengths), self._size):
                yield list(range(start, min(start + self._size, len(lengths))))
            return
        batch: list[int] = []
        for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
            if batch and lengths[batch[0]] * (len(batch) + 1) > self._tokens:
                yield batch
                batch = []
            batch.append(place)
        yield batch

    def _feed(self, encodings: Sequence[Encoding]) -> Feed:
        width = max(len(encoding) for encoding in encodings)
        columns = {
            "input_ids": ("ids", self._pad),
            "attention_mask": ("attention_mask", 0),
            "token_type_ids": ("type_ids", 0),
        }
        return {
            name: np.array([_filled(getattr(encoding, kind), width, filler) for encoding in encodings], dtype=np.int64)
            for name, (kind, filler) in columns.items()
            if name in self._inputs
        }


def _filled(numbers: list[int], width: int, filler: int) -> list[int]:
    return numbers + [filler] * (width - len(numbers))
