"""HTML and SVG, one element at a time; whatever is not markup already is escaped."""

from html import escape

Value = str | float | bool | None

_EMPTY = {"meta", "input", "br", "line", "path", "circle", "rect", "polygon"}


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: Value) -> Markup:
    """
    Return an element.

    An attribute that is None or False is left out, one that is True has no value. In names of attributes, a line below
    stands for a hyphen; one at the end is dropped, so that `class_` can be said.

    >>> element("b", "1 < 2", class_="x", hidden=True)
    '<b class="x" hidden>1 &lt; 2</b>'
    """
    told = "".join(_attribute(name, value) for name, value in attributes.items() if value not in (None, False))
    inside = together(*children)
    if tag in _EMPTY and not inside:
        return Markup(f"<{tag}{told}/>")
    return Markup(f"<{tag}{told}>{inside}</{tag}>")


def together(*parts: str) -> Markup:
    """Return markup and texts after each other."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def _attribute(name: str, value: Value) -> str:
    written = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {written}"
    return f' {written}="{escape(f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value))}"'
