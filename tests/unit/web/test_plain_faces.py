"""Which requests the plain faces of a listener may be for."""

from typing import Any, cast

import pytest

from config.path_template import PathTemplate
from proxy.web.plain import PlainFaces

BULK, SINGLE, REST = (cast("Any", name) for name in ("bulk", "single", "rest"))
FACES = PlainFaces(
    {(b"POST", b"/users/bulk"): BULK},
    [(PathTemplate.parse("/users/{id}"), SINGLE), (PathTemplate.parse("/files/{name*}"), REST)],
)


@pytest.mark.parametrize(
    ("method", "target", "found"),
    [
        (b"POST", b"/users/bulk", (BULK, "")),
        (b"GET", b"/users/a", (SINGLE, "a")),
        (b"GET", b"/users/%61", (SINGLE, "a")),
        (b"GET", b"/files/a/b", (REST, "a/b")),
    ],
)
def test_what_a_face_takes_begins_as_it_says(method: bytes, target: bytes, found: object) -> None:
    assert FACES(method, target) == found
    assert (method + b" " + target + b" HTTP/1.1\r\n").startswith(FACES.starts)


@pytest.mark.parametrize(
    "line", [b"GET /other/a ", b"HEAD /users/a ", b"POST /users/bulk/ ", b"get /users/a ", b"GET  /users/a "]
)
def test_what_begins_otherwise_is_for_none(line: bytes) -> None:
    assert not line.startswith(FACES.starts)
