"""Chat templates: a query and a document, as messages, to the text of a prompt."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from resift.errors import MissingDependency, ModelUnsupported

# two words for each role that no template says by itself
_PROBES = (("alpha", "bravo"), ("charlie", "bravo"), ("alpha", "foxtrot"))


class ChatTemplate:
    """
    A model's own template, which is code from its repository, in a sandbox.

    It is given one message of the role `query` and one of the role `document`, as sentence-transformers does, and the
    instruction as the message of the system.
    """

    def __init__(self, text: str, *, in_parts: bool, variables: Mapping[str, Any]) -> None:
        """Read a template; with `in_parts`, a message is a list of parts, and not a text."""
        self._in_parts = in_parts
        self._variables = dict(variables)
        self._template, self._failure = _compiled(text)

    def render(self, query: str, document: str, instruction: str | None) -> str:
        """Write the prompt."""
        said = [("query", query), ("document", document)]
        if instruction:
            said.insert(0, ("system", instruction))
        messages = [{"role": role, "content": self._content(text)} for role, text in said]
        try:
            return str(self._template.render(messages=messages, tools=None, documents=None, **self._variables))
        except self._failure as error:
            kind = type(error).__name__
        # only here, outside the handler: what a template complains about may quote the texts
        raise ModelUnsupported(f"the model's chat template fails on these texts ({kind}); choose another model")

    def why_not_pairs(self) -> str | None:
        """Return why a prompt would lack the query or the document; None where it has both."""
        try:
            plain, *varied = [self.render(*probe, None) for probe in _PROBES]
        except ModelUnsupported as error:
            return str(error)
        lost = [role for role, text in zip(("query", "document"), varied, strict=True) if text == plain]
        return f"the {' and the '.join(lost)} would be lost" if lost else None

    def hears_the_system(self) -> bool:
        """Whether an instruction reaches the prompt."""
        try:
            return self.render("alpha", "bravo", "charlie") != self.render("alpha", "bravo", "foxtrot")
        except ModelUnsupported:
            return False

    def _content(self, text: str) -> object:
        return [{"type": "text", "text": text}] if self._in_parts else text


def _compiled(text: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a template, with what transformers lets templates use, and the errors that rendering it may raise."""
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingDependency(
            'this model is asked by a chat template, which needs jinja2: pip install "resift[local]"'
        ) from error

    def complain(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation_blocks()]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": complain, "strftime_now": _now}
    try:
        return environment.from_string(text), (jinja2.TemplateError, TypeError, ValueError, KeyError)
    except jinja2.TemplateError as error:
        raise ModelUnsupported(f"the model's chat template cannot be read ({error}); choose another model") from error


def _generation_blocks() -> Any:
    """Return the blocks by which templates mark what a model says; they are written as any other text."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class GenerationBlocks(Extension):
        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return GenerationBlocks


def _to_json(value: object, ensure_ascii: bool = False, **form: Any) -> str:  # noqa: FBT002 - a template's word
    return json.dumps(value, ensure_ascii=ensure_ascii, **form)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005 - a template means the reader's own clock
