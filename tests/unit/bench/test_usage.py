"""Processor time and memory as the kernel's files have them."""

from pathlib import Path

import pytest

from bench.peers.usage import cpu, peak_mib, spent


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, threads in {7: {7: 1_000, 8: 20}, 9: {9: 300}}.items():
        for thread, time in threads.items():
            task = tmp_path / str(pid) / "task" / str(thread)
            task.mkdir(parents=True)
            (task / "schedstat").write_text(f"{time} 69490 2\n")
        (tmp_path / str(pid) / "status").write_text(
            f"Name:\tserver\nVmHWM:\t   {pid * 1024} kB\nVmRSS:\t 1 kB\n"
        )
    return tmp_path


def test_all_threads_of_all_processes_count(proc: Path) -> None:
    assert cpu([7, 9], proc) == {"7/7": 1_000, "7/8": 20, "9/9": 300}


def test_a_process_that_has_ended_is_passed_over(proc: Path) -> None:
    assert cpu([7, 99], proc) == {"7/7": 1_000, "7/8": 20}
    assert peak_mib([7, 99], proc) == 7.0


def test_a_kernel_that_keeps_no_times_gives_none(proc: Path) -> None:
    (proc / "9" / "task" / "9" / "schedstat").unlink()
    assert cpu([9], proc) == {}


def test_a_thread_that_is_new_counts_whole_and_one_that_is_gone_does_not() -> None:
    assert spent({"1/1": 100, "1/2": 70}, {"1/1": 150, "1/3": 5}) == 55


def test_peaks_are_added_up(proc: Path) -> None:
    assert peak_mib([7, 9], proc) == 16.0
