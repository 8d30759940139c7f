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

BGE_LLM = Prompt(
    pieces=("A: {query}", "\n", "B: {document}", "\n", "{instruction}"),
    instruction="Given a query A and a passage B, determine whether the passage contains an answer to the query by "
    "providing a prediction of either 'Yes' or 'No'.",
    positive="Yes",
    begins_with_bos=True,
    max_length_covers="texts and tail",
)

# special tokens stand between the texts, so that one piece gives the ids of several
_ZERANK = Prompt(
    pieces=("<|im_start|>system\n{query}<|im_end|>\n<|im_start|>user\n{document}", _CHAT_TAIL),
    positive="Yes",
)
_ZERANK_2 = Prompt(
    pieces=(
        (
            "<|im_start|>system\n<query>{query}</query>\n<instruction>{instruction}</instruction><|im_end|>\n"
            "<|im_start|>user\n{document}"
        ),
        _CHAT_TAIL,
    ),
    without_instruction=_ZERANK.pieces[0],
    positive="Yes",
)

_CONTEXTUAL_HEAD = (
    "Check whether a given document contains information helpful to answer the query.\n"
    "<Document> {document}\n<Query> {query}"
)
_CONTEXTUAL = Prompt(
    pieces=(_CONTEXTUAL_HEAD + " {instruction} ??",),
    without_instruction=_CONTEXTUAL_HEAD + " ??",
    positive="!",  # token 0 of some of their vocabularies, and not of all
)

_ZERANK_1_ROW = PromptRow(_ZERANK, max_length=40960, spread=5.0)
_ZERANK_2_ROW = PromptRow(_ZERANK_2, max_length=40960, spread=5.0)
_CONTEXTUAL_ROW = PromptRow(_CONTEXTUAL, max_length=32768, framed=True, answer=0)
_QWEN3_RERANKER = PromptRow(_QWEN3, max_length=8192, sigmoid=True)

PROMPTED: dict[str, PromptRow] = {
    "BAAI/bge-reranker-v2-gemma": PromptRow(BGE_LLM, max_length=512),
    "mixedbread-ai/mxbai-rerank-base-v2": PromptRow(_MXBAI_V2, max_length=8192, shift=4.5),
    "mixedbread-ai/mxbai-rerank-large-v2": PromptRow(_MXBAI_V2, max_length=8192, shift=6.0),
    "Qwen/Qwen3-Reranker-0.6B": _QWEN3_RERANKER,
    "Qwen/Qwen3-Reranker-4B": _QWEN3_RERANKER,
    "Qwen/Qwen3-Reranker-8B": _QWEN3_RERANKER,
    "zeroentropy/zerank-1": _ZERANK_1_ROW,
    "zeroentropy/zerank-1-reranker": _ZERANK_1_ROW,
    "zeroentropy/zerank-1-small": _ZERANK_1_ROW,
    "zeroentropy/zerank-1-small-reranker": _ZERANK_1_ROW,
    "zeroentropy/zerank-2": _ZERANK_2_ROW,
    "zeroentropy/zerank-2-reranker": _ZERANK_2_ROW,
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b": _CONTEXTUAL_ROW,
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-2b": _CONTEXTUAL_ROW,
    "ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b": _CONTEXTUAL_ROW,
}
