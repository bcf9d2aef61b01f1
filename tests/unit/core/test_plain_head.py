"""Which heads ask for an entity and nothing else; what is called so must be so for the handlers, too."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import assume, example, given
from hypothesis import strategies as st

from config.model import ResourceConfig
from proxy.core.http.directives import PLAIN
from proxy.core.http.fields import RawField, values, via_names
from proxy.core.http.plain import PlainHead, Plainness, is_json
from proxy.core.http.validation import is_conditional
from proxy.core.policy import Asked
from proxy.core.policy import bypass as policy_bypass
from proxy.messages import Request
from proxy.web.bulk import BulkHandler
from proxy.web.framing import framing_refusal
from proxy.web.invalidating import Invalidating
from proxy.web.opaque import OpaqueHandler
from proxy.web.sharing import CredentialKey, Sharing
from proxy.web.single import SingleHandler

TELLING, CREDENTIALS = frozenset({b"x-tenant", b"authorization"}), frozenset({b"x-token", b"authorization"})
PSEUDONYM = b"proxy-1"
INVALIDATING = Invalidating([], [], origin=b"http://main")


def head(*, body: bool = False) -> PlainHead:
    return PlainHead(telling=TELLING, credentials=CREDENTIALS, body=body)


def spellings(name: bytes) -> list[bytes]:
    return [name, name.title(), name.upper()]


NEVER = (
    b"cache-control",
    b"expect",
    b"http2-settings",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"pragma",
    b"range",
    b"transfer-encoding",
    b"upgrade",
    b"via",
    b"x-tenant",
    b"authorization",
)
HARMLESS = (
    (b"Host", b"a"),
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"gzip"),
    (b"User-Agent", b"a"),
    (b"traceparent", b"00-0-0-0"),
    (b"Keep-Alive", b"timeout=5"),
    (b"TE", b"trailers"),
    (b"X-Request-Id", b"1"),
    (b"Cache-Controls", b"no-cache"),
    (b"X-Cache-Control", b"no-cache"),
)


@pytest.mark.parametrize("body", [False, True])
@pytest.mark.parametrize("name", NEVER)
def test_a_field_that_counts_makes_a_head_another(name: bytes, body: bool) -> None:
    for spelled in spellings(name):
        for value in (b"", b"no-cache", b"anything"):
            assert head(body=body).judge([*HARMLESS, (spelled, value)]) == "other"
            assert head(body=body).judge([(spelled, value), *HARMLESS]) == "other"


@pytest.mark.parametrize("body", [False, True])
def test_all_other_fields_count_for_nothing(body: bool) -> None:
    assert head(body=body).judge([]) == "plain"
    assert head(body=body).judge(HARMLESS) == "plain"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"keep-alive", "plain"),
        (b"Keep-Alive", "plain"),
        (b"KEEP-ALIVE", "plain"),
        (b"close", "other"),
        (b"", "other"),
        (b"keep-alive, close", "other"),
        (b"keep-alive, x-a", "other"),
        (b"upgrade", "other"),
    ],
)
def test_a_connection_that_is_kept_alive_is_nothing_new(value: bytes, found: Plainness) -> None:
    for name in spellings(b"connection"):
        assert head().judge([(name, value)]) == found
        assert head(body=True).judge([(name, value)]) == found


@pytest.mark.parametrize(
    ("media_type", "is_ours"),
    [
        (b"", True),
        (b"application/json", True),
        (b"Application/JSON", True),
        (b"application/json; charset=utf-8", True),
        (b"application/json;charset=utf-8", True),
        (b" application/json ;a=b", True),
        (b"application/vnd.api+json", True),
        (b"application/problem+JSON; a=b", True),
        (b"text/json", False),
        (b"text/plain", False),
        (b"application/jsonp", False),
        (b"application/json, text/plain", False),
        (b"text/plain; a=+json", False),
        (b"multipart/form-data; boundary=application/json", False),
        (b"\xff", False),
    ],
)
def test_a_body_is_json_or_another(media_type: bytes, is_ours: bool) -> None:
    assert is_json(media_type) is is_ours
    for name in spellings(b"content-type"):
        assert head(body=True).judge([(name, media_type)]) == ("plain" if is_ours else "other")


def test_each_line_of_a_field_counts() -> None:
    lines = [(b"Content-Type", b"application/json"), (b"Content-Type", b"text/plain")]
    assert head(body=True).judge(lines) == "other"
    assert head().judge([(b"Connection", b"keep-alive"), (b"connection", b"close")]) == "other"


def test_what_a_body_is_like_counts_where_there_is_one() -> None:
    for name in spellings(b"content-encoding"):
        assert head(body=True).judge([(name, b"gzip")]) == "other"
        assert head(body=True).judge([(name, b"")]) == "other"
    assert head(body=True).judge([(b"Content-Length", b"3")]) == "plain"
    assert head().judge([(b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip")]) == "plain"
    for name in spellings(b"content-length"):
        assert head().judge([(name, b"0")]) == "other"


@pytest.mark.parametrize("name", [b"cookie", b"proxy-authorization", b"x-api-key", b"x-token"])
def test_a_credential_that_makes_no_difference_is_a_secret(name: bytes) -> None:
    for spelled in spellings(name):
        assert head().judge([*HARMLESS, (spelled, b"a"), *HARMLESS]) == "secret"
        assert head(body=True).judge([(spelled, b""), (b"Content-Type", b"application/json")]) == "secret"
        assert head().judge([(spelled, b"a"), (b"Range", b"bytes=0-")]) == "other"
        assert head().judge([(b"Range", b"bytes=0-"), (spelled, b"a")]) == "other"


def test_a_credential_that_makes_a_difference_is_more_than_a_secret() -> None:
    assert head().judge([(b"Authorization", b"a")]) == "other"
    assert PlainHead(telling=(), credentials=(), body=False).judge([(b"Authorization", b"a")]) == "secret"


# What the handlers make of the same heads.

MODES = ("anonymous", "service", "per_credential")
NAMES = st.sampled_from(
    [*NEVER, *(name for name, _ in HARMLESS[1:]), b"connection", b"proxy-connection"]
).flatmap(lambda name: st.sampled_from(spellings(name)))
OTHER_NAMES = st.sampled_from(
    (
        b"Cookie",
        b"x-api-key",
        b"X-Token",
        b"X-TENANT",
        b"proxy-authorization",
        b"Content-Type",
        b"content-encoding",
    )
)
VALUES = st.sampled_from(
    (
        b"",
        b"keep-alive",
        b"Keep-Alive",
        b"close",
        b"no-cache",
        b"no-store, max-age=0",
        b"only-if-cached",
        b"application/json",
        b"application/json; a=b",
        b"text/plain",
        b"gzip",
        b'"a"',
        b"*",
        b"bytes=0-1",
        b"100-continue",
        b"websocket",
        b"1.1 proxy-1",
        b"1.0 a, 1.1 PROXY-1",
        b"Bearer a",
        b"\xff",
    )
)
FIELDS = st.lists(st.tuples(st.one_of(NAMES, OTHER_NAMES), VALUES), max_size=5)


def resource(mode: str, *, own_credential: bool) -> Any:
    document = {
        "id": "/id",
        "single": {"path": "/u/{id}"},
        "bulk": {"path": "/b", "ids": "/ids", "items": "/items"},
        "sharing": mode,
        "key_headers": ["X-Tenant"],
        "credential_headers": ["Authorization", "Cookie", "X-Token"],
    }
    config = ResourceConfig.model_validate(document)
    key = CredentialKey(None, made=b"k" * 64)
    sharing = Sharing(config, own_credential=own_credential, key=key, warn=lambda _: None)
    return SimpleNamespace(
        name="user",
        config=config,
        sharing=sharing,
        limits=SimpleNamespace(bulk_body=1000),
        request_shape=object(),
        answer_shape=object(),
    )


def parsed(method: bytes, fields: list[RawField], length: int) -> RawRequestMessage | None:
    """The head as aiohttp's parser gives it, or None where it refuses it."""
    lines = [method + b" /u/a HTTP/1.1", b"Host: a", *(name + b": " + value for name, value in fields)]
    if length:
        lines.append(b"Content-Length: %d" % length)
    loop = asyncio.new_event_loop()
    try:
        protocol: Any = BaseProtocol(loop)
        parser = HttpRequestParser(protocol, loop, 2**16, auto_decompress=False)
        messages, _, _ = parser.feed_data(b"\r\n".join([*lines, b"", b""]))
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    message: RawRequestMessage = messages[0][0]
    return message


@pytest.mark.parametrize("own_credential", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [False, True])
@given(fields=FIELDS)
@example(fields=[])
@example(fields=[(b"Cookie", b"a"), (b"Connection", b"keep-alive")])
@example(fields=[(b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip")])
@example(fields=[(b"X-API-Key", b"a"), (b"X-Token", b"b")])
def test_what_is_called_plain_is_so_for_the_handlers(
    body: bool, mode: str, own_credential: bool, fields: list[RawField]
) -> None:
    owner = resource(mode, own_credential=own_credential)
    plain = owner.sharing.plain_head(body=body)
    if plain is None:
        assert (mode, own_credential) == ("per_credential", True)
        return
    message = parsed(b"POST" if body else b"GET", fields, 3 if body else 0)
    assume(message is not None)
    assert message is not None
    if message.should_close or plain.judge(message.raw_headers) == "other":
        return
    connection: Any = SimpleNamespace(draining=False)
    request = Request(message, cast("Any", None), connection, cast("Any", None))
    handlers: list[Any] = [SingleHandler(owner, INVALIDATING), OpaqueHandler(owner)]
    for handler in [BulkHandler(owner)] if body else handlers:
        asked = handler._asked(request)
        assert asked == Asked()
        assert asked.directives is PLAIN
        assert policy_bypass(asked) is None
    assert body or not (is_conditional(request.fields) or values(request.fields, b"range"))
    assert owner.sharing.variant(request) == ""
    assert not owner.sharing.has_credential(request)
    assert framing_refusal(request) is None
    assert not via_names(request.fields, PSEUDONYM)
    assert not request.upgrade
    assert not request._continue_due
    assert request.keep_alive


@given(fields=FIELDS, mode=st.sampled_from(MODES), body=st.booleans())
def test_what_is_called_plain_and_no_secret_bears_no_credential_at_all(
    fields: list[RawField], mode: str, body: bool
) -> None:
    plain = resource(mode, own_credential=False).sharing.plain_head(body=body)
    assert plain is not None
    if plain.judge(fields) == "plain":
        secrets = {b"authorization", b"cookie", b"proxy-authorization", b"x-api-key", b"x-token"}
        assert secrets.isdisjoint(name.lower() for name, _ in fields)
