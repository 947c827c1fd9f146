"""The main job with hands: open, scroll, window, measure, run, jump, disagree, export, quit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sadmil_core.data.manifest import read_manifest
from sadmil_core.synth.demo import ensure_demo_study
from tests.walkthrough.screen import Screen, program_on_screen, require_screen

SLICE = (0.22, 0.12, 0.60, 0.88)  # within the slice, clear of its frame
MIDDLE = (0.32, 0.42, 0.50, 0.62)
FRAME = (0.19, 0.08, 0.63, 0.93)
DECISION = (0.10, 0.92, 0.23, 1.0)
RUN = (0.715, 0.04, 0.755, 0.08)  # in the tool bar
LABELS = (0.0, 0.68, 0.19, 0.91)
SIGNAL, TEXT = "#ffb347", "#e4e8ec"
CHECKED = "#1d3a5c"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_screen()
    return ensure_demo_study(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def screen(tmp_path: Path, user_folders: Path) -> Iterator[Screen]:
    """The viewer, with nothing open; its model waits to be asked."""
    require_screen()
    settings = user_folders / "config" / "sadmil" / "sadmil-viewer.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[model]\nreads_unasked=false\n")
    (tmp_path / "out").mkdir()
    with program_on_screen(log=tmp_path / "log") as found:
        found.wait_for_window("sadmil-viewer")
        yield found
    assert "Traceback" not in (tmp_path / "log").read_text()


def open_by_keyboard(screen: Screen, folder: Path) -> None:
    screen.press("ctrl+o")
    screen.wait_for_window("Open a folder")
    screen.write(str(folder))
    screen.press("Return")
    screen.wait_for(lambda: (screen.part(SLICE) > 240).mean() > 0.05, "a skull")
    screen.wait_for_window("sadmil-viewer")


def run_model(screen: Screen) -> None:
    assert screen.share_of(SIGNAL, DECISION) == 0
    screen.wait_for(lambda: screen.share_of(TEXT, RUN) > 0.005, "that Run is possible")
    screen.press("ctrl+r")
    screen.wait_for(lambda: screen.share_of(SIGNAL, DECISION) > 0.3, "POSITIVE")


def see_and_undo_drawing(screen: Screen, before: NDArray[np.int16]) -> None:
    """A distance was drawn across the middle: it is there, and after an undo it is not."""

    def changed() -> float:
        return float((np.abs(screen.part(MIDDLE) - before).max(axis=2) > 50).mean())

    screen.wait_for(lambda: changed() > 0.01, "the measured distance")
    screen.press("Escape", "ctrl+z")
    screen.wait_for(lambda: changed() == 0, "that it is undone")


def read_scan(screen: Screen) -> None:
    """What every reading does, after a scan is open; asserts what is seen."""
    before = screen.part(SLICE)
    screen.press("3")  # the subdural window shows bone apart from brain: less is white
    assert (screen.part(SLICE) > 240).mean() < (before > 240).mean()
    screen.press("2")
    assert np.abs(screen.part(SLICE) - before).max() == 0
    run_model(screen)
    screen.press("Home")
    assert screen.share_of(SIGNAL, FRAME) < 0.001
    screen.press("n")
    screen.wait_for(lambda: screen.share_of(SIGNAL, FRAME) > 0.005, "the frame of a marked slice")


def disagree_and_export(screen: Screen, out: Path) -> None:
    """Says that the model is wrong about slice and scan, and takes all of it along."""
    calm = screen.share_of(CHECKED, LABELS)
    screen.press("shift+g", "ctrl+shift+g")
    screen.wait_for(lambda: screen.share_of(CHECKED, LABELS) > calm + 0.02, "the labels")
    screen.press("ctrl+shift+e")
    screen.wait_for_window("Export labels")
    screen.write(str(out / "labels.csv"))
    screen.press("Return")
    screen.wait_for((out / "labels.csv").is_file, "the labels' file")
    screen.wait_for_window("sadmil-viewer")
    screen.press("ctrl+e")
    screen.wait_for_window("Export")
    screen.press("alt+t", "alt+f")
    screen.write(str(out / "slices.csv"))
    screen.press("Return")
    screen.wait_for((out / "slices.csv").is_file, "the slice table")
    screen.wait_for_window("sadmil-viewer")


def check_exports(out: Path) -> None:
    (scan,) = read_manifest(out / "labels.csv").scans
    assert scan.label is False  # the model says positive
    said = [each.label for each in scan.slices]
    assert said.count(False) == 1
    assert said.count(None) == len(said) - 1
    with (out / "slices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(said)
    assert {row["scan_positive"] for row in rows} <= {"1", "True", "true"}


def quit_by_key(screen: Screen) -> None:
    screen.press("ctrl+q")
    assert screen.program.wait(20) == 0


def test_the_main_job_by_mouse_and_keys(screen: Screen, demo: Path, tmp_path: Path) -> None:
    open_by_keyboard(screen, demo)
    middle = ((SLICE[0] + SLICE[2]) / 2, (SLICE[1] + SLICE[3]) / 2)
    screen.click(*middle)
    before = screen.part(SLICE)
    screen.wheel(4)
    moved = screen.part(SLICE)
    assert np.abs(moved - before).max() > 50
    screen.wheel(-4)
    assert np.abs(screen.part(SLICE) - before).max() == 0
    before = screen.part(MIDDLE)
    screen.press("d")
    screen.drag((middle[0] - 0.05, middle[1]), (middle[0] + 0.05, middle[1] + 0.05))
    see_and_undo_drawing(screen, before)
    read_scan(screen)
    disagree_and_export(screen, tmp_path / "out")
    check_exports(tmp_path / "out")
    quit_by_key(screen)


def test_the_main_job_by_keys_alone(screen: Screen, demo: Path, tmp_path: Path) -> None:
    open_by_keyboard(screen, demo)
    before = screen.part(SLICE)
    screen.press("shift+Up")
    assert np.abs(screen.part(SLICE) - before).max() > 50
    screen.press("shift+Down")
    before = screen.part(MIDDLE)
    screen.press("d", "Return", "Return", "shift+Right", "shift+Right", "Return")
    see_and_undo_drawing(screen, before)
    read_scan(screen)
    disagree_and_export(screen, tmp_path / "out")
    check_exports(tmp_path / "out")
    quit_by_key(screen)


def test_what_was_said_is_there_after_a_kill(screen: Screen, demo: Path, tmp_path: Path) -> None:
    open_by_keyboard(screen, demo)
    run_model(screen)
    calm = screen.share_of(CHECKED, LABELS)
    screen.press("ctrl+b")
    screen.wait_for(lambda: screen.share_of(CHECKED, LABELS) > calm + 0.02, "the label")
    screen.program.kill()
    screen.program.wait(10)
    with program_on_screen(str(demo), log=tmp_path / "again") as again:
        again.wait_for_window("sadmil-viewer")
        again.wait_for(lambda: (again.part(SLICE) > 240).mean() > 0.05, "a skull")
        again.wait_for(lambda: again.share_of(CHECKED, LABELS) > calm + 0.02, "the label again")
