"""The real mteb, in an environment of its own, with a ranker as its cross-encoder."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from interop.environments import HERE, SLOWEST_S, environment, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(SLOWEST_S)]

ROOT = HERE.parents[1]
BEARS = {"panda": "bamboo", "polar bear": "seals", "grizzly": "salmon", "sloth bear": "termites"}


def test_mteb_and_resift_measure_the_same(tmp_path: Path) -> None:
    """A ranker that mteb evaluates offline, on a task of its own, gets the figures that resift gives it."""
    lines = [
        {
            "query": f"what does a {bear} eat?",
            "positives": [f"Every {bear} likes {food}."],
            "negatives": [f"A {other} eats what it finds, and {food} never." for other in BEARS if other != bear]
            + [f"What does a {bear} eat, what does a {bear} drink?"] * (" " in bear),  # words without an answer
        }
        for bear, food in BEARS.items()
    ]
    data = tmp_path / "bears.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    python = str(environment("mteb").python)
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(ROOT)])

    done = subprocess.run(
        [python, str(HERE / "clients" / "mteb_task.py"), str(data)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["model"] == "resift/lexical"
    assert found["theirs"] == pytest.approx(found["ours"], abs=1e-5)
    assert 0.5 < found["ours"][0] < 1.0
