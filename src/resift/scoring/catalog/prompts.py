"""Prompted language models: how their authors ask them."""

from resift.scoring.catalog.rows import PromptRow
from resift.settings import Prompt

_CHAT_HEAD = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n"
_CHAT_TAIL = "<|im_end|>\n<|im_start|>assistant\n"
_MXBAI_V2_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)
_QWEN3_TASK = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    'answer can only be "yes" or "no".'
)

_MXBAI_V2 = Prompt(
    pieces=(
        _CHAT_HEAD.format("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        "instruction: {instruction}\nquery: {query}",
        "\n",
        "document: {document}",
        "\n",
        _MXBAI_V2_TASK,
        _CHAT_TAIL,
    ),
    without_instruction="query: {query}",
    positive="1",
    negative="0",
    max_length_covers="texts",
)

_QWEN3 = Prompt(
    pieces=(
        _CHAT_HEAD.format(_QWEN3_TASK),
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        _CHAT_TAIL + "<think>\n\n</think>\n\n",
    ),
    instruction="Given a web search query, retrieve relevant passages that answer the query",
    positive="yes",
    negative="no",
)

_BGE_GEMMA = Prompt(
    pieces=("A: {query}", "\n", "B: {document}", "\n", "{instruction}"),
    instruction="Given a query A and a passage B, determine whether the passage contains an answer to the query by "
    "providing a prediction of either 'Yes' or 'No'.",
    positive="Yes",
    begins_with_bos=True,
    max_length_covers="texts and tail",
)

_QWEN3_RERANKER = PromptRow(_QWEN3, max_length=8192, sigmoid=True)

PROMPTED: dict[str, PromptRow] = {
    "BAAI/bge-reranker-v2-gemma": PromptRow(_BGE_GEMMA, max_length=512),
    "mixedbread-ai/mxbai-rerank-base-v2": PromptRow(_MXBAI_V2, max_length=8192, shift=4.5),
    "mixedbread-ai/mxbai-rerank-large-v2": PromptRow(_MXBAI_V2, max_length=8192, shift=6.0),
    "Qwen/Qwen3-Reranker-0.6B": _QWEN3_RERANKER,
    "Qwen/Qwen3-Reranker-4B": _QWEN3_RERANKER,
    "Qwen/Qwen3-Reranker-8B": _QWEN3_RERANKER,
}
