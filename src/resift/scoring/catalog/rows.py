"""What a row of the catalogue says, for each kind of model."""

from dataclasses import dataclass

from resift.scoring.families.pair import Truncation
from resift.settings import Prompt


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair cross-encoder."""

    max_length: int = 512
    truncation: Truncation = "longest_first"
    sigmoid: bool | None = None
    """What the authors return: a sigmoid, a raw logit, or (None) what the model's configuration says."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompted causal language model."""

    prompt: Prompt
    max_length: int
    sigmoid: bool = False
    shift: float = 0.0
    """What is subtracted before a sigmoid."""


@dataclass(frozen=True, slots=True)
class EmbeddingRow:
    """An embedding model."""

    query_instruction: str
    max_length: int = 512


Row = PairRow | PromptRow | EmbeddingRow
