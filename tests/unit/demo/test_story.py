"""The demo notices when the proxy is wrong: a check that can't fail would prove nothing."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.demo.script import STEPS, Call
from proxy.demo.stage import USER, Answer, Stage, source_of
from proxy.demo.story import find_fault

CALL = Call(USER, ("user-01", "user-02"), "both", 1)
BODY = b'{"users":[%b,%b],"count":2}'


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def good(stage: Stage) -> Answer:
    body = BODY % (stage.services.users["user-01"], stage.services.users["user-02"])
    return Answer(200, "both", 1, body, started=0.0, seconds=0.1)


def test_a_right_answer_has_no_fault(stage: Stage, good: Answer) -> None:
    assert find_fault(stage, CALL, good) is None


def test_each_kind_of_wrong_answer_is_named(stage: Stage, good: Answer) -> None:
    shorter = b'{"users":[%b],"count":1}' % stage.services.users["user-01"]
    for wrong, words in (
        (replace(good, status=503), "status should be 200, is 503"),
        (replace(good, source="cache"), "source should be both, is cache"),
        (replace(good, fetched=2), "ids fetched should be 1, is 2"),
        (replace(good, body=shorter), "not the bytes"),
        (replace(good, body=good.body.replace(b"Aarati", b"Aarat1")), "not the bytes"),
    ):
        fault = find_fault(stage, CALL, wrong)
        assert fault is not None
        assert words in fault
        assert fault.startswith("user user-01 and 1 more")


def test_of_a_herd_a_late_one_may_be_answered_from_the_cache(stage: Stage, good: Answer) -> None:
    late = replace(good, source="cache")
    assert find_fault(stage, replace(CALL, times=50), late) is None


@pytest.mark.parametrize(
    ("cache_status", "source"),
    [
        (None, "none"),
        ("handshake-proxy; hit; ttl=10", "cache"),
        ("handshake-proxy; hit; ttl=-10", "stale copy"),
        ("handshake-proxy; fwd=uri-miss; stored; collapsed", "upstream"),
        ('handshake-proxy; fwd=miss; detail="hit=1,stale=0,negative=0,miss=1"', "both"),
    ],
)
def test_the_source_is_what_cache_status_says(cache_status: str | None, source: str) -> None:
    assert source_of(cache_status) == source


def test_the_script_asks_only_for_what_the_services_have(stage: Stage) -> None:
    known = stage.services.users.keys() | stage.services.businesses.keys()
    assert all(known >= set(call.ids) for step in STEPS for call in step.calls)
