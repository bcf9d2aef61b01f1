"""The circuit breaker: each row of its table, and all of them against a naive model."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.core.circuit import Circuit, Permit, State

WINDOW, OPEN_FOR = 10.0, 5.0


def a_circuit(failures: int = 3) -> Circuit:
    return Circuit(failures=failures, window=WINDOW, open_for=OPEN_FOR)


def admitted(circuit: Circuit, now: float) -> Permit:
    permit = circuit.admit(now)
    assert permit is not None
    return permit


def call(circuit: Circuit, now: float, *, ok: bool) -> None:
    circuit.record(admitted(circuit, now), now, ok=ok)


def opened(now: float = 0.0) -> Circuit:
    circuit = a_circuit(1)
    call(circuit, now, ok=False)
    assert circuit.state(now) == "open"
    return circuit


# closed


def test_a_closed_circuit_lets_any_number_of_calls_through() -> None:
    circuit = a_circuit()
    assert not any(admitted(circuit, 0.0).is_probe for _ in range(100))
    assert (circuit.state(0.0), circuit.retry_in(0.0)) == ("closed", 0.0)


def test_it_opens_with_the_last_of_so_many_failures_in_a_row() -> None:
    circuit = a_circuit()
    for _ in range(2):
        call(circuit, 0.0, ok=False)
        assert circuit.state(0.0) == "closed"
    call(circuit, 0.0, ok=False)
    assert circuit.state(0.0) == "open"


def test_a_success_forgets_the_failures_before_it() -> None:
    circuit = a_circuit()
    for _ in range(100):
        call(circuit, 0.0, ok=False)
        call(circuit, 0.0, ok=False)
        call(circuit, 0.0, ok=True)
    assert circuit.state(0.0) == "closed"


@pytest.mark.parametrize(("between", "state"), [(4.9, "open"), (5.0, "closed"), (60.0, "closed")])
def test_only_failures_within_the_window_count(between: float, state: State) -> None:
    circuit = a_circuit()
    for number in range(3):
        call(circuit, number * between, ok=False)
    assert circuit.state(2 * between) == state


def test_failures_that_are_spread_out_open_it_once_they_are_close() -> None:
    circuit = a_circuit()
    for now in (0.0, 9.0, 12.0):
        call(circuit, now, ok=False)
    assert circuit.state(12.0) == "closed"
    call(circuit, 18.0, ok=False)
    assert circuit.state(18.0) == "open"


def test_a_call_that_was_given_up_counts_neither_way() -> None:
    circuit = a_circuit(2)
    call(circuit, 0.0, ok=False)
    circuit.abandon(admitted(circuit, 0.0))
    assert circuit.state(0.0) == "closed"
    call(circuit, 0.0, ok=False)
    assert circuit.state(0.0) == "open"


# open


def test_an_open_circuit_refuses_everything_for_its_time() -> None:
    circuit = opened(100.0)
    for now in (100.0, 102.5, 104.999):
        assert circuit.admit(now) is None
        assert circuit.state(now) == "open"
        assert circuit.retry_in(now) == 105.0 - now


def test_its_time_is_constant() -> None:
    """What is refused meanwhile does not lengthen it, and neither does one outage after the other."""
    circuit, now = opened(), 0.0
    for _ in range(10):
        circuit.admit(now + OPEN_FOR - 0.001)
        now += OPEN_FOR
        call(circuit, now, ok=False)
        assert circuit.retry_in(now) == OPEN_FOR


def test_it_is_half_open_once_its_time_is_over_even_if_nobody_calls() -> None:
    circuit = opened()
    assert circuit.state(OPEN_FOR - 0.001) == "open"
    assert (circuit.state(OPEN_FOR), circuit.retry_in(OPEN_FOR)) == ("half_open", 0.0)


# half open


def test_one_probe_at_a_time_is_let_through() -> None:
    circuit = opened()
    assert admitted(circuit, OPEN_FOR).is_probe
    for later in (0.0, OPEN_FOR, 100 * OPEN_FOR):
        assert circuit.admit(OPEN_FOR + later) is None
        assert circuit.state(OPEN_FOR + later) == "half_open"
    assert circuit.retry_in(OPEN_FOR + 1) == OPEN_FOR - 1
    assert circuit.retry_in(100 * OPEN_FOR) == 0.0


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = opened()
    call(circuit, OPEN_FOR, ok=True)
    assert (circuit.state(OPEN_FOR), circuit.retry_in(OPEN_FOR)) == ("closed", 0.0)
    assert not admitted(circuit, OPEN_FOR).is_probe


def test_what_failed_before_does_not_count_after_it_was_closed() -> None:
    circuit = Circuit(failures=2, window=1000.0, open_for=OPEN_FOR)
    for _ in range(2):
        call(circuit, 0.0, ok=False)
    call(circuit, OPEN_FOR, ok=True)
    call(circuit, OPEN_FOR, ok=False)
    assert circuit.state(OPEN_FOR) == "closed"


def test_a_probe_that_fails_opens_it_for_its_time_from_then_on() -> None:
    circuit = opened()
    probe = admitted(circuit, OPEN_FOR)
    circuit.record(probe, OPEN_FOR + 3, ok=False)
    assert circuit.retry_in(OPEN_FOR + 3) == OPEN_FOR
    assert circuit.admit(2 * OPEN_FOR + 2) is None
    assert admitted(circuit, 2 * OPEN_FOR + 3).is_probe


def test_a_probe_that_fails_opens_it_however_long_ago_the_other_failures_were() -> None:
    circuit = a_circuit(2)
    for _ in range(2):
        call(circuit, 0.0, ok=False)
    call(circuit, 100 * WINDOW, ok=False)
    assert circuit.state(100 * WINDOW) == "open"


def test_after_a_probe_that_was_given_up_there_is_another_when_its_time_is_over() -> None:
    circuit = opened()
    circuit.abandon(admitted(circuit, OPEN_FOR))
    assert (circuit.state(OPEN_FOR + 1), circuit.retry_in(OPEN_FOR + 1)) == ("open", OPEN_FOR - 1)
    assert circuit.admit(2 * OPEN_FOR - 0.001) is None
    assert admitted(circuit, 2 * OPEN_FOR).is_probe


# results from before


@pytest.mark.parametrize("ok", [True, False])
def test_a_slow_call_of_before_says_nothing_to_an_open_circuit(ok: bool) -> None:
    circuit = a_circuit(1)
    slow = admitted(circuit, 0.0)
    call(circuit, 0.0, ok=False)
    circuit.record(slow, 4.0, ok=ok)
    assert (circuit.state(4.0), circuit.retry_in(4.0)) == ("open", 1.0)


@pytest.mark.parametrize("ok", [True, False])
def test_a_slow_call_of_before_says_nothing_to_a_half_open_circuit(ok: bool) -> None:
    circuit = a_circuit(1)
    slow = admitted(circuit, 0.0)
    call(circuit, 0.0, ok=False)
    probe = admitted(circuit, OPEN_FOR)
    circuit.record(slow, OPEN_FOR, ok=ok)
    circuit.abandon(slow)
    assert circuit.state(OPEN_FOR) == "half_open"
    circuit.record(probe, OPEN_FOR, ok=True)
    assert circuit.state(OPEN_FOR) == "closed"


def test_a_slow_call_of_before_says_nothing_to_a_circuit_that_is_closed_again() -> None:
    circuit = a_circuit(1)
    slow = admitted(circuit, 0.0)
    call(circuit, 0.0, ok=False)
    call(circuit, OPEN_FOR, ok=True)
    assert not circuit.is_current(slow)
    circuit.record(slow, OPEN_FOR, ok=False)
    assert circuit.state(OPEN_FOR) == "closed"


def test_a_permit_is_current_until_the_state_changes() -> None:
    circuit = a_circuit(2)
    permit = admitted(circuit, 0.0)
    call(circuit, 0.0, ok=False)
    assert circuit.is_current(permit)
    call(circuit, 0.0, ok=False)
    assert not circuit.is_current(permit)


def test_it_remembers_no_more_than_the_failures_that_matter() -> None:
    circuit = Circuit(failures=3, window=0.001, open_for=OPEN_FOR)
    for now in range(1000):
        call(circuit, float(now), ok=False)
    assert len(circuit._failed_at) == 3


@dataclass
class Flying:
    """A call under way: its permit, and how often the model had changed its state when it began."""

    permit: Permit
    changes: int
    is_probe: bool


class CircuitMachine(RuleBasedStateMachine):
    """A model that keeps everything that ever happened, and asks the plain questions of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.flying: list[Flying] = []
        self.changes = 0
        self.is_open = False
        self.opened_at = 0.0
        self.probed_at = float("-inf")
        self.results: list[tuple[float, bool]] = []
        """Of the calls since it was closed."""

    @initialize(failures=st.integers(1, 4))
    def start(self, failures: int) -> None:
        self.failures = failures
        self.circuit = a_circuit(failures)

    @property
    def probing(self) -> bool:
        return any(each.is_probe and each.changes == self.changes for each in self.flying)

    @property
    def probe_at(self) -> float:
        return max(self.opened_at, self.probed_at) + OPEN_FOR

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.5, OPEN_FOR, WINDOW]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        permit = self.circuit.admit(self.now)
        is_probe = self.is_open and not self.probing and self.now >= self.probe_at
        assert (permit is not None) == (is_probe or not self.is_open)
        if permit is None:
            return
        assert permit.is_probe == is_probe
        if is_probe:
            self.probed_at = self.now
            self.changes += 1
        self.flying.append(Flying(permit, self.changes, is_probe))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), ok=st.booleans())
    def end(self, data: Any, ok: bool) -> None:
        flown = self.taken(data)
        self.circuit.record(flown.permit, self.now, ok=ok)
        if flown.changes != self.changes:
            return
        if flown.is_probe:
            self.turn(is_open=not ok)
            return
        self.results.append((self.now, ok))
        last = self.results[-self.failures :]
        if len(last) == self.failures and all(not ok for _, ok in last) and self.now - last[0][0] < WINDOW:
            self.turn(is_open=True)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        flown = self.taken(data)
        self.circuit.abandon(flown.permit)
        if flown.is_probe and flown.changes == self.changes:
            self.changes += 1

    def taken(self, data: Any) -> Flying:
        return self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))

    def turn(self, *, is_open: bool) -> None:
        self.is_open = is_open
        self.changes += 1
        self.opened_at = self.now
        self.results.clear()

    @invariant()
    def says_what_it_is(self) -> None:
        if not self.is_open:
            expected: State = "closed"
        elif self.probing or self.now >= self.probe_at:
            expected = "half_open"
        else:
            expected = "open"
        assert self.circuit.state(self.now) == expected
        assert self.circuit.retry_in(self.now) == (
            max(0.0, self.probe_at - self.now) if self.is_open else 0.0
        )


TestCircuitMachine = CircuitMachine.TestCase
