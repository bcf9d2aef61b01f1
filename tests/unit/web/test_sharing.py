"""What of a request sets its caller apart, in each mode."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.errors import SecretUnreadable
from config.model import ResourceConfig
from config.secret_file import SecretFile
from proxy.core.http.fields import RawField
from proxy.messages import Request
from proxy.web.sharing import CredentialKey, Sharing

TOKEN, TRACE, TENANT = (b"Authorization", b"a"), (b"traceparent", b"t"), (b"X-Tenant", b"1")
OTHER = (b"Accept", b"*/*")


def request(*fields: RawField) -> Request:
    return cast("Request", SimpleNamespace(fields=fields, causing_fields=fields))


def sharing(
    mode: str, *, own_credential: bool = False, key: CredentialKey | None = None, **config: Any
) -> Sharing:
    document = {"id": "/id", "single": {"path": "/u/{id}"}, "sharing": mode, "key_headers": ["x-tenant"]}
    return Sharing(
        ResourceConfig.model_validate(document | config),
        own_credential=own_credential,
        key=key or CredentialKey(None, made=b"k" * 64),
        warn=lambda _: None,
    )


@pytest.mark.parametrize(
    ("mode", "own_credential", "goes_past", "sent"),
    [
        ("anonymous", False, True, (TRACE, TENANT)),
        ("anonymous", True, True, (TRACE, TENANT)),
        ("service", False, False, (TOKEN, TRACE, TENANT)),
        ("service", True, False, (TRACE, TENANT)),
        ("per_credential", False, False, (TOKEN, TRACE, TENANT)),
        ("per_credential", True, False, (TOKEN, TRACE, TENANT)),
    ],
)
def test_what_a_credential_means(
    mode: str,
    own_credential: bool,
    goes_past: bool,
    sent: tuple[RawField, ...],
) -> None:
    asked = request(TOKEN, OTHER, TRACE, TENANT)
    rules = sharing(mode, own_credential=own_credential)
    assert rules.has_credential(asked) is goes_past
    assert rules.fill_fields(asked) == sent


@pytest.mark.parametrize("name", [b"Authorization", b"COOKIE", b"x-api-key"])
def test_a_credential_that_sets_nobody_apart_makes_a_request_authorized(name: bytes) -> None:
    """RFC 9111 section 3.5, where the answer would be for everybody."""
    asked = request(OTHER, (name, b"a"))
    assert sharing("anonymous").is_authorized(asked)
    assert not sharing("anonymous").is_authorized(request(OTHER, TRACE, TENANT))
    assert not sharing("service").is_authorized(asked)  # the operator says that it is for everybody
    assert not sharing("per_credential").is_authorized(asked)


@pytest.mark.parametrize(
    ("config", "authorized"),
    [
        ({"credential_headers": []}, {b"authorization"}),
        ({"credential_headers": ["cookie"]}, {b"authorization", b"cookie"}),
        ({"key_headers": ["authorization"]}, {b"cookie", b"x-api-key"}),
        ({"key_headers": ["x-api-key"]}, {b"authorization", b"cookie"}),
        ({"credential_headers": ["x-token"], "key_headers": ["x-token", "authorization"]}, set()),
    ],
)
def test_authorization_counts_whatever_the_operator_lists_unless_it_is_part_of_the_key(
    config: dict[str, Any], authorized: set[bytes]
) -> None:
    """RFC 9111 section 3.5 names it."""
    rules = sharing("anonymous", **config)
    names = {b"authorization", b"cookie", b"x-api-key", b"x-token"}
    assert {name for name in names if rules.is_authorized(request((name, b"a")))} == authorized


@pytest.mark.parametrize(
    ("mode", "own_credential", "of_nobody", "of_somebody"),
    [
        ("anonymous", False, False, False),
        ("anonymous", True, True, False),
        ("service", False, False, False),
        ("service", True, True, True),
        ("per_credential", False, False, False),
        ("per_credential", True, False, False),
    ],
)
def test_whose_credential_a_call_bears(
    mode: str, own_credential: bool, of_nobody: bool, of_somebody: bool
) -> None:
    """The upstream's own never joins a caller's, nor stands in for one that is to be told apart."""
    rules = sharing(mode, own_credential=own_credential)
    assert rules.fills_by_itself(request(OTHER, TENANT)) is of_nobody
    for credential in (TOKEN, (b"cookie", b"a"), (b"X-API-Key", b"a")):
        assert rules.fills_by_itself(request(OTHER, credential)) is of_somebody


@pytest.mark.parametrize("mode", ["anonymous", "service"])
def test_a_credential_is_no_part_of_the_key_where_copies_are_shared(mode: str) -> None:
    rules = sharing(mode)
    assert rules.variant(request(TOKEN)) == rules.variant(request(OTHER)) == ""
    assert rules.variant(request(TOKEN, TENANT)) == rules.variant(request(TENANT)) != ""


def test_each_credential_is_a_variant_of_its_own() -> None:
    rules = sharing("per_credential")
    asked = [
        request(TOKEN),
        request(TOKEN, TENANT),
        request(TENANT),
        request((b"cookie", b"a")),
        request(OTHER),
    ]
    assert len({rules.variant(one) for one in asked}) == len(asked)
    assert rules.variant(request(OTHER, TRACE, TOKEN)) == rules.variant(request((b"AUTHORIZATION", b"a")))


@pytest.mark.parametrize("own_credential", [False, True])
def test_who_has_no_credential_shares_the_row_unless_the_proxy_fills_it_with_its_own(
    own_credential: bool,
) -> None:
    rules = sharing("per_credential", own_credential=own_credential)
    assert bool(rules.variant(request(OTHER))) is own_credential


def test_a_field_that_is_not_said_to_be_a_credential_is_neither_sent_nor_counted() -> None:
    rules = sharing("per_credential", credential_headers=["cookie"])
    assert rules.variant(request(TOKEN)) == ""
    assert rules.fill_fields(request(TOKEN)) == ()


def test_two_processes_do_not_hash_alike() -> None:
    rules = [sharing("per_credential", key=CredentialKey(None, made=made)) for made in (b"1" * 64, b"2" * 64)]
    assert rules[0].variant(request(TOKEN)) != rules[1].variant(request(TOKEN))


def test_the_key_changes_with_the_file_and_never_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("the first key of all")
    key = CredentialKey(SecretFile(file, at_least=16), made=b"k" * 64)
    first = key.read()
    assert first != b"k" * 64
    file.write_text("the first key of all\n")
    assert key.read() == first
    file.write_text("short")
    assert key.read() == first
    file.write_text("the second key of all")
    second = key.read()
    file.write_text("the first key of all")
    assert len({first, second, key.read()}) == 3


@pytest.mark.parametrize("content", [None, "", "fifteen letters"])
def test_a_file_without_a_key_is_an_error_at_start(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SecretUnreadable):
        CredentialKey(SecretFile(file, at_least=16), made=b"k" * 64)
