"""The reference page of the handshake API: all of the document is on it, and its commands are the examples."""

import asyncio
import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from proxy import log
from proxy.api_reference import main, page, served
from tests.integration.test_openapi import Described, described

TWIN = "/v1/businesses/"
"""Below it are the same calls as for users, which the page has in full."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """To be looked at: a test that changes it makes a copy."""
    return asyncio.run(served())


def commands(text: str) -> dict[str, tuple[str, str, Any]]:
    """Of each call that the page has in full: method, target and body of its command."""
    found = {}
    for section in text.split("\n### `")[1:]:
        words = shlex.split(section.partition("```sh\n")[2].partition("\n```")[0])
        assert words[:2] == ["curl", "-s"]
        (url,) = (word for word in words if word.startswith("http://127.0.0.1:8081/"))
        body = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
        assert ("content-type: application/json" in words) == (body is not None)
        method = words[words.index("-X") + 1] if "-X" in words else "GET" if body is None else "POST"
        found[section.partition("`")[0]] = method, url.removeprefix("http://127.0.0.1:8081"), body
    return found


def named(call: Described) -> str:
    return f"{call.method} {call.path}"


async def test_every_command_is_the_example_of_its_call(document: dict[str, Any]) -> None:
    text = page(document)
    calls = [call for call in described(document) if not call.path.startswith(TWIN)]
    assert commands(text) == {
        named(call): (call.method, call.target, call.takes["example"] if call.takes else None)
        for call in calls
    }


async def test_every_answer_is_the_example_of_its_call(document: dict[str, Any]) -> None:
    sections = {section.partition("`")[0]: section for section in page(document).split("\n### `")[1:]}
    shown = {
        name: json.loads(block[1])
        for name, section in sections.items()
        if (block := re.search(r"```json\n(.*?)\n```", section, re.DOTALL))
    }
    assert shown == {
        named(call): call.gives["example"]
        for call in described(document)
        if call.gives is not None and not call.path.startswith(TWIN)
    }


async def test_every_link_leads_to_a_heading_or_an_anchor(document: dict[str, Any]) -> None:
    text = page(document)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    anchors |= set(re.findall(r'<a id="([^"]+)">', text))
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert len(links) > len(document["paths"])
    assert links <= anchors


async def test_every_failure_is_told(document: dict[str, Any]) -> None:
    text = page(document)
    for call in described(document):
        for status, answer in call.operation["responses"].items():
            told = (
                f"| {status} | {answer['description']}" in text
                or f"- {status}: {answer['description']}" in text
            )
            assert told or status.startswith("2"), (call.route, status)


async def test_calls_that_differ_from_the_others_are_told_in_full(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    changed["paths"]["/v1/businesses/exists"]["post"]["summary"] = "Something | else"
    text = page(changed)
    assert "Something | else.\n" in text
    assert {f"POST {TWIN}exists", f"POST {TWIN}ensure"} <= commands(text).keys()


async def test_what_is_neither_json_nor_nothing_is_named_by_its_type(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    content = changed["paths"]["/v1/users/ensure"]["post"]["responses"]["200"]["content"]
    content["text/html"] = content.pop("application/json")
    assert "\nAnswers 200, `text/html`.\n" in page(changed)


def test_check_tells_a_page_that_is_not_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "configure", lambda *_: None)  # it is the process's
    file = tmp_path / "api.md"
    assert main(["--check", str(file)]) == 1
    assert "is not what the OpenAPI document says: run `make docs`" in capsys.readouterr().err
    assert main([str(file)]) == 0
    assert main(["--check", str(file)]) == 0
