"""The ranker whose model is behind an endpoint: dialects, one IO thread, retries, and replies that are not trusted."""
