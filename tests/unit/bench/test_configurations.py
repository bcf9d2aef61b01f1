"""The templates are filled in, and this proxy takes its own."""

from pathlib import Path

import pytest

from bench.peers.subjects import OURS, OURS_SLOW, SUBJECTS, TEMPLATES, Place, configuration
from config.load import load

NAMES = ["nginx.conf", "haproxy.cfg", "varnish.vcl", "squid.conf", "handshake-proxy.yaml"]


def place(directory: Path, *, root: bool = False) -> Place:
    return Place(directory, port=4001, origin=4002, root=root)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(name: str, tmp_path: Path) -> None:
    text = configuration(name, place(tmp_path), lane="true").read_text()
    assert "${" not in text
    assert "4002" in text


def test_every_template_is_used() -> None:
    assert {path.name for path in TEMPLATES.iterdir() if path.suffix not in {".py", ""}} == set(NAMES)


def test_nginx_keeps_its_own_variables(tmp_path: Path) -> None:
    text = configuration("nginx.conf", place(tmp_path)).read_text()
    assert 'proxy_cache_key "$request_uri|$request_body";' in text


@pytest.mark.parametrize(("root", "line"), [(True, "user root;"), (False, "")])
def test_nginx_runs_its_worker_as_who_runs_it(tmp_path: Path, root: bool, line: str) -> None:
    text = configuration("nginx.conf", place(tmp_path, root=root)).read_text()
    assert ("user root;" in text) == bool(line)


def test_a_name_without_a_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="lane"):
        configuration("handshake-proxy.yaml", place(tmp_path))


@pytest.mark.parametrize(("name", "lane"), [(OURS, True), (OURS_SLOW, False)])
def test_the_proxy_takes_its_configuration(name: str, lane: bool, tmp_path: Path) -> None:
    command = SUBJECTS[name].command(place(tmp_path))
    config = load(Path(command[-1]), {})
    assert config.lane is lane
    assert config.resources["user"].single is not None
    assert config.resources["user"].bulk is not None
    assert str(config.upstreams["main"].url).rstrip("/") == "http://127.0.0.1:4002"


@pytest.mark.parametrize("name", [name for name, one in SUBJECTS.items() if one.program is not None])
def test_a_peer_is_started_with_its_file(name: str, tmp_path: Path) -> None:
    command = SUBJECTS[name].command(place(tmp_path))
    assert command[0] == SUBJECTS[name].program
    files = [word for word in command if Path(word).is_file()]
    assert len(files) == 1
    assert Path(files[0]).name in NAMES
