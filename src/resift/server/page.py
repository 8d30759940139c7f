"""The OpenAPI document as a page for people: it needs this server alone, so it opens where there is no internet."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_EXAMPLE = {"query": "what is a panda?", "documents": ["Paris is in France.", "The giant panda is a bear."]}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --mark: #2a7a3f; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 small { font-size: 1rem; opacity: .6; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; } summary b { color: var(--mark); margin-right: .5rem; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 1rem; }
td, th { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); }
code, pre, textarea, input { font: 13px/1.45 ui-monospace, monospace; }
pre, textarea { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .6rem; }
pre { overflow-x: auto; white-space: pre-wrap; } textarea { width: 100%; box-sizing: border-box; }
"""

_SCRIPT = """
const element = (id) => document.getElementById(id);
addEventListener("hashchange", () => { const there = element(location.hash.slice(1)); if (there) there.open = true; });
element("send").addEventListener("click", async () => {
  const headers = {"Content-Type": "application/json"};
  if (element("key").value) headers.Authorization = "Bearer " + element("key").value;
  try {
    const reply = await fetch(element("path").value, {method: "POST", headers, body: element("body").value});
    const text = await reply.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch (error) { /* it is no JSON, and shown as it is */ }
    element("reply").textContent = reply.status + " " + reply.statusText + "\\n" + shown;
  } catch (error) { element("reply").textContent = "The server cannot be reached: " + error.message; }
});
"""


def page(document: Json) -> str:
    """Return the page for an OpenAPI document of ours."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    asked = [path for method, path, _ in operations if method == "POST" and "{" not in path]
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>resift</title>',
            '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
            f"<p>{_prose(info['description'])}</p>",
            '<p>For machines: <a href="openapi.json">openapi.json</a></p>',
            "<h2>Try it</h2>",
            _form(asked),
            "<h2>Routes</h2>",
            *(_operation(*each) for each in operations),
            "<h2>Bodies</h2>",
            *(_schema(name, schema) for name, schema in schemas.items()),
            f"<script>{_SCRIPT}</script></body></html>",
        )
    )


def _form(paths: list[str]) -> str:
    choices = "".join(f"<option>{escape(path)}</option>" for path in paths)
    body = escape(json.dumps(_EXAMPLE, indent=2))
    return (
        f'<p><label>POST <select id="path">{choices}</select></label> '
        '<label>key <input id="key" type="password" placeholder="if it asks for one" autocomplete="off"></label></p>'
        f'<textarea id="body" rows="8" aria-label="body">{body}</textarea>'
        '<p><button id="send">Send</button></p><pre id="reply">The reply will stand here.</pre>'
    )


def _operation(method: str, path: str, operation: Json) -> str:
    rows = [
        (f"<code>{escape(each['name'])}</code> ({each['in']})", _prose(each.get("description", "")))
        for each in operation.get("parameters", ())
    ]
    content = operation.get("requestBody", {}).get("content", {})
    rows += [("body", " or ".join(_kind(media["schema"]) for media in content.values()))] if content else []
    for status, reply in operation["responses"].items():
        kinds = {_kind(media["schema"]) for media in reply.get("content", {}).values()}
        rows.append((escape(status), f"{_prose(reply['description'])} {' or '.join(sorted(kinds))}"))
    name = escape(operation["operationId"])
    title = f"<b>{method}</b><code>{escape(path)}</code> &nbsp;{escape(operation['summary'])}"
    return f'<details id="{name}"><summary>{title}</summary>{_table(rows)}</details>'


def _schema(name: str, schema: Json) -> str:
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_members(schema)}</details>'


def _members(schema: Json) -> str:
    if "properties" not in schema:
        inner = schema.get("items", {})
        return f"<p>{_kind(schema)}</p>{_members(inner) if 'properties' in inner else ''}"
    needed = schema.get("required", ())
    return _table(
        (
            f"<code>{escape(name)}</code>{' *' if name in needed else ''}",
            f"{_kind(member)} {_prose(' '.join(_words(member)))}",
        )
        for name, member in schema["properties"].items()
    )


def _words(schema: Json) -> Iterator[str]:
    """Yield what a schema says of itself, or of what it may be."""
    if "description" in schema:
        yield schema["description"]
    for choice in schema.get("anyOf", ()):
        yield from _words(choice)


def _kind(schema: Json) -> str:
    """Say in a few words what a value has to be."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        kinds = [_kind(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return " or ".join(
            f"<code>{escape(json.dumps(each))}</code>" for each in schema.get("enum", [schema.get("const")])
        )
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "properties" in schema:
        return "{" + ", ".join(f"{escape(name)}: {_kind(each)}" for name, each in schema["properties"].items()) + "}"
    kind = schema.get("type", "any")
    return escape(" or ".join(kind) if isinstance(kind, list) else kind)


def _table(rows: "Iterator[tuple[str, str]] | list[tuple[str, str]]") -> str:
    return "<table>" + "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows) + "</table>"


def _prose(text: str) -> str:
    """Write words as HTML, with what stands between backquotes as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
