"""The OpenAPI 3.1 document, put together from what stands beside each call."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.web.handshake.call import Call, Parameter, members
from proxy.web.handshake.shape import UUID_PATTERN, EntityShape, Schema

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_EVERY: Mapping[int, str] = {
    400: "The request is not valid HTTP/1.1.",
    403: "The call comes from a page of another site.",
    421: "The Host is neither a loopback name nor an address of the listener.",
    422: "The call is wrong; `errors` says which member or parameter, and what to change.",
    500: "The store failed: nothing was half-written, and the call may be made again.",
}
_WITH_BODY: Mapping[int, str] = {
    413: "The body is larger than 1 MiB.",
    415: "The body is not declared as JSON.",
}
_HEADERS: Mapping[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    503: {
        "Retry-After": {
            "required": True,
            "description": "Seconds.",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_UNAUTHORIZED = "The bearer token is absent or another one."


def document(calls: Sequence[Call], shapes: Iterable[EntityShape], *, version: str, secured: bool) -> bytes:
    """The document as JSON. `secured`: a bearer token is needed."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Schema] = {}
    ids: dict[str, str] = {}
    for shape in shapes:
        schemas[shape.member] = shape.schema()
        ids[f"/v1/{shape.plural}/{{id}}"] = shape.example_internal_id()
    for call in calls:
        operation = _operation(call, secured=secured, example_id=ids.get(call.path))
        paths.setdefault(call.path, {})[call.method.lower()] = operation
    components: dict[str, Any] = {"schemas": {**schemas, "problem": _problem_schema()}}
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "handshake-proxy",
            "version": version,
            "description": "A local copy of users and businesses, fetched from their owners where it is missing. "
            "External ids travel in bodies, internal ids in URLs.",
        },
        "paths": paths,
        "components": components,
    }
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"token": []}]
    return json.dumps(whole, ensure_ascii=False).encode()


def _operation(call: Call, *, secured: bool, example_id: str | None) -> dict[str, Any]:
    operation = call.operation
    parameters = [_parameter(parameter) for parameter in operation.parameters]
    if example_id is not None:
        parameters.append(
            {
                "name": "id",
                "in": "path",
                "required": True,
                "description": "The internal id.",
                "schema": {"type": "string", "format": "uuid", "pattern": UUID_PATTERN},
                "example": example_id,
            }
        )
    described: dict[str, Any] = {
        "operationId": call.route,
        "summary": operation.summary,
        "responses": _responses(call, secured=secured),
    }
    if parameters:
        described["parameters"] = parameters
    if operation.takes is not None:
        content = {_JSON: {"schema": operation.takes, "example": operation.takes_example}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.text,
        "schema": parameter.schema,
    }
    return described if parameter.example is None else {**described, "example": parameter.example}


def _responses(call: Call, *, secured: bool) -> dict[str, Any]:
    operation = call.operation
    if operation.gives is None:
        good: dict[str, Any] = {"204": {"description": "Done."}}
    else:
        content = {_JSON: {"schema": operation.gives, "example": operation.gives_example}}
        good = {"200": {"description": "Done.", "content": content}}
    problems = dict(_EVERY)
    if secured:
        problems[401] = _UNAUTHORIZED
    if operation.takes is not None:
        problems |= _WITH_BODY
    problems |= operation.problems
    content = {_PROBLEM: {"schema": {"$ref": "#/components/schemas/problem"}}}
    return good | {str(status): _problem(status, text, content) for status, text in sorted(problems.items())}


def _problem(status: int, text: str, content: dict[str, Any]) -> dict[str, Any]:
    described = {"description": text, "content": content}
    return described | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _problem_schema() -> Schema:
    text = {"type": "string"}
    fault = {
        "type": "object",
        "properties": {
            "pointer": {**text, "description": "A member of the body, as a JSON pointer."},
            "parameter": {**text, "description": "A parameter of the path or the query."},
            "detail": text,
        },
        "required": ["detail"],
        "additionalProperties": False,
    }
    schema = members({"type": text, "title": text, "status": {"type": "integer"}, "detail": text})
    schema["properties"]["errors"] = {"type": "array", "items": fault}
    return schema
