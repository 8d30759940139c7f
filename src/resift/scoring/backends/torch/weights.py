"""Weights from files, without any model's code."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch

from resift.checkpoint import Checkpoint


def read_weights(checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    """Return every floating-point weight of a checkpoint, by its name in the files."""
    return {
        name: weight.to(device=device, dtype=dtype)
        for path in checkpoint.weights()
        for name, weight in _each(path)
        if weight.is_floating_point()
    }


def _each(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of a file, each in memory of its own, which goes with the last who holds it."""
    if path.suffix != ".safetensors":
        yield from _read(path).items()
        return
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
    for name in names:
        with safe_open(path, framework="pt") as file:  # what is opened once is mapped as one, and kept as one
            yield name, file.get_tensor(name)


def read_named(paths: Sequence[Path], names: Collection[str]) -> dict[str, torch.Tensor]:
    """Return those weights of the names that some files hold, and read no more of the files than that."""
    return {name: weight for path in paths for name, weight in _read_named(path, names).items()}


def _read_named(path: Path, names: Collection[str]) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name in names}  # noqa: SIM118 - no mapping
    return {name: weight for name, weight in _read(path).items() if name in names}


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    loaded: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
