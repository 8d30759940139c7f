"""The contract of rankers: what it must be told about one, and what it promises, subject by subject."""
