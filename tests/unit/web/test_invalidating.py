"""Which resource forgets what after an unsafe request (RFC 9111 section 4.4)."""

from types import SimpleNamespace
from typing import cast

import pytest

from config.path_template import PathTemplate
from proxy.core.http.fields import RawField
from proxy.exchange import ResponseHead
from proxy.messages import Request
from proxy.web.invalidating import SAFE, Forget, Invalidating

NO_CONTENT = 204


class World:
    """Resources of one upstream that write down what they are to forget."""

    def __init__(self) -> None:
        self.forgotten: list[tuple[str, str]] = []
        self.invalidating = Invalidating(
            [
                (PathTemplate.parse("/users/{id}"), self._by("user")),
                (PathTemplate.parse("/s/{id}"), self._by("shop")),
            ],
            [
                (PathTemplate.parse("/pages/{rest*}"), self._by("page")),
                (PathTemplate.parse("/n/{id}"), self._by("new")),
            ],
            origin=b"http://main:8000",
        )

    def _by(self, name: str) -> Forget:
        async def forget(what: str) -> None:
            self.forgotten.append((name, what))

        return forget

    async def after(
        self,
        target: bytes,
        *fields: RawField,
        method: str = "POST",
        status: int | None = NO_CONTENT,
        host: str = "app",
    ) -> list[tuple[str, str]]:
        """What is forgotten after a request on `target` with such an answer; None: nobody knows what it has done."""
        self.forgotten.clear()
        asked = SimpleNamespace(
            method=method, target=target, header=lambda name: host if name == "host" else ""
        )
        told = self.invalidating.after(cast("Request", asked))
        if told is not None:
            await told(None if status is None else ResponseHead(status, b"", fields, False, (1, 1)))
        return sorted(self.forgotten)


@pytest.mark.parametrize(
    ("target", "forgotten"),
    [
        (b"/users/a", [("user", "a")]),
        (b"/users/%61", [("user", "a")]),
        (b"/users/a?x=1", [("user", "a")]),
        (b"/s/1", [("shop", "1")]),
        (b"/pages/a/b", [("page", "/pages/a/b")]),
        (b"/pages/a?x=1", [("page", "/pages/a?x=1")]),
        (b"/pages/a?", [("page", "/pages/a?")]),
        (b"/pages/", [("page", "/pages/")]),
        (b"/pages/\xe9", [("page", "/pages/\xe9")]),
        (b"/n/a", [("new", "/n/a")]),
        (b"http://main:8000/users/a", [("user", "a")]),
        (b"http://anything/pages/a?x", [("page", "/pages/a?x")]),
        (b"/elsewhere", []),
        (b"/users/", []),
        (b"/pages/../users/a", []),
        (b"*", []),
    ],
)
async def test_the_target_is_forgotten_by_the_resource_that_claims_it(
    target: bytes, forgotten: list[tuple[str, str]]
) -> None:
    assert await World().after(target) == forgotten


@pytest.mark.parametrize("name", [b"Location", b"content-location"])
@pytest.mark.parametrize(
    ("value", "forgotten"),
    [
        (b"/users/b", [("user", "b")]),
        (b"/pages/b?x#y", [("page", "/pages/b?x")]),
        (b"../users/b", [("user", "b")]),
        (b"?x", [("page", "/pages/all?x")]),
        (b"http://main:8000/users/b", [("user", "b")]),
        (b"HTTP://MAIN:8000/users/b", [("user", "b")]),
        (b"//main:8000/users/b", [("user", "b")]),
        (b"http://app/users/b", [("user", "b")]),
        (b"http://app:80/users/b", [("user", "b")]),
        (b"https://app/users/b", [("user", "b")]),
        # Of another origin.
        (b"http://other/users/b", []),
        (b"https://main:8000/users/b", []),
        (b"http://main/users/b", []),
        (b"http://main:8001/users/b", []),
        (b"http://app:8000/users/b", []),
        (b"http://app.other/users/b", []),
        (b"//other/users/b", []),
        (b"ftp://app/users/b", []),
        # That can't be read.
        (b"", []),
        (b"http://[/users/b", []),
        (b"/users/b c", []),
    ],
)
async def test_so_is_what_the_answer_names_of_the_same_origin(
    name: bytes, value: bytes, forgotten: list[tuple[str, str]]
) -> None:
    """Across resources: a page that changes a user."""
    expected = sorted({("page", "/pages/all"), *forgotten})
    assert await World().after(b"/pages/all", (name, value)) == expected


async def test_what_nobody_claims_may_change_what_somebody_does() -> None:
    world = World()
    assert await world.after(b"/command", (b"Location", b"/users/b")) == [("user", "b")]
    fields = ((b"Location", b"/users/b"), (b"Content-Location", b"/pages/b"))
    assert await world.after(b"/command", *fields) == [("page", "/pages/b"), ("user", "b")]
    assert await world.after(b"/users/b", *fields) == [("page", "/pages/b"), ("user", "b")]  # each once


@pytest.mark.parametrize(
    ("host", "value"),
    [
        ("app:80", b"http://app/users/b"),
        ("app:443", b"https://app/users/b"),
        ("app:8080", b"http://app:8080/users/b"),
        ("APP", b"http://app/users/b"),
        ("", b"http://main:8000/users/b"),
    ],
)
async def test_the_origin_has_the_names_that_the_client_knows_it_by(host: str, value: bytes) -> None:
    assert await World().after(b"/elsewhere", (b"Location", value), host=host) == [("user", "b")]


async def test_without_a_host_it_has_one_name_alone() -> None:
    assert await World().after(b"/elsewhere", (b"Location", b"http:///users/b"), host="") == []


@pytest.mark.parametrize("status", [200, 201, 204, 299, 301, 303, 304, 399])
async def test_after_any_answer_that_is_no_error(status: int) -> None:
    assert await World().after(b"/users/a", status=status) == [("user", "a")]


@pytest.mark.parametrize("status", [101, 400, 404, 409, 412, 499, 500, 503, 599])
async def test_after_an_error_nothing_is_forgotten(status: int) -> None:
    assert await World().after(b"/users/a", (b"Location", b"/users/b"), status=status) == []


async def test_the_target_is_where_nobody_knows_what_the_request_has_done() -> None:
    assert await World().after(b"/users/a", status=None) == [("user", "a")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "MKCOL", "UNHEARD", "get", "Head"])
async def test_methods_that_nobody_knows_are_unsafe_and_case_counts(method: str) -> None:
    assert await World().after(b"/users/a", method=method) == [("user", "a")]


@pytest.mark.parametrize("method", sorted(SAFE))
async def test_after_a_safe_method_nobody_wants_to_be_told(method: str) -> None:
    assert await World().after(b"/users/a", (b"Location", b"/users/b"), method=method) == []
