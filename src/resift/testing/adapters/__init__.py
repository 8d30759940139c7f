"""The contract of adapters: what it must be told about one, and what it promises, subject by subject."""
