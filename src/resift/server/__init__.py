"""Any ranker behind HTTP: the routes that rerank clients call, and a server that protects itself and ends well."""
