"""How the authors of prompted models lay out a query and a document: pieces of text that are tokenised one by one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """A layout, and the two words whose logits the score compares."""

    pieces: tuple[str, ...]
    positive: str
    negative: str

    def fill(self, query: str, document: str) -> list[str]:
        """Return the pieces of one prompt."""
        return [piece.replace("{query}", query).replace("{document}", document) for piece in self.pieces]


_QWEN3_TASK = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    'answer can only be "yes" or "no".'
)
_QWEN3_TEXTS = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}".replace(
    "{instruction}", "Given a web search query, retrieve relevant passages that answer the query"
)
_MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)
_QWEN2 = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_HEAD = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n"
_TAIL = "<|im_end|>\n<|im_start|>assistant\n"

TEMPLATES = {
    "qwen3": Template(
        (_HEAD.format(_QWEN3_TASK), _QWEN3_TEXTS, _TAIL + "<think>\n\n</think>\n\n"), positive="yes", negative="no"
    ),
    "mxbai": Template(
        (_HEAD.format(_QWEN2), "query: {query}", "\n", "document: {document}", "\n", _MXBAI_TASK, _TAIL),
        positive="1",
        negative="0",
    ),
}
