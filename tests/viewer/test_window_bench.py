"""The benchmark of the window on tiny studies: that it measures what it says, never how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NAMES = {
    "drawing": ("latencies", 4),
    "stalls": ("stalls", 6),
    "planes": ("planes", 1),
    "cached": ("cached", 2),
    "memory": ("memory", 3),
}


@pytest.mark.parametrize("part", NAMES)
def test_each_part_measures_its_figures(part: str) -> None:
    """In a process of its own, as `sadmil bench` calls it."""
    if part == "memory" and not os.path.exists("/proc/self/status"):
        pytest.skip("resident memory is only known on Linux")
    found = run(part)[part]
    key, count = NAMES[part]
    figures = found[key]
    assert len(figures) == len({figure["name"] for figure in figures}) == count
    for figure in figures:
        assert figure["value"] > 0 or figure["unit"] == "ms"
        assert figure["holds"] == holds(figure)
    if part == "drawing":
        assert found["window_opens_without_torch"]
        assert all(comparison["ratio"] > 0 for comparison in found["slice_change"])
        assert all(figure["beside"] > 0 for figure in figures)


def holds(figure: dict) -> bool:
    value, limit = figure["value"], figure["limit"]
    if limit is None:
        return True
    return value >= limit if figure["at_least"] else value <= limit + 5e-4


def test_a_start_is_compared_with_a_bare_window() -> None:
    (comparison,) = run("starting", "--starts", "1")["starting"]["starting"]
    assert comparison["ours_ms"] > comparison["theirs_ms"] / 10 > 0
    assert comparison["limit"] == 1.5


def run(part: str, *words: str) -> dict:
    command = [sys.executable, "-m", "viewer.bench", part, "--slices", "24", "--pixels", "64"]
    command += ["--changes", "20"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
