"""The shared scoring core: plan, run, scatter."""
