"""The reference page."""

import re
from pathlib import Path

import pytest

from config.keys import keys, section_at
from config.load import load
from config.model import BulkConfig, Config, LogConfig
from config.reference import main, page


def test_the_page_has_every_key_with_its_variable() -> None:
    text = page()
    for key in keys(Config):
        if key.inner is None:
            assert f"| `{key.path[-1]}` |" in text
            assert f"`HANDSHAKE_{'__'.join(key.path).upper()}`" in text


def test_defaults_are_in_human_units() -> None:
    lines = {line.split("|")[-2].strip(): line for line in page().splitlines() if "| `HANDSHAKE_" in line}
    assert "| duration | `24h` |" in lines["`HANDSHAKE_RESOURCES__<NAME>__FRESHNESS__TTL`"]
    assert "| size | `64KiB` |" in lines["`HANDSHAKE_LIMITS__HEADER_BYTES`"]
    assert "| URL | required |" in lines["`HANDSHAKE_UPSTREAMS__<NAME>__URL`"]
    assert "| `json`, `console` | `json` |" in lines["`HANDSHAKE_LOG__FORMAT`"]


def test_the_examples_on_the_page_load(tmp_path: Path) -> None:
    (token := tmp_path / "token").write_text("token")
    examples = re.findall(r"```yaml\n(.*?)```", page(), re.DOTALL)
    assert examples
    for example in examples:
        (file := tmp_path / "example.yaml").write_text(re.sub(r"/run/secrets/\S+", str(token), example))
        load(file, {})
    (variables,) = re.findall(r"```sh\n(.*?)```", page(), re.DOTALL)
    load(None, dict(line.split("=", 1) for line in variables.splitlines()))


def test_check_tells_a_page_that_is_not_up_to_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "configuration.md"
    assert main(["--check", str(file)]) == 1
    assert main([str(file)]) == 0
    assert main(["--check", str(file)]) == 0
    file.write_text("old")
    assert main(["--check", str(file)]) == 1
    assert "run `make docs`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ((), Config),
        (("log",), LogConfig),
        (("resources", "user", "bulk"), BulkConfig),
        (("resources",), None),
        (("nope",), None),
        (("lane", "x"), None),
        (("lane",), None),
    ],
)
def test_the_section_at_a_path(path: tuple[str, ...], section: type | None) -> None:
    assert section_at(Config, path) is section
