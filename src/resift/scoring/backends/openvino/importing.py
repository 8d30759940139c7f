"""
OpenVINO, imported without the package that reports to its makers.

That one reports each import, over the network and from a thread of its own, unless a file in the home directory forbids
it. Where it is missing, OpenVINO does without; a program that has imported it before is left alone.
"""

import sys
from types import ModuleType
from typing import cast

__all__ = ["openvino"]

_TELEMETRY = "openvino_telemetry"

_modules = cast("dict[str, ModuleType | None]", sys.modules)
_hidden = "openvino" not in _modules and _TELEMETRY not in _modules
if _hidden:
    _modules[_TELEMETRY] = None  # which makes it an import that fails
try:
    import openvino  # type: ignore[import-untyped]
finally:
    if _hidden:
        del _modules[_TELEMETRY]
