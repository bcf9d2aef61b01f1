"""One request in, at most one request out, the same for every server that may read it (RFC 9112 section 11.2)."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile import corpus_claimed, corpus_framing, corpus_heads, corpus_targets
from tests.hostile.corpus import SMUGGLED, Expect
from tests.hostile.judge import Judge, cut
from tests.hostile.parsers import READERS, read
from tests.hostile.recorder import RecordingUpstream
from tests.integration.harness import running

CORPUS = {
    "lengths": corpus_framing.LENGTHS,
    "codings": corpus_framing.CODINGS,
    "chunks": corpus_framing.CHUNKS,
    "pipelines": corpus_framing.PIPELINES,
    "lines": corpus_heads.LINES,
    "hosts": corpus_heads.HOSTS,
    "connections": corpus_heads.CONNECTIONS,
    "versions": corpus_heads.VERSIONS,
    "targets": corpus_targets.TARGETS,
    "claimed": corpus_claimed.CLAIMED,
}
# Of each sample, beside the whole in one segment.
CUTS = 2 if os.environ.get("CI") else 1


def test_the_corpus_has_every_kind_and_no_name_twice() -> None:
    samples = [sample for group in CORPUS.values() for sample in group]
    assert len(samples) > 450
    assert {sample.expect for sample in samples} == set(Expect)
    assert not [name for name, times in Counter(sample.name for sample in samples).items() if times > 1]
    assert all(
        bool(s.sees) is (s.expect not in {Expect.REFUSED, Expect.BROKEN, Expect.UNFINISHED}) for s in samples
    )


def test_the_readers_differ_about_what_smuggles() -> None:
    """They would show a request that was smuggled."""
    both = (
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED
    )
    seen = {name: tuple(read(reader, both)[0]) for name, reader in READERS.items()}
    assert any(len(lines) > 1 for lines in seen.values())
    assert len(set(seen.values())) > 1
    plain = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + SMUGGLED
    assert {str(read(reader, plain)) for reader in READERS.values()} == {
        str(([(b"POST", b"/x", SMUGGLED)], ""))
    }
    folded = b"GET /x HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 35\r\n\r\n" + SMUGGLED
    assert len({str(read(reader, folded)[0]) for reader in READERS.values()}) > 1


@pytest.mark.parametrize("group", CORPUS)
async def test_what_goes_on_is_what_was_meant(group: str, tmp_path: Path) -> None:
    async with RecordingUpstream() as upstream, running(upstream.url, tmp_path) as proxy:
        judge = Judge(proxy, upstream)
        faults = [fault for sample in CORPUS[group] for fault in await judge.faults(sample, [sample.data])]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("group", CORPUS)
async def test_segments_change_nothing(group: str, tmp_path: Path) -> None:
    async with RecordingUpstream() as upstream, running(upstream.url, tmp_path) as proxy:
        judge = Judge(proxy, upstream)
        faults = [
            fault
            for sample in CORPUS[group]
            for pieces in cut(sample, CUTS)
            for fault in await judge.faults(sample, pieces)
        ]
    assert not faults, "\n".join(faults)
