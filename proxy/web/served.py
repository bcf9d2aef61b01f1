"""What a handler gives back: the answer, and the words for metrics and log."""

from msgspec import Struct

from proxy.messages import Answer, Reply
from proxy.metrics import Cache
from store.entry import Key

About = tuple[Key, ...]


class Served(Struct, frozen=True):
    """An answer, with the configured route that it came by and what the cache had to do with it."""

    answer: Answer
    route: str
    cache: Cache
    about: About = ()
    """The entities that the answer is about, for the log; none if they are many."""


def passed(answer: Answer, route: str, cache: Cache, about: About = ()) -> Served:
    """What the pass-through gave back: a reply of our own there is a failure that the proxy made itself."""
    return Served(answer, route, "error" if isinstance(answer, Reply) else cache, about)
