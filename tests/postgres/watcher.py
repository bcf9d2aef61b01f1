"""Ends the server of a test run that was killed, and removes its files. A process of its own: it outlives the run."""

import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

_PATIENCE = 30.0
_POLL = 0.005


def main(directory: Path) -> None:
    """Wait for the run to end. One that has tidied up itself says so before."""
    if sys.stdin.buffer.read():
        return
    for process in psutil.process_iter():
        try:
            if str(directory / "data") in process.cmdline():  # a server's: its children have another
                process.send_signal(signal.SIGQUIT)
                _wait(process)
        except psutil.Error:
            continue
    shutil.rmtree(directory, ignore_errors=True)


def lives(process: psutil.Process) -> bool:
    """Whether it runs. One that has ended may stay listed: in a container nobody may ask how it ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(process: psutil.Process) -> None:
    end = time.monotonic() + _PATIENCE
    while lives(process) and time.monotonic() < end:
        time.sleep(_POLL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
