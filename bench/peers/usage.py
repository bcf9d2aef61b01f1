"""What a server has used of the processor and of memory, as the kernel says (Linux only)."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_PROC = Path("/proc")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_ENDED = (FileNotFoundError, ProcessLookupError)
"""What reading about a process or thread raises that has just ended, as helpers of a server do."""
_USABLE = frozenset(os.sched_getaffinity(0))
"""Asked for once: this process leaves the server's core later."""


def processes(pid: int) -> list[int]:
    """A server's process and all below it: masters, workers, cache keepers."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu(pids: Iterable[int], proc: Path = _PROC) -> dict[str, int]:
    """Nanoseconds on a core so far, by thread: the first field of its schedstat, for /proc/PID/stat counts in ticks.

    Empty if the kernel does not keep it.
    """
    times = {}
    for pid in pids:
        with suppress(*_ENDED):
            for task in (proc / str(pid) / "task").iterdir():
                with suppress(*_ENDED):
                    times[f"{pid}/{task.name}"] = int((task / "schedstat").read_text().split()[0])
    return times


def spent(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """Nanoseconds between two readings; of threads that have ended in between nothing is known."""
    return sum(time - before.get(thread, 0) for thread, time in after.items())


def peak_mib(pids: Iterable[int], proc: Path = _PROC) -> float:
    """The most that was resident since `forget_peak`. What processes share is counted for each of them."""
    total = 0
    for pid in pids:
        with suppress(*_ENDED):
            found = _PEAK.search((proc / str(pid) / "status").read_text())
            total += int(found[1]) if found is not None else 0
    return total / 1024


def forget_peak(pids: Iterable[int]) -> None:
    """Count the peak from here on (proc(5), clear_refs)."""
    for pid in pids:
        with suppress(*_ENDED):
            (_PROC / str(pid) / "clear_refs").write_text("5")


def cores() -> tuple[set[int], set[int]]:
    """The server's core, and those of the load: the same if there is only one."""
    usable = sorted(_USABLE)
    return {usable[-1]}, set(usable[:-1]) or {usable[-1]}


@contextmanager
def on(chosen: set[int]) -> Iterator[None]:
    """Have what is started in here run on these cores, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
