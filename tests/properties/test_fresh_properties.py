"""What memory calls fresh is what the policy calls a hit, whatever was done to memory before."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from proxy.core.policy import Asked, Hit, Limits, decide, usable_until
from store.entry import Entry, Key
from store.memory import MemoryTier, size_of
from store.slot import ROUNDING
from tests.unit.store.samples import NOW, entry

IDS = ("a", "b", "c", "d")
LIMITS = Limits(stale_while_revalidate=5.0, stale_if_error=20.0)
IDENTITIES = st.sampled_from(IDS)
VARIANTS = st.sampled_from(("", "", "", "v", "w"))
RESOURCES = st.sampled_from(("user", "user", "business"))
SECONDS = st.one_of(
    st.integers(0, 30).map(float),
    st.builds(
        lambda whole, more: max(0.0, whole + more),
        st.integers(0, 30),
        st.sampled_from((1e-6, -1e-6, 1e-4, -1e-4)),
    ),
    st.floats(0.0, 30.0),
)
SIZE = size_of(entry(Key("user", "a")))


class Freshness(RuleBasedStateMachine):
    """Memory with a few entities, of which there is mostly no room for all."""

    @initialize(room=st.integers(1, 12))
    def start(self, room: int) -> None:
        self.now = NOW
        self.store = MemoryTier(room * (SIZE + 300), clock=lambda: self.now, on_evict=lambda *_: None)

    def _put(self, one: Entry) -> None:
        self.store.put(one, usable_until(one, LIMITS, negative_ttl=2.0))

    @rule(
        resource=RESOURCES,
        identity=IDENTITIES,
        variant=VARIANTS,
        since=st.one_of(SECONDS, SECONDS.map(lambda seconds: -4 * seconds)),
        before=st.one_of(st.just(0.0), SECONDS),
        lifetime=SECONDS,
        kind=st.sampled_from(
            ("found", "found", "found", "absent", "absent with a body", "husk", "large", "empty")
        ),
    )
    def put(
        self,
        resource: str,
        identity: str,
        variant: str,
        since: float,
        before: float,
        lifetime: float,
        kind: str,
    ) -> None:
        items = {"absent": None, "husk": None, "large": b"x" * 100_000, "empty": b""}
        self._put(
            entry(
                Key(resource, identity, variant),
                items.get(kind, b"{}"),
                received_at=self.now - since,
                initial_age=before,
                lifetime=lifetime,
                absent=kind.startswith("absent"),
            )
        )

    @rule(identity=IDENTITIES, variant=VARIANTS)
    def put_again(self, identity: str, variant: str) -> None:
        held = self.store.get(Key("user", identity, variant))
        if held is not None:
            self._put(replace(held, version=held.version + 1))

    @rule(identity=IDENTITIES, variant=VARIANTS)
    def drop(self, identity: str, variant: str) -> None:
        self.store.drop(Key("user", identity, variant))

    @rule(identity=IDENTITIES)
    def discard(self, identity: str) -> None:
        self.store.discard(Key("user", identity))

    @rule(identity=IDENTITIES)
    def confirm(self, identity: str) -> None:
        held = self.store.get(Key("user", identity))
        if held is not None:
            self._put(held.confirmed(internal_id=f"id of {identity}", version=held.version))

    @rule(identity=IDENTITIES)
    def unconfirm(self, identity: str) -> None:
        self.store.unconfirm(Key("user", identity))

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(identity=IDENTITIES, variant=VARIANTS)
    def use(self, identity: str, variant: str) -> None:
        self.store.get(Key("user", identity, variant))

    @rule()
    def expire(self) -> None:
        self.store.count("user")

    @rule()
    def clear(self) -> None:
        self.store.clear()

    @rule(ids=st.lists(IDENTITIES, max_size=4))
    def ask(self, ids: list[str]) -> None:
        """For a bulk: all are hits, or there is none."""
        held = [self.store.look_at(Key("user", identity)) for identity in ids]
        slots = self.store.fresh("user", ids, self.now)
        each = [self.store.fresh("user", [identity], self.now) for identity in ids]
        assert (slots is not None) == (bool(ids) and None not in each)
        if slots is not None:
            found = [slot.entry for slot in slots]
            assert all(one is other for one, other in zip(found, held, strict=True))

    @invariant()
    def what_is_fresh_is_a_hit(self) -> None:
        for identity in IDS:
            held = self.store.look_at(Key("user", identity))
            slots = self.store.fresh("user", [identity], self.now)
            decision = decide(held, Asked(), LIMITS, self.now)
            if slots is not None:
                assert isinstance(decision, Hit)
                assert decision.entry is slots[0].entry is held
                assert held is not None
                assert held.received_at <= self.now
            elif isinstance(decision, Hit):
                # What seemed to come from the future when it was put, and what ends in this very moment.
                slot = self.store._plain["user"][identity]
                assert slot.fresh_until < NOW or decision.entry.ttl(self.now) <= 2 * ROUNDING

    @invariant()
    def the_index_has_what_has_no_variant_and_nothing_else(self) -> None:
        held = {key: self.store.look_at(key) for key in self.store._cache.plain_keys()}
        plain = {(key.resource, key.id): one for key, one in held.items() if not key.variant}
        indexed = {
            (resource, identity): slot.entry
            for resource, slots in self.store._plain.items()
            for identity, slot in slots.items()
        }
        assert indexed == plain
        assert all(one is not None for one in plain.values())


TestFreshness: Callable[[], object] = Freshness.TestCase
Freshness.TestCase.settings = settings(settings.get_profile("deep"), stateful_step_count=50)
