"""The inputs that fuzzing has kept, played through their targets without a fuzzer; and what the targets notice."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fuzz import campaign, samples
from fuzz.targets import NAMES, load
from proxy.core.http import dates, directives, fields, ranges
from proxy.core.http.answering import Answered
from proxy.lane import _Watched
from proxy.ready import head
from proxy.representations import Representations
from store.entry import Entry

MOST = 300_000
"""Bytes of all that is kept: it is read with each run of the tests, and by people who look at a diff."""


def kept(name: str) -> list[bytes]:
    return [*samples.read(samples.CORPUS, name), *samples.read(samples.KEPT, name)]


def broken_by(name: str) -> Iterator[bytes]:
    """The inputs that are a finding."""
    target = load(name)
    for sample in kept(name):
        try:
            target.fuzz_one(sample)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            yield sample


# Each of the lane's is played through two servers, which takes seconds in all.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "lane")) for name in NAMES]
)
def test_no_input_that_was_kept_is_a_finding(name: str) -> None:
    assert len(samples.read(samples.CORPUS, name)) >= 5
    assert list(broken_by(name)) == []


def test_each_file_belongs_to_a_target_and_all_together_are_small() -> None:
    files = [*samples.CORPUS.glob("*"), *samples.KEPT.glob("*")]
    assert {file.name for file in files} <= {f"{name}.txt" for name in NAMES}
    assert sum(file.stat().st_size for file in files) < MOST


def _always(answer: object) -> Callable[..., object]:
    return lambda *_, **__: answer


_feed_data = _Watched.feed_data


def _forgetting_what_is_owed(parser: Any, data: bytes) -> object:
    parsed = _feed_data(parser, data)
    parser._connection._owed = 0
    return parsed


def _without_lines_of_a_body(_varying: object, request: bytes) -> bytes:
    return re.sub(rb"\r\nX-Request-Id:[ -~]*(?=\r\n)", b"", request)


_fresh = Representations.fresh


def _whatever_the_query(shelf: Representations, target: str, now: float) -> object:
    return _fresh(shelf, target.partition("?")[0], now)


def _as_it_is_stored(_face: object, entry: Entry, _entry: Entry, length: int, _now: float) -> bytes:
    return head(200, entry.headers, length)


def _without_stars(answer: Iterable[fields.RawField]) -> tuple[bytes, ...]:
    return tuple(sorted(set(fields.tokens(answer, b"vary"))))


def _the_older_bytes(*two: Any) -> object:
    return ranges.combined(*two[3:], *two[:3])


# What a mistake would do, and the target that has to see it.
MISTAKES: list[tuple[str, str, Any]] = [
    ("bulk_answer", "proxy.core.bulk.is_valid_id", _always(True)),
    ("bulk_answer", "proxy.core.bulk.AnswerShape._counts", _always(True)),
    ("bulk_answer", "proxy.core.bulk._check_utf8", _always(None)),
    (
        "bulk_answer",
        "fuzz.targets.bulk_answer.take_requested",
        lambda items, _: ({i.id: i for i in items}, set()),
    ),
    ("bulk_request", "proxy.core.bulk.is_valid_id", _always(True)),
    ("bulk_request", "proxy.core.bulk._ids_decoder", msgspec.json.Decoder(list[str | int])),
    (
        "cache_control",
        "proxy.core.http.directives.delta_seconds",
        lambda argument: int((argument or b"0")[:20]),
    ),
    ("cache_control", "proxy.core.http.directives.members", lambda value: value.split(b",")),
    ("cache_control", "proxy.core.http.directives._QUOTED", re.compile(rb'".*"', re.DOTALL)),
    ("cache_control", "proxy.core.http.directives._together", lambda arguments: arguments[0]),
    ("cache_control", "proxy.core.http.directives._TOKEN", re.compile(rb".+", re.DOTALL)),
    ("event", "proxy.core.events.is_valid_id", _always(True)),
    ("event", "proxy.core.events.as_version", lambda value: None if value is None else str(value)),
    ("event", "proxy.core.events._MEMBERS", ("type", "id", "version")),
    ("event", "proxy.core.events._check", _always(None)),
    ("fields", "proxy.core.http.fields._NEVER_LISTED", frozenset()),
    ("fields", "proxy.core.http.fields._HOP_BY_HOP", fields._HOP_BY_HOP - {b"te"}),
    ("fields", "proxy.core.http.storing._NOT_STORED", frozenset({b"age", b"content-length"})),
    ("freshness", "proxy.core.http.freshness._SHAREABLE", frozenset({b"public"})),
    ("freshness", "proxy.core.http.freshness._NO_STALE", frozenset({b"must-revalidate"})),
    ("freshness", "proxy.core.http.freshness._HEURISTIC_MOST", math.inf),
    ("freshness", "proxy.core.http.freshness._omitted", _always(frozenset())),
    ("freshness", "proxy.core.http.freshness._is_whole", lambda directives, name: name in directives),
    ("freshness", "proxy.core.http.freshness._sets_cookie", _always(False)),
    ("freshness", "proxy.core.http.freshness._initial_age", _always(0.0)),
    ("freshness", "proxy.core.http.freshness.is_storable", _always(True)),
    ("freshness", "proxy.core.http.freshness.nominated", _without_stars),
    (
        "freshness",
        "proxy.core.http.freshness.response_directives",
        lambda fields: (directives.parse(fields), False),
    ),
    ("freshness", "proxy.core.http.freshness._date", lambda _, received_at: received_at),
    ("http_date", "proxy.core.http.dates._HALF", 150),
    ("http_date", "proxy.core.http.dates._FORMS", dates._FORMS[:2]),
    ("http_date", "proxy.core.http.dates._FORMS", [re.compile(form.pattern) for form in dates._FORMS]),
    ("invalidation", "proxy.core.http.invalidation._NO_URI", re.compile(rb"[^\0-\xff]")),
    ("invalidation", "proxy.core.http.invalidation._is_of", _always(True)),
    ("invalidation", "proxy.core.http.invalidation._without_dots", lambda path: path),
    ("invalidation", "proxy.core.http.invalidation._NAMING", (b"location",)),
    ("json_lines", "proxy.core.json_lines._uuid", str),
    ("json_lines", "proxy.core.json_lines._DECODE_ERRORS", (UnicodeError,)),
    ("json_lines", "proxy.core.json_lines._fits_in_a_line", _always(True)),
    ("json_split", "proxy.core.json_split._decoder", json.JSONDecoder()),
    ("json_split", "proxy.core.json_split._is_end", lambda text, at, closing: text[at : at + 1] == closing),
    ("lane", "proxy.core.http.plain._ALL", {}),
    ("lane", "proxy.core.http.plain._WITH_BODY", {}),
    ("lane", "proxy.core.http.varying._ONCE", frozenset()),
    ("lane", "proxy.core.http.varying.Varying.without", _without_lines_of_a_body),
    ("lane", "proxy.representations.Representations.fresh", _whatever_the_query),
    ("lane", "proxy.web.plain.PlainOpaque.head_of", _as_it_is_stored),
    ("lane", "proxy.lane.Lane.has_room", _always(True)),
    ("lane", "proxy.lane.LaneConnection._is_free", _always(True)),
    ("lane", "proxy.lane._Watched.feed_data", _forgetting_what_is_owed),
    ("lane", "proxy.ready.Ready.is_current", _always(True)),
    ("lane", "proxy.ready.Ready.stands", _always(True)),
    ("lane", "proxy.tallies.Tally.count", _always(None)),
    ("lane", "store.slot.ROUNDING", -1.0),
    ("merge", "proxy.core.merge._decoder", json.JSONDecoder()),
    ("merge", "proxy.core.merge._Reader.end", _always(None)),
    ("merge", "proxy.core.merge._Reader._is_object", _always(False)),
    ("merge", "proxy.core.merge._rendered", lambda name, value: f"{name}{value}"),
    ("path_template", "config.path_template._DOTS", frozenset()),
    ("path_template", "config.path_template._CONTROL", re.compile("x^")),
    ("path_template", "config.path_template._segments_agree", lambda left, right: left == right),
    (
        "path_template",
        "config.path_template.PathTemplate.claims",
        lambda template, path: template.match(path) is not None,
    ),
    ("ranges", "fuzz.targets.ranges.combined", _the_older_bytes),
    ("ranges", "proxy.core.http.answering._of_part", lambda _, stored, body: Answered(206, [*stored], body)),
    ("ranges", "proxy.core.http.answering.if_range_holds", _always(True)),
    ("ranges", "proxy.core.http.ranges.Part.contains", _always(True)),
    ("ranges", "proxy.core.http.ranges._is_multipart", _always(False)),
    ("ranges", "proxy.core.http.ranges._is_strong_date", _always(True)),
    ("ranges", "proxy.core.http.ranges._STRONG_ETAG", re.compile(rb'(?:W/)?".*"')),
    ("ranges", "proxy.core.http.ranges._CONTENT_RANGE", re.compile(rb"bytes (\d+)-(\d+)/(\d+|\*)")),
    ("targeted", "proxy.core.http.targeted._BARE", frozenset()),
    ("targeted", "proxy.core.http.targeted._SECONDS", frozenset({b"max-age"})),
    ("targeted", "http_sf.util.COMPAT", True),
    ("targeted", "http_sf.dictionary.parse_params", _always({})),
    ("validation", "fuzz.targets.validation.is_about", _always(True)),
    ("validation", "fuzz.targets.validation.after_head", _always("update")),
    ("validation", "proxy.core.http.validation._opaque", lambda etag: etag),
    ("validation", "proxy.core.http.validation._WEAK", b""),
    ("validation", "proxy.core.http.validation._NOT_UPDATED", frozenset()),
    ("validation", "proxy.core.http.validation._OF_THE_TIME", frozenset()),
    ("validation", "proxy.core.http.validation.CONDITIONAL", frozenset()),
    ("variant", "fuzz.targets.variant._KEY", frozenset({b"tenant", b"lang", b"x"})),
    ("vary", "proxy.core.http.vary._CASELESS", frozenset()),
    ("vary", "proxy.core.http.vary._normal", lambda _, value: [value]),
    ("vary", "proxy.core.http.vary._normal", lambda _, value: sorted(value.split(b","))),
    ("vary", "proxy.core.http.vary.members", lambda value: value.split(b",")),
    ("vary", "proxy.core.http.vary.values", lambda *named: fields.values(*named) or [b""]),
    ("vary", "fuzz.targets.vary.nominated", _without_stars),
    ("webhook_fields", "proxy.signatures._ID_FORM", re.compile(rb"[ -~\xa1-\xff]{1,256}")),
    ("webhook_fields", "proxy.signatures._TIMESTAMP_FORM", re.compile(rb"[0-9]{1,16}")),
    ("webhook_fields", "proxy.signatures._MOST_SIGNATURES", 99),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "place", "mistake"), MISTAKES, ids=[f"{m[0]}-{m[1]}" for m in MISTAKES])
def test_a_mistake_in_the_program_is_seen(
    name: str, place: str, mistake: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(name)
    monkeypatch.setattr(place, mistake)
    assert any(True for _ in broken_by(name))


def test_what_is_kept_is_read_as_it_was_written_each_once_and_the_shortest_first(tmp_path: Path) -> None:
    odd = [b"\n\r\\'\"\0\xff", b"", b"a", b"a"]
    samples.write(tmp_path, "x", odd)
    assert samples.read(tmp_path, "x") == [b"", b"a", b"\n\r\\'\"\0\xff"]
    assert samples.read(tmp_path, "never written") == []


def test_a_finding_is_kept_and_the_campaign_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_command: Path, _seconds: int, *options: str) -> tuple[int, str]:
        (place,) = (option.partition("=")[2] for option in options if option.startswith("-artifact_prefix="))
        Path(f"{place}crash").write_bytes(b"the input")
        return 77, "#5\tNEW    cov: 3 ft: 4 corp: 1/1b"

    monkeypatch.setattr(samples, "KEPT", tmp_path)
    monkeypatch.setattr(campaign, "_fuzz", breaks)
    assert campaign.main(["--seconds", "1", "variant"]) == 1
    assert samples.read(tmp_path, "variant") == [b"the input"]
    assert "variant is broken by b'the input'" in capsys.readouterr().out


def test_a_campaign_without_findings_ends_with_0_and_a_fuzzer_that_fails_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(samples, "KEPT", tmp_path)
    monkeypatch.setattr(campaign, "_fuzz", lambda *_: (0, ""))
    assert campaign.main(["--seconds", "1", "variant"]) == 0
    monkeypatch.setattr(campaign, "_fuzz", lambda *_: (1, "no module named atheris"))
    with pytest.raises(RuntimeError, match="the fuzzer ended with 1"):
        campaign.main(["--seconds", "1", "variant"])
