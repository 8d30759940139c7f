// Vendors' JavaScript clients: each asks our endpoint as it should be, then in each wrong way; one line of JSON each.

import { createCohere } from "@ai-sdk/cohere";
import { createTogetherAI } from "@ai-sdk/togetherai";
import { Mixedbread } from "@mixedbread/sdk";
import { OpenRouter } from "@openrouter/sdk";
import { CohereClient, CohereClientV2 } from "cohere-ai";
import { VoyageAIClient } from "voyageai";

const [asked, url, fullUrl, key] = process.argv.slice(2);
const { query, documents, top_n: topN, model } = JSON.parse(asked);
const once = { maxRetries: 0 };

const rankers = {
  CohereClient: async ({ url, key }, { query, topN }) => {
    const client = new CohereClient({ token: key, environment: url, baseUrl: url });
    const reply = await client.rerank({ model, query, documents, topN, returnDocuments: true }, once);
    return reply.results.map((each) => [each.index, each.relevanceScore, each.document.text]);
  },
  CohereClientV2: async ({ url, key }, { query, topN }) => {
    const client = new CohereClientV2({ token: key, environment: url, baseUrl: url });
    const reply = await client.rerank({ model, query, documents, topN }, once);
    return reply.results.map((each) => [each.index, each.relevanceScore, null]);
  },
  VoyageAIClient: async ({ url, key }, { query, topN }) => {
    const client = new VoyageAIClient({ apiKey: key, environment: `${url}/v1` });
    const reply = await client.rerank({ model, query, documents, topK: topN }, once);
    return reply.data.map((each) => [each.index, each.relevanceScore, each.document ?? null]);
  },
  Mixedbread: async ({ url, key }, { query, topN }) => {
    const client = new Mixedbread({ apiKey: key, baseURL: url, ...once });
    const reply = await client.rerank({ model, query, input: documents, top_k: topN, return_input: true });
    return reply.data.map((each) => [each.index, each.score, each.input]);
  },
  OpenRouter: async ({ url, key }, { query, topN }) => {
    const client = new OpenRouter({ apiKey: key, serverURL: `${url}/api/v1` });
    const reply = await client.rerank.rerank({ requestBody: { model, query, documents, topN } });
    return reply.results.map((each) => [each.index, each.relevanceScore, each.document.text]);
  },
  "ai-sdk-cohere": (endpoint, ask) => doRerank(createCohere, `${endpoint.url}/v2`, endpoint, ask),
  "ai-sdk-togetherai": (endpoint, ask) => doRerank(createTogetherAI, `${endpoint.url}/v1`, endpoint, ask),
};

async function doRerank(create, baseURL, { key }, { query, topN }) {
  const reranking = create({ apiKey: key, baseURL }).reranking(model);
  const reply = await reranking.doRerank({ query, documents: { type: "text", values: documents }, topN });
  return reply.ranking.map((each) => [each.index, each.relevanceScore, null]);
}

async function ranked(rank, endpoint, ask) {
  try {
    const hits = await rank(endpoint, ask);
    const [order, scores, texts] = [0, 1, 2].map((part) => hits.map((hit) => hit[part]));
    return { order, scores, texts };
  } catch (error) {
    return { failed: told(error) };
  }
}

async function refused(rank, endpoint, ask) {
  try {
    const hits = await rank(endpoint, ask);
    return { kind: "", says: `no error, but ${hits.length} hits` };
  } catch (error) {
    return told(error);
  }
}

function told(error) {
  return { kind: error.constructor.name, says: `${error.statusCode ?? error.status ?? ""} ${error.message}`.slice(0, 1000) };
}

for (const [client, rank] of Object.entries(rankers)) {
  const right = { url, key };
  const report = {
    client,
    all: await ranked(rank, right, { query }),
    best: await ranked(rank, right, { query, topN }),
    errors: {
      400: await refused(rank, right, { query: " " }),
      401: await refused(rank, { url, key: `not-${key}` }, { query }),
      429: await refused(rank, { url: fullUrl, key }, { query }),
    },
  };
  console.log(JSON.stringify(report));
}
