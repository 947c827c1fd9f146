"""Renders the real windows on phantoms, at one and at two pixels a point.

    python tools/screenshots.py --out docs/images          # what the README shows
    python tools/screenshots.py --out out/gallery --all    # laptop, 4K and every theme, too

Nothing is drawn for the pictures: each is the window as its user would see it, after its work is
done. Only phantoms are opened.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtWidgets import QWidget

    from viewer.widgets.main_window import MainWindow

_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture.

    Attributes:
        name: Of the file.
        play: Brings the window there and says what to grab; None for the window itself.
        size: Of the window, in points.
        theme: Its theme.
        shown: Whether it belongs into the README.
    """

    name: str
    play: Callable[[MainWindow, Path], QWidget | None]
    size: tuple[int, int] = (1280, 800)
    theme: str = "dark"
    shown: bool = False


def _start(_window: MainWindow, _studies: Path) -> None:
    """Nothing is open."""


def _read(window: MainWindow, studies: Path) -> None:
    window.session.open_path(studies / "first")
    _work(window)
    record = window.session.state.known_record
    assert record is not None
    assert record.result is not None
    window.session.set_slice(record.result.peak)


def _measured(window: MainWindow, studies: Path) -> None:
    from viewer.model.annotations import MeasureKind, Measurement, SliceKey

    _read(window, studies)
    state = window.session.state
    assert state.entry is not None
    header = state.entry.slices[state.slice_index]
    key, across, down = SliceKey.of(header), header.columns / 2, header.rows / 2
    for kind, points in (
        (MeasureKind.ELLIPSE, ((down - 20, across + 70), (down + 40, across + 120))),
        (MeasureKind.DISTANCE, ((down + 70, across - 120), (down + 70, across + 125))),
    ):
        window.session.annotations.add(Measurement(kind=kind, slice=key, points=points))
    window.session.annotations.toggle_key_image(key)


def _label(window: MainWindow, studies: Path) -> None:
    """A reader who agrees on the scan, and has said of some slices what they show."""
    _read(window, studies)
    session, desk = window.session, window.session.labels
    desk.set_reader("A. Reader")
    window.label_panel.set_reader(desk.reader)
    peak = session.state.slice_index
    for index in range(peak - 2, peak + 3):
        session.set_slice(index)
        desk.cycle_subtype("intraparenchymal")
    session.set_slice(2)
    desk.mark_slice(False)
    session.set_slice(peak)
    desk.judge_scan(True)
    desk.write_note("right basal ganglia")


def _read_first(window: MainWindow, studies: Path) -> None:
    window.session.set_options(reads_first=True)
    _read(window, studies)


def _compare(window: MainWindow, studies: Path) -> None:
    from viewer.widgets.layouts import Layout

    window.session.open_path(studies)
    _work(window)
    window.layouts.set_layout(Layout.COMPARE)


def _reformats(window: MainWindow, studies: Path) -> None:
    from viewer.widgets.layouts import Layout

    _read(window, studies)
    window.layouts.set_layout(Layout.REFORMATS)


def _worklist(window: MainWindow, studies: Path) -> None:
    window.studies.queue(studies)
    _work(window)
    window.studies.worklist.step(1)
    _work(window)
    window.session.set_slice(window.session.state.slice_count // 2)


def _settings(window: MainWindow, studies: Path) -> QWidget:
    _read(window, studies)
    window.show_settings()
    return _dialog(window)


def _keys(window: MainWindow, studies: Path) -> QWidget:
    _read(window, studies)
    window.show_cheat_sheet()
    return _dialog(window)


def _error(window: MainWindow, studies: Path) -> QWidget:
    empty = studies / "empty"
    empty.mkdir(exist_ok=True)
    window.session.open_path(empty)
    _work(window)
    return _dialog(window)


_LAPTOP, _4K = (1366, 768), (1920, 1080)
SCENES = (
    Scene(name="demo", play=_read, shown=True),
    Scene(name="start", play=_start, shown=True),
    Scene(name="reformats", play=_reformats, shown=True),
    Scene(name="two-series", play=_compare, shown=True),
    Scene(name="labels", play=_label, shown=True),
    Scene(name="worklist", play=_worklist, shown=True),
    Scene(name="settings", play=_settings, shown=True),
    Scene(name="error", play=_error, shown=True),
    Scene(name="measured", play=_measured),
    Scene(name="read-first", play=_read_first),
    Scene(name="keys", play=_keys),
    Scene(name="light", play=_read, theme="light"),
    Scene(name="high-contrast", play=_read, theme="high contrast"),
    Scene(name="laptop", play=_read, size=_LAPTOP),
    Scene(name="laptop-reformats", play=_reformats, size=_LAPTOP),
    Scene(name="4k", play=_read, size=_4K),
    Scene(name="4k-two-series", play=_compare, size=_4K),
)


def _dialog(window: MainWindow) -> QWidget:
    from PySide6.QtWidgets import QApplication, QDialog

    QApplication.processEvents()
    shown = [w for w in window.findChildren(QDialog) if w.isVisible()]
    return shown[-1]


def _work(window: MainWindow) -> None:
    """Waits until all that was asked for is done."""
    from PySide6.QtWidgets import QApplication

    end = time.monotonic() + _PATIENCE_S
    still = 0
    while still < 5:  # jobs start others
        QApplication.processEvents()
        time.sleep(0.02)
        still = 0 if window.session.jobs.is_any_busy() else still + 1
        if time.monotonic() > end:
            raise TimeoutError("the window's work does not end")


def _render(scene: Scene, studies: Path, out: Path, scale: int) -> None:
    """One picture, in a process of its own: Qt takes scale and theme at its start."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["QT_SCALE_FACTOR"] = str(scale)
    # Nothing of whoever runs this is shown, and nothing of theirs is touched.
    os.environ["SADMIL_DATA_DIR"] = tempfile.mkdtemp(dir=studies.parent)
    os.environ["SADMIL_CACHE_DIR"] = tempfile.mkdtemp(dir=studies.parent)
    from PySide6.QtCore import QSettings
    from PySide6.QtWidgets import QApplication

    from sadmil_core.modelstore import DEFAULT_MODEL
    from viewer.model.session import Session
    from viewer.qt_log import quiet_qt
    from viewer.settings import Settings
    from viewer.theme import Theme, apply_theme
    from viewer.widgets.main_window import MainWindow

    quiet_qt()
    app = QApplication([])
    apply_theme(app, Theme(scene.theme))
    settings = Settings(QSettings(str(studies.parent / "settings.ini"), QSettings.Format.IniFormat))
    window = MainWindow(Session(device="cpu"), settings)
    window.keeps_geometry = False
    window.session.choose_model(DEFAULT_MODEL)
    window.session.reads_unasked = True
    window.resize(*scene.size)
    window.show()
    _work(window)
    grabbed = scene.play(window, studies) or window
    _work(window)
    QApplication.processEvents()
    name = scene.name if scale == 1 else f"{scene.name}@{scale}x"
    path = out / f"{name}.png"
    if not grabbed.grab().save(str(path)):
        raise OSError(f"{path} could not be written")
    print(path, flush=True)
    window.session.close()
    os._exit(0)  # the picture is there; nothing of this process is wanted any more


def _make_studies(folder: Path) -> None:
    """Two phantoms, one with a bleed, as two studies."""
    import numpy as np

    from sadmil_core.synth.demo import DEMO_BLEED, DEMO_CONFIG, DEMO_SEED, write_phantom_study
    from sadmil_core.synth.phantom import make_phantom

    for name, seed, bleed in (("first", DEMO_SEED, DEMO_BLEED), ("second", DEMO_SEED + 1, None)):
        if not (folder / name).is_dir():
            phantom = make_phantom(np.random.default_rng(seed), DEMO_CONFIG, bleed=bleed)
            write_phantom_study(phantom, folder / name, seed=seed)


def main() -> int:
    """Renders what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--all", action="store_true", help="every scene, not the README's alone")
    parser.add_argument("--scales", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--only", default="", metavar="NAME")
    parser.add_argument("--studies", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    scenes = [
        s for s in SCENES if (s.name == chosen.only if chosen.only else chosen.all or s.shown)
    ]
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.studies is not None:
        _render(scenes[0], chosen.studies, chosen.out, chosen.scales[0])
        return 0
    with tempfile.TemporaryDirectory() as made:
        studies = Path(made) / "studies"
        studies.mkdir()
        _make_studies(studies)
        for scene in scenes:
            for scale in chosen.scales:
                words = ["--only", scene.name, "--scales", str(scale), "--studies", str(studies)]
                words += ["--out", str(chosen.out)]
                subprocess.run([sys.executable, __file__, *words], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
