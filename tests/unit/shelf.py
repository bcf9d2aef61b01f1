"""What is held of one opaque resource, over a memory of its own and a clock by hand."""

from email.utils import formatdate

from proxy.core.http.fields import RawField
from proxy.representations import Representations
from store.entry import Entry
from store.generation import Watch
from store.memory import MemoryTier
from tests.unit.store.samples import NOW

TARGET = "/a?x=1"
PART = 206


def of(**values: str) -> tuple[RawField, ...]:
    """Fields of a request."""
    return tuple((name.replace("_", "-").encode(), value.encode()) for name, value in values.items())


def date(seconds: float) -> bytes:
    return formatdate(NOW + seconds, usegmt=True).encode()


class Shelf:
    """Representations over a memory of their own, and a clock by hand."""

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.now = NOW
        self.memory = MemoryTier(max_bytes, clock=lambda: self.now, on_evict=lambda *_: None)
        self.held = Representations("page", self.memory, usable_until=lambda entry: entry.received_at + 1000)

    def entry(
        self,
        body: str,
        asked: tuple[RawField, ...] = (),
        *,
        vary: str = "",
        at: float = 0.0,
        made: bytes | None = None,
        status: int = 200,
        scope: str = "",
        target: str = TARGET,
    ) -> Entry:
        """The response to a request with these fields, received `at` so many seconds; `made`: its Date."""
        fields = [(b"Vary", vary.encode())] if vary else []
        fields += [] if made is None else [(b"Date", made)]
        key = self.held.key_of(target, asked, tuple(fields), status, scope)
        assert key is not None
        return Entry(
            key=key,
            item=body.encode(),
            received_at=NOW + at,
            lifetime=60.0,
            status=status,
            headers=tuple(fields),
        )

    def watch(self, target: str = TARGET) -> Watch:
        return self.held.watch(target)

    def put(self, entry: Entry) -> bool:
        """Keep a response of a call that nothing happened to."""
        seen = self.watch(entry.key.id)
        try:
            return self.held.put(entry, seen=seen)
        finally:
            seen.close()

    def whole(self, asked: tuple[RawField, ...] = (), *, scope: str = "", target: str = TARGET) -> str | None:
        found = self.held.select(target, asked, scope).whole
        return None if found is None else (found.item or b"").decode()

    def part(self, asked: tuple[RawField, ...] = (), *, scope: str = "") -> str | None:
        found = self.held.select(TARGET, asked, scope).part
        return None if found is None else (found.item or b"").decode()


EN, DE, NONE = of(lang="en"), of(lang="de"), of(lang="")
