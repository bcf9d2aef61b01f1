"""Who may be answered with whose response of an opaque resource, and in whose name the origin is asked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proxy.core.http.fields import RawField
from tests.integration.harness import Proxy, Response, ScriptedUpstream, Seen, running

Lines = tuple[str, ...]

A: Lines = ("Authorization: Bearer a",)
B: Lines = ("Authorization: Bearer b",)
NOBODY: Lines = ()
COOKIE: Lines = ("Cookie: s=a",)
KEY: Lines = ("X-Api-Key: a",)
CREDENTIALS = [A, COOKIE, KEY]
NAMES = ["Authorization", "Cookie", "X-Api-Key"]
MINUTE, PUBLIC = "Cache-Control: max-age=60", "Cache-Control: public, max-age=60"
BYPASSED = "handshake-proxy; fwd=bypass; detail=credential"
OWN = b"Bearer its-own"


@dataclass
class Origin:
    """Answers with what it was asked by: its credentials and tenant, and how often it has been asked."""

    fields: Lines
    told: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.upstream = ScriptedUpstream(self._script)

    @property
    def calls(self) -> int:
        return len(self.told)

    async def _script(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.told.append(who(seen.fields))
        if (b"If-None-Match", b'"1"') in seen.fields:
            writer.write("\r\n".join(["HTTP/1.1 304 Not Modified", *self.fields, "", ""]).encode())
            return
        body = b"%b #%d" % (self.told[-1], self.calls)
        lines = "\r\n".join(["HTTP/1.1 200 OK", *self.fields, f"Content-Length: {len(body)}", "", ""])
        writer.write(lines.encode() + (b"" if seen.line.startswith(b"HEAD") else body))


def who(fields: Iterable[RawField]) -> bytes:
    """What of a request tells who asks."""
    telling = {b"authorization", b"cookie", b"x-api-key", b"x-tenant"}
    return b", ".join(value for name, value in fields if name.lower() in telling)


@asynccontextmanager
async def shared(
    directory: Path, *fields: str, own_credential: bool = False, **resource: Any
) -> AsyncIterator[tuple[Proxy, Origin]]:
    """A proxy before such an origin; `resource` is what the operator says of who shares."""
    origin = Origin(fields)
    more: dict[str, Any] = {}
    if own_credential:
        (directory / "token").write_text(OWN.decode().removeprefix("Bearer "))
        more = {"upstream": {"credential_file": str(directory / "token")}}
    opaque = {"id": None, "single": {"path": "/{rest*}"}, "freshness": {"ttl": "0s"}, **resource}
    async with origin.upstream as upstream:
        async with running(upstream.url, directory, resources={"all": opaque}, **more) as proxy:
            yield proxy, origin


def is_hit(answer: Response) -> bool:
    return "; hit; " in answer.field("cache-status")


# anonymous: whoever has a credential may be told something else.


@pytest.mark.parametrize("credential", CREDENTIALS, ids=NAMES)
async def test_who_has_a_credential_is_answered_by_the_origin_and_for_nobody_else(
    credential: Lines, tmp_path: Path
) -> None:
    """RFC 9111 section 3.5, and the same for what says as much as Authorization."""
    said = credential[0].partition(": ")[2].encode()
    async with shared(tmp_path, MINUTE) as (proxy, _origin):
        for number in (1, 2):
            answer = await proxy.get("/a", *credential)
            assert (answer.body, answer.field("cache-status")) == (b"%b #%d" % (said, number), BYPASSED)
        assert (await proxy.get("/a")).body == b" #3"
        assert is_hit(await proxy.get("/a"))
        answer = await proxy.get("/a", *credential)
        assert (answer.body, answer.field("cache-status")) == (b"%b #4" % said, BYPASSED)
        assert is_hit(await proxy.get("/a"))
        assert proxy.metric("misses_total", resource="all", reason="bypass_credential") == 3


@pytest.mark.parametrize("credential", CREDENTIALS, ids=NAMES)
@pytest.mark.parametrize("directive", ["public", "s-maxage=60", "must-revalidate"])
async def test_unless_the_origin_says_that_it_is_for_everybody(
    directive: str, credential: Lines, tmp_path: Path
) -> None:
    """RFC 9111 section 3.5: kept when it comes for a credential, and shown to one."""
    async with shared(tmp_path, f"Cache-Control: max-age=60, {directive}") as (proxy, origin):
        body = (await proxy.get("/a", *credential)).body
        for fields in (NOBODY, credential, *CREDENTIALS):
            answer = await proxy.get("/a", *fields)
            assert (answer.body, is_hit(answer)) == (body, True)
        assert origin.calls == 1


async def test_what_was_told_nobody_is_shown_to_somebody_if_it_is_public(tmp_path: Path) -> None:
    async with shared(tmp_path, PUBLIC) as (proxy, _origin):
        await proxy.get("/a")
        assert is_hit(await proxy.get("/a", *A))
        proxy.clock.tick(61)  # no fill of his is asked for, nor is a stale one shown
        assert (await proxy.get("/a", *A)).body == b"Bearer a #2"


async def test_an_answer_to_a_credential_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """It is not newer than theirs: it is another."""
    async with shared(tmp_path, MINUTE) as (proxy, origin):
        await proxy.get("/a")
        origin.fields = ("Cache-Control: no-store",)
        await proxy.get("/a", *A)
        assert (await proxy.get("/a")).body == b" #1"


async def test_who_has_a_credential_joins_nobody(tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE) as (proxy, _origin):
        answers = await asyncio.gather(*(proxy.get("/a", *fields) for fields in (A, A, B, COOKIE)))
        assert sorted(answer.body.partition(b" #")[0] for answer in answers) == [
            b"Bearer a",
            b"Bearer a",
            b"Bearer b",
            b"s=a",
        ]
        assert proxy.metric("coalesced_ids_total", resource="all") == 0


@pytest.mark.parametrize("credential", CREDENTIALS, ids=NAMES)
async def test_who_has_a_credential_and_a_copy_is_told_whether_it_is_good(
    credential: Lines, tmp_path: Path
) -> None:
    """RFC 9110 section 13.1.2. Nothing that is kept here is like his: the origin knows it alone."""
    async with shared(tmp_path, "Cache-Control: private, no-cache", 'ETag: "1"') as (proxy, _origin):
        answer = await proxy.get("/a", *credential, 'If-None-Match: "1"')
        assert (answer.status, answer.body, answer.field("etag")) == (304, b"", '"1"')
        assert (await proxy.get("/a", *credential, 'If-None-Match: "2"')).status == 200


async def test_a_field_that_the_operator_takes_for_none_is_none_but_for_authorization(tmp_path: Path) -> None:
    """RFC 9111 section 3.5 is about that, whatever the operator lists."""
    async with shared(tmp_path, MINUTE, credential_headers=["x-api-key"]) as (proxy, _origin):
        assert (await proxy.get("/a", *COOKIE)).body == b"s=a #1"
        assert is_hit(await proxy.get("/a"))
        await proxy.get("/b", *A)
        assert (await proxy.get("/b")).body == b" #3"
        assert is_hit(await proxy.get("/b", *A))


# service: the operator says that all are told the same.


@pytest.mark.parametrize("credential", CREDENTIALS, ids=NAMES)
async def test_where_all_are_told_the_same_one_asks_for_all_with_his_own(
    credential: Lines, tmp_path: Path
) -> None:
    said = credential[0].partition(": ")[2].encode()
    async with shared(tmp_path, MINUTE, sharing="service") as (proxy, origin):
        assert (await proxy.get("/a", *credential)).body == said + b" #1"
        for fields in (NOBODY, A, B, COOKIE, KEY):
            answer = await proxy.get("/a", *fields)
            assert (answer.body, is_hit(answer)) == (said + b" #1", True)
        assert origin.calls == 1


# per_credential: each has his own.


async def test_nobody_ever_sees_what_was_told_somebody_else(tmp_path: Path) -> None:
    everybody: list[Lines] = [A, B, NOBODY, COOKIE, KEY, A + COOKIE, ("authorization: Bearer A",)]
    async with shared(tmp_path, PUBLIC, sharing="per_credential") as (proxy, origin):
        for fields in everybody * 3:
            answer = await proxy.get("/a", *fields)
            expected = b", ".join(line.partition(": ")[2].encode() for line in fields)
            assert answer.body.partition(b" #")[0] == expected
        assert origin.calls == len(everybody)
        assert Counter(origin.told) == Counter(
            b", ".join(line.partition(": ")[2].encode() for line in fields) for fields in everybody
        )


async def test_nor_waits_for_it(tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE, sharing="per_credential") as (proxy, _origin):
        answers = await asyncio.gather(*(proxy.get("/a", *fields) for fields in (A, B, NOBODY)))
        told = [answer.body.partition(b" #")[0] for answer in answers]
        assert told == [b"Bearer a", b"Bearer b", b""]


async def test_vary_selects_among_his_own(tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE, "Vary: Lang", sharing="per_credential") as (proxy, origin):
        asked = [(*fields, f"Lang: {lang}") for fields in (A, B, NOBODY) for lang in ("en", "de")]
        first = [(await proxy.get("/a", *fields)).body for fields in asked]
        second = [(await proxy.get("/a", *fields)).body for fields in asked]
        assert first == second
        assert (len(set(first)), origin.calls) == (6, 6)
        origin.fields = (MINUTE,)
        forced = (await proxy.get("/a", *A, "Lang: en", "Cache-Control: no-cache")).body
        assert (await proxy.get("/a", *A, "Lang: fr")).body == forced
        assert [(await proxy.get("/a", *fields)).body for fields in asked[2:]] == first[2:]


async def test_an_invalidation_is_of_all_copies(tmp_path: Path) -> None:
    """RFC 9111 section 4.4: whoever has changed it."""
    async with shared(tmp_path, MINUTE, sharing="per_credential") as (proxy, _origin):
        for fields in (A, B, NOBODY):
            await proxy.get("/a", *fields)
        async with proxy.client() as client:
            await client.send_body("DELETE", "/a", b"", f"{B[0]}\r\n")
        for number, fields in enumerate((A, B, NOBODY), 5):
            assert (await proxy.get("/a", *fields)).body.endswith(b"#%d" % number)


async def test_each_of_many_callers_keeps_his_own(tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE, sharing="per_credential") as (proxy, origin):
        callers = [f"Authorization: Bearer {number}" for number in range(100)]
        for caller in callers:
            await proxy.get("/me", caller)
        for caller in callers:
            assert is_hit(await proxy.get("/me", caller))
        assert origin.calls == len(callers)


# key_headers: what the operator says is part of the key.


@pytest.mark.parametrize("sharing", ["anonymous", "service", "per_credential"])
async def test_tenants_are_apart(sharing: str, tmp_path: Path) -> None:
    tenants: list[Lines] = [("X-Tenant: 1",), ("x-tenant: 2",), ("X-Tenant:  2 , 3",), NOBODY]
    async with shared(tmp_path, PUBLIC, sharing=sharing, key_headers=["x-tenant"]) as (proxy, origin):
        first = [(await proxy.get("/a", *fields)).body for fields in tenants]
        assert [(await proxy.get("/a", *fields)).body for fields in tenants] == first
        assert (len(set(first)), origin.calls) == (4, 4)


@pytest.mark.parametrize("fields", [(), ("Vary: Lang",)])
async def test_a_credential_that_is_part_of_the_key_sets_apart_by_that_alone(
    fields: Lines, tmp_path: Path
) -> None:
    async with shared(tmp_path, MINUTE, *fields, key_headers=["authorization"]) as (proxy, origin):
        for asked in (A, B, NOBODY, A, B, NOBODY):
            answer = await proxy.get("/a", *asked)
            assert answer.body.startswith(asked[0].partition(": ")[2].encode() if asked else b" #")
        assert origin.calls == 3


# The upstream's own credential.


async def test_a_call_that_is_the_proxys_own_bears_it(tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE, own_credential=True) as (proxy, origin):
        assert (await proxy.get("/a")).body == OWN + b" #1"
        assert is_hit(await proxy.get("/a"))
        (seen,) = origin.upstream.seen
        assert (b"Authorization", OWN) in seen.fields


@pytest.mark.parametrize("credential", CREDENTIALS, ids=NAMES)
async def test_one_in_a_callers_name_bears_his(credential: Lines, tmp_path: Path) -> None:
    said = credential[0].partition(": ")[2].encode()
    async with shared(tmp_path, PUBLIC, own_credential=True) as (proxy, origin):
        assert (await proxy.get("/a", *credential)).body == said + b" #1"
        proxy.clock.tick(61)
        await proxy.get("/a", *credential)
        async with proxy.client() as client:  # what is passed on is passed on as it is
            await client.send_body("PUT", "/a", b"", f"{credential[0]}\r\n")
            await client.send_body("PUT", "/a", b"", "")
        assert origin.told == [said, said, said, b""]


async def test_where_all_are_told_the_same_it_takes_the_place_of_the_callers(tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE, sharing="service", own_credential=True) as (proxy, origin):
        for target, fields in (("/a", A), ("/b", NOBODY)):
            await proxy.get(target, *fields)
            assert origin.told[-1] == OWN
            assert [name for name, _ in origin.upstream.seen[-1].fields].count(b"Authorization") == 1
        assert is_hit(await proxy.get("/a", *B))


@pytest.mark.parametrize("fields", [A, COOKIE, KEY, NOBODY])
async def test_where_each_has_his_own_it_is_never_sent(fields: Lines, tmp_path: Path) -> None:
    async with shared(tmp_path, MINUTE, sharing="per_credential", own_credential=True) as (proxy, _origin):
        for _ in range(2):
            answer = await proxy.get("/a", *fields)
            assert answer.body == b", ".join(line.partition(": ")[2].encode() for line in fields) + b" #1"


@pytest.mark.parametrize("sharing", ["anonymous", "service"])
async def test_a_validation_bears_it_too(sharing: str, tmp_path: Path) -> None:
    said = ("Cache-Control: max-age=1", 'ETag: "1"')
    async with shared(tmp_path, *said, sharing=sharing, own_credential=True) as (proxy, origin):
        await proxy.get("/a")
        proxy.clock.tick(2)
        await proxy.get("/a")
        assert origin.told == [OWN, OWN]
        assert (b"If-None-Match", b'"1"') in origin.upstream.seen[-1].fields
