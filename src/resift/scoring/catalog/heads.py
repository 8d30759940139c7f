"""Language models with a head of their own: how their authors ask them, and which head it is."""

from resift.scoring.catalog.prompts import BGE_LLM
from resift.scoring.catalog.rows import HeadRow, PromptRow
from resift.settings import Prompt

_BY_THE_HEAD = "yes"  # a prompt must name an answer; here none is looked up, because the head gives the score

_NEMOTRON = Prompt(pieces=("question:{query} \n \n passage:{document}",), positive=_BY_THE_HEAD)
_JINA_M0 = Prompt(pieces=("**Document**:\n{document}\n**Query**:\n{query}",), positive=_BY_THE_HEAD)

HEADED: dict[str, HeadRow] = {
    "nvidia/llama-nemotron-rerank-1b-v2": HeadRow(
        PromptRow(_NEMOTRON, max_length=8192, framed=True), "bidirectional llama", shares_prefix=False
    ),
    "jinaai/jina-reranker-m0": HeadRow(
        PromptRow(_JINA_M0, max_length=10240, sigmoid=True, shift=2.65, framed=True),
        "qwen2-vl",
        ends_with=(100,),  # an ordinary token, at which the authors trained the head
        longest_document=10240 - 512,
    ),
    "BAAI/bge-reranker-v2-minicpm-layerwise": HeadRow(PromptRow(BGE_LLM, max_length=512), "minicpm"),
}
