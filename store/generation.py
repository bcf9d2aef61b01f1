"""The fence between what is under way and what happens meanwhile.

An invalidation, an erasure or a newer write during a flight wins over what the flight brings, and what is asked after
an invalidation joins no flight from before it. Whoever begins something that takes time watches its keys, and asks at
the end whether they still stand as they stood.
"""

from collections.abc import Iterable

from store.entry import Key

_Name = tuple[str, ...]
"""A key, or its first two members: what happens to those happens to every variant."""


class _Watched:
    """A key or an entity that is watched."""

    __slots__ = ("changed_at", "watches")

    def __init__(self) -> None:
        self.watches = 0
        self.changed_at = 0


class Generations:
    """Counts changes of what is watched, and remembers nothing of anything else. For one thread."""

    def __init__(self) -> None:
        self._now = 0  # goes up by one with each change that counts
        self._watched: dict[_Name, _Watched] = {}

    def __len__(self) -> int:
        """Keys and entities that are watched."""
        return len(self._watched)

    def watch(self, keys: Iterable[Key]) -> "Watch":
        """Somebody begins something: from here on changes of these keys are counted, until the watch is closed."""
        return Watch(self._watched, keys, self._now)

    def changed(self, key: Key) -> None:
        """Exactly this key was written, its variant included."""
        self._count(key)

    def invalidated(self, key: Key) -> None:
        """Every variant of this entity was dropped."""
        self._count(key[:2])

    def all_changed(self) -> None:
        """Nothing stands as it stood."""
        self._now += 1
        for watched in self._watched.values():
            watched.changed_at = self._now

    def _count(self, name: _Name) -> None:
        watched = self._watched.get(name)
        if watched is not None:
            self._now += 1
            watched.changed_at = self._now


class Watch:
    """What `Generations.watch` gives. Close it, or what it watches is remembered for ever."""

    __slots__ = ("_began", "_names", "_watched")

    def __init__(self, watched: dict[_Name, _Watched], keys: Iterable[Key], began: int) -> None:
        self._watched = watched
        self._began = began
        self._names: set[_Name] = set()
        for key in keys:
            self._names.add(key)
            self._names.add(key[:2])
        for name in self._names:
            found = watched.get(name)
            if found is None:
                found = watched[name] = _Watched()
            found.watches += 1

    def is_current(self, key: Key) -> bool:
        """Whether nothing has changed since the watch began. False, too, of a key that is not watched, and after
        `close`: what is not counted is not known."""
        for name in (key, key[:2]):
            if name not in self._names or self._watched[name].changed_at > self._began:
                return False
        return True

    def close(self) -> None:
        """Count nothing for this watch any more. Idempotent."""
        for name in self._names:
            watched = self._watched[name]
            watched.watches -= 1
            if not watched.watches:
                del self._watched[name]
        self._names = set()
