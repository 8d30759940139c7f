"""What transformers itself says of sequences of tokens, each alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel

from resift.scoring.planning import Tokens


def pooled(directory: Path, sequences: Sequence[Tokens], pooling: str) -> np.ndarray[Any, Any]:
    """Return the vector that each sequence's hidden states are pooled to."""
    model = AutoModel.from_pretrained(directory)
    vectors = []
    for sequence in sequences:
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([sequence.ids.tolist()])).last_hidden_state[0]
        vectors.append({"cls": states[0], "mean": states.mean(0), "lasttoken": states[-1]}[pooling].numpy())
    return np.stack(vectors)
