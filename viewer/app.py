"""``sadmil-viewer``: the composition root, the only place that wires objects together."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import make_folder
from sadmil_core.errors import SadmilError
from sadmil_core.openmp import wait_passively
from viewer.logs import ProgramLog
from viewer.platform_check import PlatformError, has_screen, require_qt_libraries
from viewer.privacy import Scrubber

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from sadmil_core.devices import DeviceChoice, Precision
    from viewer.faults import FaultCatcher
    from viewer.widgets.main_window import MainWindow

_INTERRUPTED = 130  # as shells report Ctrl+C
_PATIENCE_S = 5.0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sadmil-viewer",
        description=f"Read a head CT beside the SA-DMIL model. {RESEARCH_USE_NOTICE}.",
    )
    parser.add_argument("path", nargs="?", type=Path, help="a file or folder of head CT to open")
    parser.add_argument("--demo", action="store_true", help="open the synthetic demo study")
    parser.add_argument("--model", default="", metavar="NAME|FILE", help="the model to read with")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where it runs"
    )
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument(
        "--snapshot",
        type=Path,
        metavar="PNG",
        help="render the window, wait for the model, save a picture and exit",
    )
    parser.add_argument(
        "--report", type=Path, metavar="CSV", help="with --snapshot: write the slice report too"
    )
    parser.add_argument(
        "--headless-out",
        type=Path,
        metavar="DIR",
        help="where there is no screen, write snapshot.png and slice_report.csv to DIR and exit",
    )
    parser.add_argument("--version", action="version", version=f"sadmil-viewer {__version__}")
    chosen = parser.parse_args(arguments)
    if chosen.report and not chosen.snapshot:
        parser.error("--report goes with --snapshot")
    if chosen.demo and chosen.path:
        parser.error("--demo opens its own study: give no path with it")
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """Runs the viewer; the console script's entry point.

    Args:
        arguments: The command line without the program's name; None for the process's own.

    Returns:
        0, or 1 where something failed.
    """
    chosen = _parse(arguments)
    wait_passively()
    scrubber = Scrubber()
    log = ProgramLog(scrubber)
    log.start()
    try:
        return _run(chosen, scrubber, log.crash)
    except SadmilError as error:
        print(f"sadmil-viewer: {error}", file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace, scrubber: Scrubber, crash: str) -> int:
    on_screen = has_screen() and chosen.snapshot is None
    if not on_screen:
        _prepare_offscreen(chosen)
    require_qt_libraries(on_screen=on_screen)
    # Only now: without their system libraries these imports fail with a riddle.
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from viewer.collecting import WindowThreadCollector
    from viewer.faults import crash_error
    from viewer.qt_log import quiet_qt
    from viewer.settings import Settings
    from viewer.theme import apply_theme

    quiet_qt()
    app = QApplication(sys.argv[:1])
    app.setApplicationName("sadmil-viewer")
    app.setApplicationVersion(__version__)
    apply_theme(app, Settings().theme)
    window = make_window(chosen.model, device=chosen.device, precision=chosen.precision)
    catcher = _catch_faults(window, scrubber)
    collector = WindowThreadCollector(window.session.jobs.is_any_busy)
    collector.start()
    if crash and on_screen:
        # Once the window is there, above it.
        QTimer.singleShot(0, partial(window.show_error, crash_error(crash)))
    try:
        return _show(app, window, chosen)
    finally:
        collector.stop()
        catcher.remove()


def make_window(
    model: str = "", *, device: DeviceChoice = "auto", precision: Precision = "fp32"
) -> MainWindow:
    """Builds the window and its session.

    Args:
        model: Name or file of a model; empty for the one chosen last, or the default.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``.

    Raises:
        CheckpointError: There is no such model.
    """
    from sadmil_core.checkpoint import read_header
    from sadmil_core.errors import CheckpointError
    from sadmil_core.modelstore import DEFAULT_MODEL, resolve_model
    from viewer.model.session import Session
    from viewer.settings import Settings
    from viewer.widgets.main_window import MainWindow

    settings = Settings()
    session = Session(device=device, precision=precision)
    name = model or settings.model or DEFAULT_MODEL
    if not model:
        try:
            resolve_model(name)
        except CheckpointError:
            name = DEFAULT_MODEL  # the one chosen last has been removed since
    else:
        read_header(resolve_model(name))
    window = MainWindow(session, settings)
    session.choose_model(name)
    return window


def _prepare_offscreen(chosen: argparse.Namespace) -> None:
    """Arranges for a picture instead of a window."""
    if chosen.snapshot is None:
        folder = chosen.headless_out
        if folder is None:
            raise PlatformError(
                "There is no screen to open a window on.",
                remedy="Use --snapshot PNG or --headless-out DIR to get a picture instead.",
            )
        make_folder(folder)
        print("No screen found: the window is rendered offscreen.")
        chosen.snapshot, chosen.report = folder / "snapshot.png", folder / "slice_report.csv"
    os.environ["QT_QPA_PLATFORM"] = "offscreen"


def _show(app: QApplication, window: MainWindow, chosen: argparse.Namespace) -> int:
    if chosen.snapshot is not None:
        from viewer.snapshot import Snapshot

        window.resize(1280, 800)
        task = Snapshot(window, chosen.snapshot, chosen.report)
        # Nobody reads here: the picture and the report are of what the model says.
        window.session.set_options(reads_first=False)
    window.show()
    if chosen.demo:
        window.session.open_demo()
    elif chosen.path is not None:
        window.session.open_path(chosen.path)
    elif chosen.snapshot is not None:
        task.finish()
    status = app.exec()
    if chosen.snapshot is not None:
        status = task.status
    if not window.session.jobs.wait_closed(_PATIENCE_S):
        # A thread hangs, on a dead network folder perhaps. All files are written whole or not
        # at all, so nothing is lost by not waiting for it.
        logging.shutdown()
        os._exit(status)
    return status


def _catch_faults(window: MainWindow, scrubber: Scrubber) -> FaultCatcher:
    """Shows faults to the user that Qt and Python would print and forget."""
    from PySide6.QtCore import QCoreApplication

    from viewer.faults import FaultCatcher

    session, catcher = window.session, FaultCatcher(window)
    catcher.caught.connect(session.report_fault)
    catcher.interrupted.connect(session.close)
    catcher.interrupted.connect(lambda: QCoreApplication.exit(_INTERRUPTED))
    catcher.install()
    session.changed.connect(lambda state: scrubber.learn(state.identities, state.root))
    return catcher


if __name__ == "__main__":
    sys.exit(main())
