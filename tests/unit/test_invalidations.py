"""The last invalidations are kept by ref, and counted."""

from proxy.invalidations import Invalidations
from proxy.log import Refs
from proxy.metrics import Metrics
from store.entry import Key


def test_the_last_fifty_are_kept_the_newest_first_and_all_are_counted() -> None:
    metrics, refs, now = Metrics(), Refs(b"key"), iter(range(60))
    invalidations = Invalidations(metrics, refs, clock=lambda: float(next(now)))
    for number in range(60):
        invalidations.note(Key("user", f"person-{number}"), "erasure")
    recent = invalidations.recent()
    assert [each.at for each in recent] == [float(at) for at in range(59, 9, -1)]
    assert (recent[0].resource, recent[0].source) == ("user", "erasure")
    assert recent[0].ref == refs.of(Key("user", "person-59")), "as the log calls it"
    assert "person" not in repr(recent), "an id would outlive its erasure"
    counted = [sample.value for sample in metrics.snapshot() if sample.name == "invalidations_total"]
    assert counted == [60]
