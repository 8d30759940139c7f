"""
What a library for models finds on this machine, as one line of JSON.

`python -m resift.scoring.backends.survey torch` imports it in a process of its own: a broken library may bring down
whoever imports it.
"""

import json
import sys
from typing import Any


def survey(library: str) -> dict[str, Any]:
    """Import torch, onnxruntime or openvino, compute something with it, and return what it has to run on."""
    return _SURVEYS[library]()


def _torch() -> dict[str, Any]:
    import torch

    (torch.ones(4, 4) @ torch.ones(4, 4)).sum().item()
    cards = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(number)
        dtypes = ["float16", "bfloat16"] if card.major >= 8 else ["float16"] if card.major >= 7 else []
        cards.append(
            {
                "device": f"cuda:{number}",
                "name": card.name,
                "memory_bytes": card.total_memory,
                "free_bytes": torch.cuda.mem_get_info(number)[0],
                "fast_dtypes": ["float32", *dtypes],
            }
        )
    return {"devices": ["cpu", *(card["device"] for card in cards)], "threads": torch.get_num_threads(), "cards": cards}


def _onnxruntime() -> dict[str, Any]:
    from resift.scoring.backends.onnx import check_onnx

    check_onnx("this machine", ["cpu"])  # which also keeps the library from reporting
    import onnxruntime  # type: ignore[import-untyped]

    return {"devices": onnxruntime.get_available_providers()}


def _openvino() -> dict[str, Any]:
    from resift.scoring.backends.openvino import check_openvino

    check_openvino("this machine", ["cpu"], "float32")  # the same
    from resift.scoring.backends.openvino.sessions import the_core

    core = the_core()
    return {
        "devices": list(core.available_devices),
        "computes": list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
    }


_SURVEYS = {"torch": _torch, "onnxruntime": _onnxruntime, "openvino": _openvino}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(survey(sys.argv[1])) + "\n")
