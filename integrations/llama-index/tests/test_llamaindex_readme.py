"""The README leaves nothing out, and what it tells to type exists. That its examples run is tested with all pages."""

import inspect
import re
from pathlib import Path

import resift
from llama_index.postprocessor.resift import ResiftRerank

README = Path(__file__).parent.parent / "README.md"


def test_every_setting_is_mentioned() -> None:
    """No setting is left for the reader to find in the source."""
    text = README.read_text(encoding="utf-8")

    assert [name for name in ResiftRerank.model_fields if name not in text] == []


def test_what_others_take_has_its_place() -> None:
    """The tables of what people come from name settings and options that exist."""
    rows = re.findall(r"^\| `\S.*\| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    here = " ".join(rows)
    settings = set(re.findall(r"`([a-z_]+)(?:=.*?)?`", here))
    options = set(re.findall(r'"(\w+)":', here))

    assert len(rows) > 15
    assert settings <= ResiftRerank.model_fields.keys()
    assert options <= {*inspect.signature(resift.load).parameters, *inspect.signature(resift.connect).parameters}
