"""The machine and the versions are told as they are."""

import platform

import pytest

from bench.peers.machine import first_version, line, model
from tests.unit.bench.outcomes import MACHINE


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("nginx version: nginx/1.22.1\n", "1.22.1"),
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n", "2.6.12"),
        ("varnishd (varnish-7.1.1 revision 7cee1c581bead20e88d101ab3d72afb29f14d87a)\n", "7.1.1"),
        ("Squid Cache: Version 5.7\nService Name: squid\n", "5.7"),
        ("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\n", "4.1.0"),
        ("", "unknown"),
    ],
)
def test_a_version_is_found_in_what_a_program_says(said: str, version: str) -> None:
    assert first_version(said) == version


def test_the_processor_is_named() -> None:
    assert (
        model("processor\t: 0\nmodel name\t: AMD EPYC 7763\nprocessor\t: 1\nmodel name\t: x\n")
        == "AMD EPYC 7763"
    )
    assert model("processor\t: 0\nBogoMIPS\t: 50.00\n") == platform.machine()


def test_the_line_has_place_and_versions() -> None:
    place = "Some <Processor>; cores: 2, the server on a core of its own; Linux 6.1"
    assert line(MACHINE) == f"{place}; Python 3.11.2, wrk 4.1.0, nginx 1.22.1"
