"""Table, chart and JSON say the same, and what is missing."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.peers import results
from bench.peers.chart import chart
from bench.peers.subjects import OURS, SUBJECTS
from bench.peers.table import aligned, tables
from tests.unit.bench.outcomes import outcome, whole

SVG = "{http://www.w3.org/2000/svg}"


def test_json_gives_back_what_was_written(tmp_path: Path) -> None:
    written = whole()
    results.write(written, tmp_path / "benchmark.json")
    read = results.read(tmp_path / "benchmark.json")
    assert list(read.results) == list(written.results)
    assert list(read.fetched) == list(written.fetched)
    assert list(read.figures) == list(written.figures)
    assert (read.machine, read.settings) == (written.machine, written.settings)
    assert (read.missing, read.skipped) == (written.missing, written.skipped)


def test_columns_are_aligned() -> None:
    assert aligned([["name", "CPU", "p50"], ["a longer name", "9.0", "12.25"]]) == [
        "name           CPU    p50",
        "a longer name  9.0  12.25",
    ]


def lines_of(title: str) -> dict[str, str]:
    parts = [part for part in tables(whole()).split("\n\n") if part.startswith(title)]
    assert len(parts) == 1
    return {line.split("  ")[1]: line for line in parts[0].splitlines()[1:]}


def test_a_line_has_every_figure() -> None:
    assert lines_of("GET hit (get-hit)")[OURS].split() == [
        OURS,
        "9.0",
        "111,111",
        "0.30",
        "1.25",
        "2.50",
        "66",
    ]


def test_large_bodies_are_counted_by_their_size() -> None:
    # 64 bodies are a GiB; 125 bodies a second are 2,000 MiB.
    assert lines_of("passed through, 16 MiB down")[OURS].split()[1:3] == ["512.0", "2,000"]


def test_a_subject_without_a_result_says_why() -> None:
    lines = lines_of("GET hit (get-hit)")
    assert lines["haproxy"].endswith("not installed (Debian package haproxy)")
    assert lines["squid"].split() == ["squid", "-"]
    assert list(lines) == list(SUBJECTS)


def test_the_zipf_workload_says_what_was_fetched() -> None:
    assert lines_of("Zipf bulks: 500 calls for 5,482 ids")["nginx"].split() == ["nginx", "494", "5,476"]


def test_an_empty_run_is_an_empty_text() -> None:
    assert tables(outcome()) == ""


@pytest.fixture
def drawn() -> ET.Element:
    return ET.fromstring(chart(whole()))  # noqa: S314 - the project's own


def test_bars_are_as_long_as_their_figures(drawn: ET.Element) -> None:
    bars = [float(bar.attrib["width"]) for bar in drawn.iter(f"{SVG}rect")]
    assert [bar / bars[0] for bar in bars] == pytest.approx([1.0, 9 / 8, 2.0], rel=0.01)
    assert [bar.attrib["class"] for bar in drawn.iter(f"{SVG}rect")] == ["floor", "ours", "peer"]


def test_every_bar_has_its_name_and_its_value_with_the_unit(drawn: ET.Element) -> None:
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"floor", "handshake-proxy", "nginx", "8.0 µs", "9.0 µs", "16.0 µs"} <= set(texts)
    assert "GET hit" in texts


def test_a_group_with_one_bar_and_one_of_large_bodies_are_not_drawn(drawn: ET.Element) -> None:
    groups = [text.text for text in drawn.iter(f"{SVG}text") if text.get("class") == "group"]
    assert groups == ["GET hit"]


def test_nothing_stands_outside_of_the_picture(drawn: ET.Element) -> None:
    _, _, width, height = (float(number) for number in drawn.attrib["viewBox"].split())
    for bar in drawn.iter(f"{SVG}rect"):
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) < width
    assert all(float(text.attrib["y"]) < height for text in drawn.iter(f"{SVG}text"))


def test_the_chart_can_be_read_in_the_dark_and_names_the_machine() -> None:
    text = chart(whole())
    assert "prefers-color-scheme: dark" in text
    assert "Some &lt;Processor&gt;" in text
