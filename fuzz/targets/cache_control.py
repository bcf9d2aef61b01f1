"""Cache-Control of requests and answers."""

import math
from collections.abc import Mapping

from fuzz import headers
from proxy.core.http.directives import RequestDirectives, delta_seconds, of_request, parse, qualified

TOKENS = headers.TOKENS
_OF_FIELDS = (b"no-cache", b"private")


def fuzz_one(data: bytes) -> None:
    """Compare with a reading sign by sign; what was read is read the same again; seconds grow with their digits."""
    fields = headers.fields_of(data)
    found = parse(fields)
    _check_directives(found, headers.directives(fields, b"cache-control"))
    assert parse(
        [(b"Cache-Control", _spelled(name, argument)) for name, argument in found.items()]
    ) == found or any(map(_needs_quotes, found.items()))
    for argument in found.values():
        here = delta_seconds(argument)
        assert here == headers.seconds(argument)
        assert 0 <= here <= 2**31
        if argument and argument.isdigit():
            assert delta_seconds(argument + b"0") >= here
    _check_request(of_request(fields), found)
    # What is said on a line of its own is heard, whatever stands on the others.
    assert of_request([*fields, (b"Cache-Control", b"no-store")]).no_store
    assert of_request([(b"Cache-Control", b"no-cache"), *fields]).no_cache
    for name in _OF_FIELDS:
        assert qualified(parse([*fields, (b"Cache-Control", name)])[name]) is None
        # But of two lines with one quote each it is one argument.
        if not any(b'"' in value for _, value in fields):
            assert qualified(parse([(b"Cache-Control", name + b'="'), *fields])[name]) is None


def _check_directives(found: Mapping[bytes, bytes | None], said: dict[bytes, list[bytes | None]]) -> None:
    assert found.keys() == said.keys()
    for name, arguments in said.items():
        if name in _OF_FIELDS:
            assert qualified(found[name]) == headers.named(arguments)
        else:
            assert found[name] == headers.argument(arguments)


def _spelled(name: bytes, argument: bytes | None) -> bytes:
    return name if argument is None else b'%b="%b"' % (name, argument)


def _needs_quotes(directive: tuple[bytes, bytes | None]) -> bool:
    """Whether it has signs that a list takes for its own."""
    name, argument = directive
    return not name or bool(set(name + (argument or b"")) & set(b'",\\ \t'))


def _check_request(said: RequestDirectives, found: object) -> None:
    for number in (said.max_age, said.min_fresh, said.max_stale):
        assert number is None or 0 <= number <= 2**31 or number is said.max_stale
    assert said.max_stale is None or said.max_stale <= 2**31 or said.max_stale == math.inf
    if said.max_age == 0:
        assert said.no_cache
    if not found:
        assert said in {RequestDirectives(), RequestDirectives(no_cache=True)}
