"""Late-interaction models, and how long their texts are where their files do not say."""

from resift.scoring.catalog.rows import LateRow

LATE: dict[str, LateRow] = {
    "colbert-ir/colbertv2.0": LateRow(document_length=180),
    "answerdotai/answerai-colbert-small-v1": LateRow(document_length=300),
    "lightonai/GTE-ModernColBERT-v1": LateRow(document_length=300),
}
