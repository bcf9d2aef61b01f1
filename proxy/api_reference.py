"""Writes the reference page of the handshake API: `python -m proxy.api_reference [--check] FILE`.

It is made of the OpenAPI document that an instance with the built-in configuration gives out.
"""

import asyncio
import http.client
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from config.generated import write_or_check
from config.load import load
from config.model_service import HandshakeConfig
from proxy import log
from proxy.app import App
from store.base import TableSpec

Json = dict[str, Any]

_JSON = "application/json"
_WIDTH = 100
_INTRO = """\
# API reference

<!-- Generated from the OpenAPI document by `make docs`; its words stand beside each call in proxy/web/handshake/. -->

Every call of the handshake API with the built-in configuration. What they are for, and how they behave, is in
[handshake.md](handshake.md); a running instance gives the document of its own configuration at `/openapi.json`. With
`handshake.token_file` each call needs `-H "Authorization: Bearer $TOKEN"`, or it is answered 401. A GET may be a HEAD.

"""
_SHARED = """\
## What every call may answer

The body of a failure is a [problem](#problem), as `application/problem+json`.

"""


@dataclass(frozen=True)
class _Call:
    """One operation of the document."""

    method: str
    path: str
    operation: Json

    @property
    def group(self) -> str:
        """What it is about: `users` of `/v1/users/ensure`."""
        return self.path.split("/")[2]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def link(self) -> str:
        return f"[`{self.name}`](#{_anchor(self.name)})"

    @cached_property
    def body(self) -> Json | None:
        """Schema and example of what it takes."""
        body = self.operation.get("requestBody")
        return None if body is None else dict(body["content"][_JSON])

    @cached_property
    def answers(self) -> dict[str, Json]:
        """What it answers when all is well, by status: the content by media type."""
        return {
            status: answer.get("content", {})
            for status, answer in self.operation["responses"].items()
            if status.startswith("2")
        }

    @cached_property
    def failures(self) -> dict[str, str]:
        return {
            status: answer["description"]
            for status, answer in self.operation["responses"].items()
            if not status.startswith("2")
        }

    def parameters(self, place: str) -> list[Json]:
        return [found for found in self.operation.get("parameters", []) if found["in"] == place]

    def curl(self) -> str:
        """The call with its examples."""
        path = self.path.format(**{found["name"]: found["example"] for found in self.parameters("path")})
        # `include` would make the answer more than its example.
        query = urlencode(
            {
                found["name"]: found["example"]
                for found in self.parameters("query")
                if "example" in found and found["name"] != "include"
            }
        )
        words = ["curl", "-s"]
        if self.method not in {"GET", "POST"} or (self.method == "POST" and self.body is None):
            words += ["-X", self.method]
        words.append(f"http://{HandshakeConfig().listen}{path}{f'?{query}' if query else ''}")
        if self.body is not None:
            words += ["-H", "content-type: application/json", "-d", _compact(self.body["example"])]
        return shlex.join(words)


def page(document: Json) -> str:
    """The whole page, in Markdown."""
    calls = [
        _Call(method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    shared = _shared(calls)
    shared_with_body = _shared([call for call in calls if call.body is not None]) - shared
    groups: dict[str, list[_Call]] = {}
    for call in calls:
        groups.setdefault(call.group, []).append(call)
    schemas: dict[str, Json] = document["components"]["schemas"]
    parts = [_INTRO, "## The calls\n\n", _overview(calls), "\n", _SHARED]
    parts.append(_failures_table(shared, shared_with_body))
    written: dict[str, list[_Call]] = {}
    for group, its_calls in groups.items():
        parts.append(f"\n## {group}\n")
        twin = _twin(group, its_calls, written, schemas)
        if twin is None:
            parts += [_section(call, shared | shared_with_body) for call in its_calls]
            written[group] = its_calls
        else:
            parts.append(_like(twin, its_calls, written[twin]))
    parts.append("\n## Schemas\n")
    for name, schema in schemas.items():
        parts.append(f"\n### {name}\n\n{_members(schema)}")
    return "".join(parts)


def _shared(calls: Sequence[_Call]) -> set[tuple[str, str]]:
    return set.intersection(*(set(call.failures.items()) for call in calls))


def _overview(calls: Sequence[_Call]) -> str:
    rows = [f"| {call.link} | {_cell(call.operation['summary'])}|\n" for call in calls]
    return "| call | does |\n|---|---|\n" + "".join(rows)


def _failures_table(shared: set[tuple[str, str]], with_body: set[tuple[str, str]]) -> str:
    rows = dict(shared)
    rows |= {status: f"{text} Only of calls with a body." for status, text in with_body}
    lines = [f"| {status} | {text} |\n" for status, text in sorted(rows.items())]
    return "| status | means |\n|---|---|\n" + "".join(lines)


def _section(call: _Call, known: set[tuple[str, str]]) -> str:
    parts = [f"\n### `{call.name}`\n\n{call.operation['summary']}.\n"]
    if call.body is not None:
        parts.append(f"\nBody:\n\n{_members(call.body['schema'])}")
    for place, title in (("path", "Path"), ("query", "Query")):
        rows = [
            (found["name"], found["schema"], found.get("description", "")) for found in call.parameters(place)
        ]
        if rows:
            parts.append(f"\n{title}:\n\n{_table('parameter', rows)}")
    parts.append(f"\n```sh\n{call.curl()}\n```\n")
    for status, answer in call.answers.items():
        parts.append(_answer(status, answer))
    others = [
        f"- {status}: {text}\n" for status, text in call.failures.items() if (status, text) not in known
    ]
    if others:
        parts.append("\nIt may fail with\n\n" + "".join(others))
    return "".join(parts)


def _answer(status: str, content: Json) -> str:
    if not content:
        return f"\nAnswers {status}, without a body.\n"
    if _JSON not in content:
        return f"\nAnswers {status}, {', '.join(f'`{name}`' for name in content)}.\n"
    schema, example = content[_JSON]["schema"], content[_JSON]["example"]
    is_named = "$ref" in schema
    what = f", {_type(schema)}" if is_named else ""
    text = f"\nAnswers {status}{what}:\n\n```json\n{_pretty(example)}\n```\n"
    return text if is_named else f"{text}\n{_members(schema)}"


def _twin(
    group: str, calls: Sequence[_Call], written: Mapping[str, Sequence[_Call]], schemas: Mapping[str, Json]
) -> str | None:
    """The group that this one is like, word for word but for what it is about."""
    names = {TableSpec(schema, ()).table: schema for schema in schemas}
    for other, its_calls in written.items():
        if group not in names or other not in names:
            continue
        seen = {_renamed(call, other, names[other]) for call in its_calls}
        if all(_renamed(call, group, names[group]) in seen for call in calls):
            return other
    return None


def _renamed(call: _Call, plural: str, singular: str) -> str:
    text = json.dumps([call.method, call.path, _without_examples(call.operation)])
    return text.replace(plural, "ENTITIES").replace(singular, "ENTITY")


def _without_examples(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_examples(child) for name, child in node.items() if name != "example"}
    return [_without_examples(child) for child in node] if isinstance(node, list) else node


def _like(twin: str, calls: Sequence[_Call], models: Sequence[_Call]) -> str:
    rows = []
    for call in calls:
        model = next(found for found in models if found.name == call.name.replace(call.group, twin))
        body = f"`{_compact(call.body['example'])}`" if call.body is not None else ""
        rows.append(f'| <a id="{_anchor(call.name)}"></a>`{call.name}` | {_cell(body)}| {model.link} |\n')
    head = f"\nThe same calls as for {twin}; there are no others.\n\n| call | body | as |\n|---|---|---|\n"
    return head + "".join(rows)


def _members(schema: Json) -> str:
    choices = schema.get("oneOf", [schema])
    return "\nor\n\n".join(_table("member", list(_rows(choice))) for choice in choices)


def _rows(schema: Json, prefix: str = "") -> Iterator[tuple[str, Json, str]]:
    """Every member with the dotted path where it is, its schema, and what it means."""
    required = schema.get("required", [])
    for name, member in schema["properties"].items():
        path = f"{prefix}{name}"
        words = [member.get("description", "")]
        if name not in required:
            words.insert(0, "Optional.")
        yield path, member, " ".join(filter(None, words))
        for inner, suffix in _inner(member):
            yield from _rows(inner, f"{path}{suffix}.")


def _inner(member: Json) -> Iterator[tuple[Json, str]]:
    """The objects with named members that are in a member itself."""
    for choice in member.get("anyOf", [member]):
        if "properties" in choice:
            yield choice, ""
        items = choice.get("items", {})
        if "properties" in items:
            yield items, "[]"


def _table(what: str, rows: Sequence[tuple[str, Json, str]]) -> str:
    lines = [f"| `{name}` | {_type(schema)} | {_cell(text)}|\n" for name, schema, text in rows]
    return f"| {what} | type | meaning |\n|---|---|---|\n" + "".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|") + " " * bool(text)


def _type(schema: Json) -> str:
    """What a value may be, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    types = schema.get("type", "any")
    names = [types] if isinstance(types, str) else types
    text = " or ".join(_named(name, schema) for name in names)
    return f"{text}{_bounds(schema)}"


def _named(name: str, schema: Json) -> str:
    if name == "array":
        return f"list of {_type(schema['items'])}"
    if name == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if name == "string" and "format" in schema:
        return {"uuid": "UUID", "date-time": "RFC 3339 time"}.get(schema["format"], str(schema["format"]))
    return str(name)


def _bounds(schema: Json) -> str:
    words = []
    low = schema.get("minimum", schema.get("minLength", schema.get("minItems")))
    high = schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    if low is not None and high is not None:
        words.append(f"{low:,g} to {high:,g}")
    elif high is not None:
        words.append(f"at most {high:,g}")
    elif low:
        words.append(f"at least {low:,g}")
    if words and {"minLength", "maxLength"} & schema.keys():
        words[-1] += " character" if words[-1].endswith(" 1") else " characters"
    elif words and {"minItems", "maxItems"} & schema.keys():
        words[-1] += " of them"
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}".removesuffix(".0"))
    return "".join(f", {word}" for word in words)


def _anchor(heading: str) -> str:
    """What a heading can be linked by, where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pretty(value: object, indent: str = "") -> str:
    """JSON that is broken into lines only where it is too long for one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= _WIDTH or not isinstance(value, dict | list):
        return line
    deeper = f"{indent}  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {_pretty(child, deeper)}" for name, child in value.items()]
        return "{\n" + ",\n".join(deeper + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + _pretty(child, deeper) for child in value) + f"\n{indent}]"


async def served() -> Json:
    """The document, as an instance with the built-in configuration gives it out."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "UPSTREAMS__MAIN__URL": "http://upstream.invalid",
            "UPSTREAMS__MAIN__LISTEN": "127.0.0.1:0",
            "HANDSHAKE__LISTEN": "127.0.0.1:0",
            "OPS__LISTEN": "127.0.0.1:0",
            "STORE__URL": f"sqlite:///{directory}/handshake.db",
        }
        app = App(load(None, {f"HANDSHAKE_{name}": value for name, value in settings.items()}))
        addresses = await app.start()
        try:
            return await asyncio.to_thread(_fetched, addresses["handshake"])
        finally:
            await app.stop()


def _fetched(address: str) -> Json:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/openapi.json")
        document: Json = json.load(connection.getresponse())
    finally:
        connection.close()
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it with `--check`; the exit status."""
    log.configure("error", "json")
    return write_or_check(
        lambda: page(asyncio.run(served())),
        arguments,
        module="proxy.api_reference",
        about=__doc__,
        source="the OpenAPI document",
    )


if __name__ == "__main__":
    sys.exit(main())
