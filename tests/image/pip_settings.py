"""Makes a build in a container ask the package index that pip asks on this machine."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

_SECTIONS = {":env:": "global"}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def _listed() -> str:
    """What pip says of its settings."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def hosts() -> set[str]:
    """The package indexes that this pip asks."""
    urls = map(urlsplit, re.findall(r"https?://[^\s']+", _listed()))
    # Without its port and its password, if there is one: neither need stand where the name does.
    return {url.hostname for url in urls if url.hostname}


def places(directory: Path) -> dict[Path, Path]:
    """What a build has to see, and where: this pip's settings as a file, the files that they name, the certificates.

    The file is written into `directory`. Directories that serve as an index are left out, and pip passes over them.
    """
    parser = configparser.RawConfigParser()
    paths = {_CERTIFICATES} if _CERTIFICATES.exists() else set()
    for line in _listed().splitlines():
        name, _, quoted = line.partition("=")
        section, _, key = name.partition(".")
        section = _SECTIONS.get(section, section)
        value = str(ast.literal_eval(quoted))
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, key, value)
        paths.update(path for path in map(Path, value.split()) if path.is_absolute() and path.is_file())
    file = directory / "pip.conf"
    file.touch(mode=0o600)
    with file.open("w") as sink:
        parser.write(sink)
    return {file: Path("/etc/pip.conf"), **{path: path for path in paths}}
