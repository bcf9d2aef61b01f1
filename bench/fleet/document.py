"""What was simulated, as it is kept in docs/fleet.json."""

from pathlib import Path

import msgspec

from bench.fleet.load import Load
from bench.fleet.outcome import Outcome, Way


class Result(msgspec.Struct, frozen=True):
    """One fleet under one load."""

    way: Way
    replicas: int
    load: Load
    outcome: Outcome


class Document(msgspec.Struct, frozen=True):
    """All of a run. `sample`: users that were simulated."""

    sample: int
    seed: int
    results: list[Result]

    def of(self, way: Way, replicas: int, load: Load | None = None) -> Outcome | None:
        """The outcome of that fleet, if it was simulated; under the usual load unless told otherwise."""
        wanted = load or Load()
        for one in self.results:
            if (one.way, one.replicas, one.load) == (way, replicas, wanted):
                return one.outcome
        return None

    def replicas(self, load: Load | None = None) -> list[int]:
        """For how many replicas that load was simulated, in their order."""
        wanted = load or Load()
        return sorted({one.replicas for one in self.results if one.load == wanted})

    def write(self, file: Path) -> None:
        """Keep it."""
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, file: Path) -> "Document":
        """What was kept. Raises msgspec.DecodeError for what is none."""
        return msgspec.json.decode(file.read_bytes(), type=cls)
