"""The model that `make soak` holds answers against: what it lets pass, and what it does not."""

from dataclasses import replace
from time import monotonic

import pytest

from bench.soak.client import Answer, BadFraming, Request, parse_head
from bench.soak.held import Held
from bench.soak.judge import Cached, Judge
from bench.soak.persons import Persons
from bench.soak.rules import AFTERMATH, BUSINESS, SLACK, TIMEOUT, USER
from bench.soak.trouble import Trouble
from bench.soak.truth import Register, Shown, Truth, item, version_of
from bench.soak.verdicts import Verdicts
from bench.soak.watch import Moment, growth

ENTITY = "soak-user-00001"
AGES_AGO = 1000.0


def _judge() -> Judge:
    trouble = Trouble(1)
    return Judge(Truth(), trouble, Held(trouble), Verdicts(0.0))


def _wrong(truth: Truth, number: int | None, asked: float, oldest: float = 0.0) -> str | None:
    return truth.wrong(USER, ENTITY, number, Shown(asked, asked + 0.1, oldest))


@pytest.fixture
def truth() -> Truth:
    """Version 1 from 100 s on, version 2 from 200 s on, nobody from 300 s on."""
    truth = Truth()
    truth.change(USER, ENTITY, 100.0)
    truth.change(USER, ENTITY, 200.0)
    truth.change(USER, ENTITY, 300.0, present=False)
    return truth


class TestVersions:
    def test_the_version_of_the_time_is_right(self, truth: Truth) -> None:
        assert _wrong(truth, 1, 150.0) is None
        assert _wrong(truth, 2, 250.0) is None
        assert _wrong(truth, None, 350.0) is None
        assert _wrong(truth, None, 50.0) is None

    def test_an_older_one_is_right_as_long_as_it_is_said_to_be_so_old(self, truth: Truth) -> None:
        assert _wrong(truth, 1, 250.0) == "older than it says, or may be"
        assert _wrong(truth, 1, 250.0, oldest=50.0) is None
        assert _wrong(truth, 1, 250.0, oldest=50.0 - TIMEOUT - SLACK - 0.1) == "older than it says, or may be"

    def test_one_that_is_not_there_yet_is_wrong(self, truth: Truth) -> None:
        assert _wrong(truth, 2, 150.0) == "the version is from later than the answer"
        assert _wrong(truth, 4, 350.0) == "there was no such version"
        assert _wrong(truth, 3, 350.0) == "there was no such version"

    def test_an_absence_needs_a_time_at_which_there_was_nobody(self, truth: Truth) -> None:
        assert _wrong(truth, None, 150.0) == "said to be absent when it was there"
        assert _wrong(truth, None, 110.0, oldest=20.0) is None

    def test_after_an_invalidation_nothing_older_is_right_however_old_it_says_it_is(
        self, truth: Truth
    ) -> None:
        truth.fence(USER, ENTITY, 201.0, 2)
        assert _wrong(truth, 1, 202.0, oldest=500.0) == "it was invalidated"
        assert _wrong(truth, None, 202.0, oldest=500.0) == "said to be absent when it was there"
        assert _wrong(truth, 2, 202.0, oldest=500.0) is None
        assert _wrong(truth, 1, 200.5, oldest=500.0) is None  # asked before the invalidation was answered

    def test_the_bytes_of_a_version_are_its_own(self) -> None:
        different = {item(USER, ENTITY, 1), item(USER, ENTITY, 2), item(USER, "soak-user-2", 1)}
        assert len(different) == 3
        assert version_of(f"name 17 of {ENTITY}") == 17
        assert version_of(None) is None


class TestRegister:
    def test_what_was_confirmed_last_is_what_a_later_read_finds(self) -> None:
        register = Register()
        register.begin("a")
        register.done("a", 10.0)
        register.begin("b")
        register.done("b", 20.0)
        assert register.allows("b", 21.0)
        assert not register.allows("a", 21.0)
        assert register.allows("a", 19.0)  # that read was under way
        assert not register.allows("c", 21.0)

    def test_a_write_that_nobody_answered_may_have_been_done(self) -> None:
        register = Register()
        register.begin("a")
        assert register.allows("a", 1.0)
        assert register.allows(None, 1.0)
        register.begin("b")
        register.done("b", 20.0)
        assert not register.allows("a", 21.0)


def _answer(status: int, body: bytes = b"", *fields: tuple[str, str], asked: float = AGES_AGO) -> Answer:
    return Answer(status, fields, body, asked, asked + 0.01)


class TestFailures:
    def test_without_a_fault_there_is_no_excuse(self) -> None:
        judge = _judge()
        judge.failed("user.bulk", USER, [ENTITY], _answer(502, asked=monotonic()))
        assert "without a fault" in next(iter(judge.verdicts.kinds))

    def test_a_fault_excuses_what_was_not_held_and_for_some_time(self) -> None:
        judge = _judge()
        judge.trouble.begin("hang", 1.0)
        judge.failed("user.bulk", USER, [ENTITY], _answer(502, asked=monotonic()))
        judge.trouble.end("hang")
        judge.failed("user.bulk", USER, [ENTITY], _answer(502, asked=monotonic()))
        assert judge.verdicts.excused["upstream"] == 2
        judge.failed("user.bulk", USER, [ENTITY], _answer(502, asked=monotonic() + AFTERMATH + 1))
        assert judge.verdicts.wrong == 1

    def test_a_fault_does_not_excuse_what_is_held(self) -> None:
        judge, now = _judge(), monotonic()
        judge.trouble.begin("hang", 1.0)
        judge.held.seen(USER, ENTITY, now, now)
        judge.failed("user.bulk", USER, [ENTITY], _answer(503, b"", ("retry-after", "1"), asked=now + 1))
        assert "though all is held" in next(iter(judge.verdicts.kinds))

    def test_what_was_lost_or_is_too_old_is_not_held(self) -> None:
        held = Held(Trouble(1))
        held.seen(USER, ENTITY, 10.0, 10.0)
        assert held.surely(USER, ENTITY, 11.0)
        assert not held.surely(USER, ENTITY, 10.0 + USER.ttl + USER.stale_if_error)
        held.losing(USER, ENTITY)
        assert not held.surely(USER, ENTITY, 11.0)
        held.lost(USER, ENTITY, 12.0)
        assert not held.surely(USER, ENTITY, 13.0)
        held.seen(USER, ENTITY, 14.0, 14.0)
        assert held.surely(USER, ENTITY, 15.0)
        held.seen(BUSINESS, ENTITY, 14.0, 14.0)
        assert not held.surely(BUSINESS, ENTITY, 15.0)  # memory may have evicted it

    def test_a_503_of_the_proxy_says_when_to_come_again(self) -> None:
        judge = _judge()
        judge.made_by_us(
            "bulk", _answer(503, b'{"status":503}', ("content-type", "application/problem+json"))
        )
        judge.made_by_us(
            "bulk", _answer(502, b'{"status":503}', ("content-type", "application/problem+json"))
        )
        assert sorted(judge.verdicts.kinds) == [
            "bulk: 503 without Retry-After",
            "bulk: problem details of another status",
        ]


class TestCacheStatus:
    @pytest.mark.parametrize(
        ("text", "word", "stored"),
        [
            ("hit; ttl=3", "hit", True),
            ("hit; ttl=-3", "stale", True),
            ("fwd=uri-miss; stored; collapsed", "miss", True),
            ("fwd=uri-miss", "miss", False),
            ("fwd=stale; fwd-status=304", "miss", True),
            ("fwd=bypass; detail=shape", "bypass", False),
            ('fwd=miss; detail="hit=1,stale=0,negative=0,miss=2"', "partial", False),
        ],
    )
    def test_every_word_is_understood(self, text: str, word: str, *, stored: bool) -> None:
        cached = Cached.of(_answer(200, b"", ("cache-status", f"handshake-proxy; {text}")))
        assert (cached.word, cached.stored) == (word, stored)

    @pytest.mark.parametrize("text", ["", "handshake-proxy; hit", "handshake-proxy; hit; ttl=1; fwd=stale"])
    def test_what_no_cache_says_is_found(self, text: str) -> None:
        with pytest.raises(BadFraming):
            Cached.of(_answer(200, b"", ("cache-status", text)))

    def test_a_life_beyond_the_configuration_is_found(self) -> None:
        judge = _judge()
        judge.truth.change(USER, ENTITY, 0.0)
        body = item(USER, ENTITY, 1)
        fields = ("cache-status", "handshake-proxy; hit; ttl=4"), ("age", "3")
        judge.single(USER, ENTITY, _answer(200, body, *fields), 0)
        assert list(judge.verdicts.kinds) == ["user.single: a longer life than the configuration's"]

    def test_a_hit_for_which_the_upstream_was_asked_is_found(self) -> None:
        judge = _judge()
        judge.truth.change(USER, ENTITY, 0.0)
        fields = ("cache-status", "handshake-proxy; hit; ttl=3"), ("age", "0")
        judge.single(USER, ENTITY, _answer(200, item(USER, ENTITY, 1), *fields), 1)
        assert "reached the upstream 1 times" in next(iter(judge.verdicts.kinds))


class TestPersons:
    def _person(self, entity: str = ENTITY) -> dict[str, object]:
        columns = {member: f"{member} 1 of {entity} \u00e9" for _, member in USER.columns}
        own = {"id": USER.internal(entity), "userId": entity, "departmentId": None, "isFieldWorker": None}
        return {**own, **columns, "version": 2, "lastSyncedAt": "2026-01-01T00:00:02.000Z"}

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"id": USER.internal("somebody else")}, "another id than ever before"),
            ({"email": f"email 2 of {ENTITY} \u00e9"}, "torn, or of another"),
            ({"departmentId": "d-1"}, "not what was confirmed last"),
            ({"version": 1}, "version or time of sync went back"),
            ({"lastSyncedAt": "2026-01-01T00:00:01.000Z"}, "version or time of sync went back"),
        ],
    )
    def test_what_is_shown_of_somebody_stays(self, change: dict[str, object], found: str) -> None:
        judge = _judge()
        judge.truth.change(USER, ENTITY, 0.0)
        persons = Persons(judge)
        persons.judge("get", USER, ENTITY, self._person(), _answer(200))
        assert not judge.verdicts.kinds
        persons.judge("get", USER, ENTITY, self._person() | change, _answer(200, asked=AGES_AGO + 1))
        assert list(judge.verdicts.kinds) == [f"get: {found}"]


class TestFraming:
    @pytest.mark.parametrize(
        "head", [b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", b"HTTP/2 200\r\n\r\n"]
    )
    def test_what_is_no_head_is_found(self, head: bytes) -> None:
        with pytest.raises(BadFraming):
            parse_head(head)

    def test_a_request_is_written_whole(self) -> None:
        request = Request("POST", "/x", (("A", "b"),), b"abcdef", chunked=2)
        head = b"POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert request.render("h") == head + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"


def test_growth_is_from_the_early_median_to_the_late_one() -> None:
    moment = Moment(0, 100, 1, 1, 1, 1, 1, 1)
    moments = [replace(moment, second=float(second)) for second in range(101)]
    assert growth(moments, "resident") == 0
    grown = [replace(one, resident=110 if one.second > 75 else 100) for one in moments]
    assert growth(grown, "resident") == pytest.approx(0.1)
