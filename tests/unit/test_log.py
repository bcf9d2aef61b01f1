"""Logs name an entity by its ref, and are one JSON object a line."""

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import structlog

from proxy.log import Level, Refs, configure, logger, trace_id
from store.entry import Key

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Logging belongs to the process: leave it as it was."""
    root, loop = logging.getLogger(), logging.getLogger("asyncio")
    handlers, level = list(root.handlers), loop.level
    yield
    root.handlers[:] = handlers
    loop.setLevel(level)
    structlog.reset_defaults()


def test_a_ref_is_12_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", Refs(b"key").of(Key("user", "a")))
    assert re.fullmatch(r"[0-9a-f]{12}", Refs(b"k" * 64).of(Key("user", "é\U0001f600" * 100)))


def test_a_ref_is_the_same_for_one_entity_and_another_for_each_other() -> None:
    refs = Refs(b"key")
    keys = [Key("user", "a"), Key("user", "b"), Key("business", "a"), Key("use", "ra"), Key("usera", "")]
    assert refs.of(Key("user", "a")) == refs.of(Key("user", "a")) == Refs(b"key").of(Key("user", "a"))
    assert len({refs.of(key) for key in keys}) == len(keys)


def test_a_ref_can_not_be_computed_without_the_key() -> None:
    assert Refs(b"one").of(Key("user", "a")) != Refs(b"two").of(Key("user", "a"))
    assert Refs(b"one").of(Key("user", "a")) != Refs(b"").of(Key("user", "a"))


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-brings", TRACE),
        ("", None),
        ("00", None),
        (f"00-{TRACE}", None),
        (f"00-{TRACE}-b7ad6b7169203331", None),
        (f"00-{TRACE[:-1]}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}0-b7ad6b7169203331-01", None),
        (TRACE, None),
    ],
)
def test_the_trace_id_is_taken_out_of_a_traceparent(traceparent: str, expected: str | None) -> None:
    """W3C Trace Context section 3.2."""
    assert trace_id(traceparent) == expected


def test_a_json_line_has_time_level_and_event() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    logger().info("ready", listeners={"ops": "127.0.0.1:1"}, text='two\nlines "quoted"')
    logger().warning("odd")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2
    time = lines[0].pop("time")
    assert lines[0] == {
        "level": "info",
        "event": "ready",
        "listeners": {"ops": "127.0.0.1:1"},
        "text": 'two\nlines "quoted"',
    }
    assert datetime.fromisoformat(time).utcoffset() == timedelta(0)
    assert (lines[1]["level"], lines[1]["event"]) == ("warning", "odd")


def test_a_console_line_is_for_people() -> None:
    stream = io.StringIO()
    configure("info", "console", stream)
    logger().info("ready", port=1)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "ready" in line
    assert "port=1" in line
    assert "\x1b" not in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_shown(level: Level, shown: list[str]) -> None:
    stream = io.StringIO()
    configure(level, "json", stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(logger(), name)("event")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == shown


def test_logs_go_to_standard_error_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    logger().info("ready")
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["event"] == "ready"


def test_what_libraries_say_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure("debug", "json")
    logging.getLogger("some.library").error("SECRET")
    logging.getLogger("asyncio").error("SECRET")
    assert "SECRET" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "value", ["00-alice@example.org-and-some-more-text-x-01", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"]
)
def test_what_is_no_trace_id_is_not_logged(value: str) -> None:
    assert trace_id(value) is None
