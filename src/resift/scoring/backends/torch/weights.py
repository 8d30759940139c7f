"""Weights from files, without any model's code."""

from pathlib import Path

import torch

from resift.checkpoint import Checkpoint


def read_weights(checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    """Return every floating-point weight of a checkpoint, by its name in the files."""
    weights: dict[str, torch.Tensor] = {}
    for path in checkpoint.weights():
        for name, weight in _read(path).items():
            if weight.is_floating_point():
                weights[name] = weight.to(device=device, dtype=dtype)
    return weights


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    loaded: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
