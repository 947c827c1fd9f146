"""Work in several processes: all of it is done, and none goes on for a run that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sadmil_core.synth.pool import run_jobs, stopped

SCRIPT = """
from pathlib import Path
from sadmil_core.synth.pool import run_jobs
from tests.core.test_synth_pool import work
if __name__ == "__main__":
    jobs = {{n: (Path({folder!r}), n) for n in range(2)}}
    list(run_jobs(work, jobs, 2, lambda: None))
"""
PATIENCE_S = 60.0


def square(number: int) -> int:
    return number * number


def work(folder: Path, number: int) -> None:
    """Works until there is no need to, and says so."""
    (folder / f"{number}.pid").write_text(str(os.getpid()))
    while not stopped():
        time.sleep(0.02)
    (folder / f"{number}.stopped").touch()


def waited_for(*files: Path) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not all(file.is_file() for file in files):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers: int) -> None:
    jobs = {name: (number,) for number, name in enumerate("abcde")}
    found = list(run_jobs(square, jobs, workers, lambda: None))
    assert sorted(found) == [("a", 0), ("b", 1), ("c", 4), ("d", 9), ("e", 16)]


def test_what_a_run_is_told_ends_its_processes(tmp_path: Path) -> None:
    def tell() -> None:
        if waited_for(tmp_path / "0.pid", tmp_path / "1.pid"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(run_jobs(work, {n: (tmp_path, n) for n in range(2)}, 2, tell))
    assert (tmp_path / "0.stopped").is_file()
    assert (tmp_path / "1.stopped").is_file()


def test_no_process_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(folder=str(tmp_path)))
    root = Path(__file__).parents[2]
    run = subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": str(root)})
    assert waited_for(tmp_path / "0.pid", tmp_path / "1.pid")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert waited_for(tmp_path / "0.stopped", tmp_path / "1.stopped")
