"""Plain JSON to dataclasses of plain values, by their annotations."""

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def build(kind: type[T], value: Any) -> T:
    """Return `value` as a `kind`, or raise a ValueError that says where it is something else."""
    return cast("T", _build(kind, value, "it"))


def _build(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin is UnionType:
        return None if value is None and NoneType in inner else _build(inner[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_build(inner[0], item, where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _build(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    raise ValueError(f"{where} must be {getattr(kind, '__name__', kind)}, not {type(value).__name__}")


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {type(value).__name__}")  # noqa: TRY004 - one kind of fault
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if set(names) != set(value):
        raise ValueError(f"{where} lacks {sorted(set(names) - set(value))}, or has {sorted(set(value) - set(names))}")
    return kind(**{name: _build(hints[name], value[name], f"{where}.{name}") for name in names})
