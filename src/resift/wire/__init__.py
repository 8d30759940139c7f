"""What travels between a rerank client and a server: strict JSON, the shapes of each dialect, the bodies of errors."""
