"""Stories for the oracle of HTTP caching: what an origin has said, and an answer that is made of it."""

from dataclasses import dataclass
from email.utils import formatdate

from tests.properties.http_oracle import Contract, Oracle
from tests.properties.http_oracle_reading import Fields, date, line
from tests.properties.http_oracle_told import Asked, Exchange, Got

MINUTE = "Cache-Control: max-age=60"
NOW = 1_800_000_000.0
BODY = b"0123456789"


def on(seconds: float) -> str:
    return formatdate(NOW + seconds, usegmt=True)


def parsed(lines: tuple[str, ...]) -> Fields:
    return tuple((name, value.strip()) for name, _, value in (one.partition(":") for one in lines))


@dataclass(frozen=True)
class Fetch:
    """A request, and what the origin answers it."""

    said: tuple[str, ...] = (MINUTE,)
    asked: tuple[str, ...] = ()
    status: int = 200
    method: str = "GET"
    target: str = "/x"
    body: bytes = BODY
    delay: float = 0.0
    dated: bool = True
    stored: bool = True
    """Whether the cache has said that it stored it."""
    is_complete: bool = True


@dataclass(frozen=True)
class Reuse:
    """An answer to a later request that is made of the last answer of the origin, or of an earlier one."""

    after: float = 1.0
    asked: tuple[str, ...] = ()
    method: str = "GET"
    target: str = "/x"
    of: int = 0
    """Which of the origin's answers its fields are of: 0 the last one that was a GET, else a serial number."""
    fields_of: int = 0
    status: int | None = None
    body: bytes | None = None
    without: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()
    age: str | None = "right"
    fails: bool = False
    """Whether the origin has failed when it was asked."""


Story = tuple[list[Fetch | float], Reuse]


class Stage:
    """One target of one origin, and its clients."""

    def __init__(self, contract: Contract) -> None:
        self.oracle = Oracle(contract)
        self.now = NOW
        self.exchanges: list[Exchange] = []
        self.numbers = 0

    def asks(self, method: str, target: str, lines: tuple[str, ...]) -> Asked:
        self.numbers += 1
        asked = Asked(self.numbers, method, target, parsed(lines), self.now)
        self.oracle.asks(asked)
        return asked

    def fetch(self, one: Fetch) -> None:
        asked = self.asks(one.method, one.target, one.asked)
        serial = len(self.exchanges) + 1
        self.now += one.delay
        dated = (f"Date: {on(self.now - NOW)}",) if one.dated else ()
        fields = parsed((f"X-Serial: {serial}", *dated, *one.said))
        sent = (("Host", "origin"), *asked.fields)
        body = b"" if one.status == 304 or one.method == "HEAD" else one.body
        exchange = Exchange(
            serial,
            asked,
            one.method,
            sent,
            one.status,
            fields,
            body,
            asked.at,
            self.now,
            is_complete=one.is_complete,
        )
        self.exchanges.append(exchange)
        self.oracle.answers(exchange)
        if one.is_complete and one.status:
            note = (("Cache-Status", "x; fwd=uri-miss; stored"),) if one.stored else ()
            got = Got(asked, one.status, (*without_hop(fields), *note), body, self.now)
            assert not self.oracle.judge(got), "what is relayed is never forbidden"

    def reuse(self, one: Reuse) -> list[str]:
        self.now += one.after
        asked = self.asks(one.method, one.target, one.asked)
        if one.fails:
            self.oracle.answers(Exchange(99, asked, "GET", asked.fields, 503, (), b"", self.now, self.now))
        gets = [exchange for exchange in self.exchanges if exchange.status not in {0, 304} and exchange.body]
        of = self.exchanges[one.of - 1] if one.of else gets[-1]
        fields_of = self.exchanges[one.fields_of - 1] if one.fields_of else of
        gone = one.without | {"set-cookie", "age"}
        fields = [field for field in without_hop(fields_of.fields) if field[0].lower() not in gone]
        if one.age is not None:
            made = date(line(of.fields, "date") or "", NOW)
            since = self.now - (of.received_at if made is None else made)
            fields.append(("Age", str(int(since)) if one.age == "right" else one.age))
        body = of.body if one.body is None else one.body
        if asked.method == "HEAD":
            body = one.body or b""
        return self.oracle.judge(
            Got(asked, one.status or of.status, (*fields, *parsed(one.more)), body, self.now)
        )


def without_hop(fields: Fields) -> Fields:
    return tuple(field for field in fields if field[0].lower() not in {"connection", "x-conn"})


STRICT = Contract()


def judged(story: Story, contract: Contract = STRICT) -> list[str]:
    """What the oracle says of it."""
    stage, (events, reuse) = Stage(contract), story
    for event in events:
        if isinstance(event, Fetch):
            stage.fetch(event)
        else:
            stage.now += event
    return stage.reuse(reuse)


def said(*lines: str) -> list[Fetch | float]:
    """The origin has answered once, with these fields."""
    return [Fetch(lines)]
