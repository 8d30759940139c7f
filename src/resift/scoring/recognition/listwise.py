"""Listwise rerankers of the make of jina-reranker-v3: what their row and their files decide."""

from resift.checkpoint import Checkpoint
from resift.errors import ModelUnsupported
from resift.scoring.backends import Backbone, EmbedEach, Projection
from resift.scoring.catalog.rows import ListwiseRow
from resift.scoring.families.listwise import ListwiseRanker, Marks
from resift.scoring.recognition.recognised import Recognised
from resift.scoring.recognition.saved import encoder_of, longest_of, max_length_of, refuse_windows
from resift.settings import Settings

_ARCHITECTURE, _BODY = "JinaForRanking", "qwen3"
_MARKS = Marks(query="<|rerank_token|>", document="<|embed_token|>")
_OF_ITS_OWN_CODE = ("architectures", "auto_map", "model_type")


def is_listwise(checkpoint: Checkpoint) -> bool:
    """Whether a model's files say that it is of this make."""
    architectures = checkpoint.config.get("architectures") or ()
    return _ARCHITECTURE in architectures and checkpoint.config.get("model_type") == _BODY


def recognise_listwise(checkpoint: Checkpoint, row: ListwiseRow, settings: Settings) -> Recognised:
    """Decide how a listwise reranker is read: the model that it was made from, and two products behind the marks."""
    config = checkpoint.config
    if config.get("model_type") != _BODY:
        raise ModelUnsupported(
            f"{checkpoint.name} is a {config.get('model_type')!r} model, not a listwise reranker made from {_BODY}; "
            "leave `like` out, or choose another model"
        )
    refuse_windows(checkpoint, settings)
    encoder = encoder_of(checkpoint)
    for mark in (_MARKS.query, _MARKS.document):
        token = encoder.token(mark)
        if token is None or encoder.encode(mark).tolist() != [token]:
            raise ModelUnsupported(
                f"the tokenizer of {checkpoint.name} does not read {mark} as one token, behind which a listwise "
                "reranker is read; download the model again, or choose another model"
            )
    family = ListwiseRanker(
        encoder,
        _MARKS,
        max_length=max_length_of(checkpoint, settings, longest_of(checkpoint)),
        query_length=row.query_length,
        document_length=row.document_length,
    )
    body = Backbone(_BODY, {name: value for name, value in config.items() if name not in _OF_ITS_OWN_CODE})
    layers = (Projection("projector.0", activation="ReLU"), Projection("projector.2"))
    return Recognised(family, EmbedEach(layers, body), "bfloat16")
