"""What a row of the catalogue says, for each kind of model."""

from dataclasses import dataclass
from typing import Literal

from resift.scoring.families.pair import Truncation
from resift.scoring.families.windows import Windows
from resift.settings import Prompt


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair cross-encoder."""

    max_length: int = 512
    truncation: Truncation = "longest_first"
    sigmoid: bool | None = None
    """What the authors return: a sigmoid, a raw logit, or (None) what the model's configuration says."""

    windows: Windows | None = None
    """How the authors read a long document, where they do not cut it."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompted causal language model."""

    prompt: Prompt
    max_length: int
    sigmoid: bool = False
    shift: float = 0.0
    """What is subtracted before a sigmoid."""

    spread: float = 1.0
    """What is divided by after that."""

    framed: bool = False
    """Whether the tokenizer's own special tokens go around the whole."""

    answer: int | None = None
    """The token whose logit is read, where it is one by its id and not by its text."""


HeadKind = Literal["bidirectional llama", "qwen2-vl", "minicpm"]
"""Language models with a head of their own in the place of the one for words."""


@dataclass(frozen=True, slots=True)
class HeadRow:
    """A language model that is asked with a prompt, and answers by a head of its own."""

    asked: PromptRow
    kind: HeadKind
    shares_prefix: bool = True
    """Whether what all documents of a query begin with may be computed once: not where tokens look ahead."""

    ends_with: tuple[int, ...] = ()
    """Tokens behind the prompt."""

    longest_document: int | None = None
    """How many tokens of a document are read at most."""


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A cross-encoder whose head is a chain of modules of sentence-transformers."""

    max_length: int


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """A language model that its own chat template asks, read as sentence-transformers saved it."""


@dataclass(frozen=True, slots=True)
class EmbeddingRow:
    """An embedding model."""

    query_instruction: str
    max_length: int = 512


@dataclass(frozen=True, slots=True)
class LateRow:
    """A late-interaction model, and how long its texts are where its files do not say."""

    query_length: int = 32
    document_length: int | None = None
    """None is as much as the model can read."""


@dataclass(frozen=True, slots=True)
class ListwiseRow:
    """A listwise reranker of the make of jina-reranker-v3."""

    query_length: int = 512
    document_length: int = 2048


Row = PairRow | PromptRow | HeadRow | ChainRow | TemplateRow | EmbeddingRow | LateRow | ListwiseRow
