"""Failures of a call, as problem details: which part of it, and what kind."""

import math
from collections.abc import Mapping

from proxy.core.problem import Fault, Problem
from proxy.entities import NotDurable, Nowhere, Outcome, Present, Unavailable
from proxy.metrics import Cache
from proxy.web.served import About

# An upstream that can't be reached now may be back as soon as this.
_RETRY_AFTER = 1


class Failed(Exception):
    """A call ends with this problem; `cache` is the word for the metrics, `about` for the log."""

    def __init__(self, problem: Problem, cache: Cache = "error", about: About = ()) -> None:
        super().__init__()
        self.problem = problem
        self.cache = cache
        self.about = about


STORE_FAILED = Problem(
    500, "The store failed: nothing was half-written, and the call may be made again. The log has the reason."
)


ERASURE_UNFINISHED = Problem(
    500,
    "The entity is erased, but bytes of it are still in the files of the store, which somebody reads for long. The "
    "proxy goes on trying; made again, this call answers 404 once nothing is left.",
)


def not_found(at: str) -> Failed:
    """Nothing is held under this id."""
    return Failed(Problem(404, f"Nothing is held under this {at.removeprefix('#/')}.", faults=(_absent(at),)))


def failure(parts: Mapping[str, Outcome], about: About) -> Failed | None:
    """What the outcomes of a call's parts come to, if they are not all there; `parts` by pointer into its body.

    A certain absence wins over a failure elsewhere: asking again would not help. Then comes our own failure.
    """
    absent = [at for at, outcome in parts.items() if isinstance(outcome, Nowhere)]
    if absent:
        faults = tuple(_absent(at) for at in absent)
        is_new = any(isinstance(outcome, Nowhere) and outcome.source == "miss" for outcome in parts.values())
        detail = f"The owner does not know: {_names(faults)}."
        return Failed(Problem(404, detail, faults=faults), "miss" if is_new else "negative", about)
    if any(isinstance(outcome, NotDurable) for outcome in parts.values()):
        return Failed(STORE_FAILED, about=about)
    failed = {at: outcome for at, outcome in parts.items() if isinstance(outcome, Unavailable)}
    return _unavailable(failed, about) if failed else None


def present(parts: Mapping[str, Outcome], about: About) -> dict[str, Present]:
    """The outcomes of a call's parts, all of which have to be there. Raises Failed."""
    failed = failure(parts, about)
    if failed is not None:
        raise failed
    return {at: outcome for at, outcome in parts.items() if isinstance(outcome, Present)}


def _unavailable(failed: Mapping[str, Unavailable], about: About) -> Failed:
    faults = tuple(Fault(at, f"could not be fetched: {_why(outcome)}") for at, outcome in failed.items())
    detail = f"The upstream gave no usable answer, and no local copy stands in for it: {_names(faults)}."
    wait = max(outcome.retry_after or 0.0 for outcome in failed.values())
    problem = Problem(503, detail, max(_RETRY_AFTER, math.ceil(wait)), faults)
    return Failed(problem, about=about)


def _why(outcome: Unavailable) -> str:
    reason = outcome.reason.replace("_", " ")
    return reason if outcome.status is None else f"{reason} (the upstream said {outcome.status})"


def _absent(at: str) -> Fault:
    return Fault(at, "was not found")


def _names(faults: tuple[Fault, ...]) -> str:
    return ", ".join(fault.name for fault in faults)
