"""JSON as RFC 8259 means it, which is less than Python accepts: no NaN, no key twice, no depth without end."""

import json
import math
from typing import Any, NoReturn

_DEEPEST = 64


class NotJson(ValueError):
    """The bytes are no JSON; the message says why, and quotes none of them."""


def read_json(body: bytes) -> Any:
    """Return the value that `body` writes, or raise `NotJson`."""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_number
        )
    except UnicodeDecodeError:
        raise NotJson("it is not valid UTF-8") from None
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        raise NotJson("it holds a number with too many digits") from None
    _require_shallow(value)
    return value


def write_json(value: Any) -> bytes:
    """Return `value` as compact UTF-8; a number that JSON cannot write, or half a surrogate pair, is a ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotJson("an object has one of its keys twice")
    return found


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotJson("it holds a number that is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no JSON number")


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise NotJson(f"it is nested more than {_DEEPEST} deep")
