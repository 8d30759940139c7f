"""Amazon's client for Bedrock, which signs its requests instead of showing a key."""

import boto3
from botocore.config import Config

from interop.clients.probing import Ask, Endpoint, Hit, probe


def rank(endpoint: Endpoint, ask: Ask) -> list[Hit]:
    client = boto3.client(
        "bedrock-agent-runtime",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id=endpoint.key,
        aws_secret_access_key=endpoint.key,
        config=Config(retries={"total_max_attempts": 1}),
    )
    limit = {} if ask.top_n is None else {"numberOfResults": ask.top_n}
    model = {"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{ask.model}"}
    reply = client.rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": ask.query}}],
        sources=[
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}
            for text in ask.documents
        ],
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": model, **limit},
        },
    )
    return [Hit(result["index"], result["relevanceScore"]) for result in reply["results"]]


if __name__ == "__main__":
    probe({"bedrock-agent-runtime": rank})
