from __future__ import annotations

import gc
import itertools
import os
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings

from sadmil_core.dicom import VolumeLoad
from sadmil_core.paths import user_models_dir
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model
from viewer.model.exporting import Export, ExportKind
from viewer.model.session import Session
from viewer.settings import Settings
from viewer.theme import apply_theme
from viewer.widgets.main_window import MainWindow

os.environ["QT_QPA_PLATFORM"] = "offscreen"


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory):
    """No test reads or writes the settings of the user who runs it."""
    folder = str(tmp_path_factory.mktemp("settings"))
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, folder)


@pytest.fixture(scope="session")
def collected_rarely():
    """Python does not collect by itself from here on: a worker's thread must not end widgets."""
    gc.disable()
    yield itertools.count(1)
    gc.enable()


@pytest.fixture(autouse=True)
def collects_here(collected_rarely):
    """Garbage is collected between tests, on the window's thread, as the program does."""
    yield
    gc.collect(2 if next(collected_rarely) % 20 == 0 else 1)


@pytest.fixture(scope="session")
def qapp(qapp):
    apply_theme(qapp)
    return qapp


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    return "tiny"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_spot_study(tmp_path / "study")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat))


@pytest.fixture
def session(qapp, tiny: str):
    made = Session(device="cpu")
    made.choose_model(tiny)
    yield made
    end(made)
    assert not [t for t in threading.enumerate() if t.name.startswith("job")]


@pytest.fixture
def held_load(monkeypatch):
    """Holds the loading of slices until the event it gives is set."""
    gate, real = threading.Event(), VolumeLoad.run

    def run(self, progress, *, on_slice=None):
        while not gate.wait(0.005):
            progress(0, 12, "held")
        return real(self, progress, on_slice=on_slice)

    monkeypatch.setattr(VolumeLoad, "run", run)
    yield gate
    gate.set()


@pytest.fixture
def window(qtbot, session: Session, settings: Settings):
    made = MainWindow(session, settings)
    made.resize(1200, 760)
    qtbot.addWidget(made, before_close_func=lambda w: w.session.close())
    made.show()
    qtbot.waitExposed(made)
    return made


@pytest.fixture
def read_window(qtbot, window: MainWindow, study: Path):
    """A window with a study that has been read."""
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    assert window.session.state.result is not None
    return window


def end(session: Session) -> None:
    """Closes a session and sees its threads end."""
    session.close()
    assert session.jobs.wait_closed(10)
    session.jobs._pool.shutdown(wait=True)


def wait_until_idle(qtbot, session: Session) -> None:
    qtbot.waitUntil(lambda: not session.jobs.is_any_busy(), timeout=20_000)


def export_csv(session: Session, path: Path) -> None:
    """As the command line writes it: with UIDs."""
    session.exporter.start(Export(kind=ExportKind.CSV, path=path, names_patient=True))
