"""Cohorts that are killed while they are made: nothing is lost, nothing made twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sadmil_core.synth.phantom_cohort import phantom_cohort

PATIENCE_S = 120.0


def command(out: Path, hosts: Path | None) -> list[str]:
    kind = ["phantom", "--arm", "uniform"] if hosts is None else ["insert", "--hosts", str(hosts)]
    base = [sys.executable, "-m", "sadmil_core", "synth", *kind]
    return [*base, "--out", str(out), "--scans", "4", "--seed", "5", "--size", "96"]


def made(out: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads without blood."""
    out = tmp_path_factory.mktemp("heads") / "out"
    phantom_cohort(out, scans=2, seed=11, arm="natural", size=96, positive_share=0.0)
    return out / "scans"


@pytest.mark.parametrize("inserts", [False, True])
def test_a_kill_in_the_middle_costs_nothing(inserts: bool, heads: Path, tmp_path: Path) -> None:
    hosts = heads if inserts else None
    out, whole = tmp_path / "killed", tmp_path / "whole"
    running = subprocess.Popen(
        command(out, hosts),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    start = time.monotonic()
    while not list(out.glob("scans/scan-*")) and running.poll() is None:
        assert time.monotonic() - start < PATIENCE_S
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL  # it was killed before its end
    # Whole scans only: what a scan in the making has left is swept away, and made again.
    kept = {path: path.stat().st_mtime_ns for path in out.glob("scans/scan-*/series/*")}
    assert kept
    for each in (out, whole):
        done = subprocess.run(command(each, hosts), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert made(out) == made(whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
