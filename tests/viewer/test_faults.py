"""What happens when something breaks, and what two programs at once do to each other."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, QtMsgType
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QLabel, QPushButton

from sadmil_core.dicom import Identity
from sadmil_core.errors import WriteError
from sadmil_core.paths import log_dir, user_models_dir
from tests.tiny_model import write_tiny_model
from tests.viewer.conftest import wait_until_idle
from viewer.faults import FaultCatcher, crash_error
from viewer.log_folder import open_log_folder
from viewer.logs import ProgramLog
from viewer.model.jobs import UnexpectedError, unexpected
from viewer.privacy import Scrubber, names_of, scrub
from viewer.qt_log import _handle
from viewer.settings import Settings
from viewer.widgets.error_dialog import ErrorDialog
from viewer.widgets.model_dialog import ModelDialog

UID = "1.2.840.113619.2.55.3"
JANE = Identity(patient_name="DOE^JANE", patient_id="4711-A", accession_number="ACC9")


@pytest.fixture
def catcher(window):
    made = FaultCatcher(window)
    made.caught.connect(window.session.report_fault)
    made.install()
    yield made
    made.remove()


@pytest.fixture
def log(tmp_path):
    scrubber = Scrubber()
    scrubber.learn((JANE,), tmp_path / "DOE_JANE")
    made = ProgramLog(scrubber, tmp_path / "log")
    level = logging.getLogger().level
    made.start()
    yield made
    made.stop()
    logging.getLogger().setLevel(level)


def raise_fault(words: str = "broken") -> None:
    raise RuntimeError(words)


def call_hook(words: str = "broken") -> None:
    try:
        raise_fault(words)
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)


def shown(window) -> list[ErrorDialog]:
    return [dialog for dialog in window.findChildren(ErrorDialog) if dialog.isVisible()]


def test_a_fault_in_a_slot_is_shown_with_details_that_name_nobody(
    qtbot, read_window, catcher, monkeypatch
):
    state = read_window.session.state
    name = state.identity.patient_name.split("^")[0]
    path = state.entry.slices[0].path
    call_hook(f"{name} {state.entry.series_instance_uid} in {path}")
    (dialog,) = shown(read_window)
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    buttons = {button.text(): button for button in dialog.findChildren(QPushButton)}
    buttons["Copy details"].click()
    copied = QGuiApplication.clipboard().text()
    assert "RuntimeError" in copied
    assert "test_faults.py" in copied
    assert "in raise_fault" in copied
    for secret in (name, state.entry.series_instance_uid, path.name, str(path.parent)):
        assert secret not in copied
    buttons["Open log folder"].click()
    assert opened == [str(log_dir())]
    assert log_dir().is_dir()
    dialog.close()


def test_ordinary_errors_do_not_send_people_to_the_log(qtbot, window, tmp_path):
    window.session.open_path(tmp_path / "nothing")
    wait_until_idle(qtbot, window.session)
    (dialog,) = shown(window)
    assert "Open log folder" not in {b.text() for b in dialog.findChildren(QPushButton)}
    dialog.close()


def test_a_fault_that_comes_with_every_frame_is_told_once(qtbot, window, catcher):
    told = []
    catcher.caught.connect(told.append)
    for _ in range(50):
        call_hook()
    assert len(told) == 1
    (dialog,) = shown(window)
    dialog.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_on_another_thread_is_shown_by_the_window(qtbot, window, catcher):
    seen = []
    catcher.caught.connect(lambda _fault: seen.append(threading.get_ident()))
    thread = threading.Thread(target=raise_fault)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: bool(shown(window)))
    (dialog,) = shown(window)
    assert "RuntimeError" in dialog.findChild(QLabel).text()
    dialog.close()


def test_a_fault_while_something_is_thrown_away_is_told(qtbot, window, catcher):
    class Bad:
        def __del__(self) -> None:
            raise_fault()

    Bad()
    qtbot.waitUntil(lambda: bool(shown(window)))
    shown(window)[0].close()


def test_ctrl_c_ends_the_program_and_is_no_fault(window, catcher):
    told, ended = [], []
    catcher.caught.connect(told.append)
    catcher.interrupted.connect(lambda: ended.append(True))
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert (told, ended) == ([], [True])


def test_hooks_are_put_back(window):
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    catcher = FaultCatcher(window)
    catcher.install()
    assert sys.excepthook is not before[0]
    catcher.remove()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before


# -- the log --------------------------------------------------------------------------------------


def test_nothing_in_the_log_names_anybody(qapp, log, tmp_path):
    _handle(QtMsgType.QtWarningMsg, None, f"cannot open {tmp_path}/DOE_JANE/4711-A.dcm")
    try:
        raise_fault(f"Jane Doe, 4711-A, ACC9, {UID}, /home/jane.doe/scans/x.dcm")
    except RuntimeError:
        logging.getLogger("viewer").exception("while reading DOE^JANE")
    text = log.file.read_text()
    assert "qt: cannot open <folder>" in text
    assert "in raise_fault" in text
    lowered = text.lower()
    for secret in ("jane", "doe", "4711", "acc9", UID, "/home", str(tmp_path)):
        assert secret not in lowered


def test_the_log_rotates_and_stays_small(log):
    logger = logging.getLogger("viewer")
    for _ in range(60):
        logger.info("x" * 100_000)
    sizes = [path.stat().st_size for path in log.file.parent.glob("viewer.log*")]
    assert len(sizes) == 4
    assert sum(sizes) < 4_200_000


def test_a_second_program_has_a_log_of_its_own(tmp_path):
    first, second = (ProgramLog(Scrubber(), tmp_path) for _ in range(2))
    assert (first.file.name, second.file.name) == ("viewer.log", "viewer-2.log")
    first.stop()
    third = ProgramLog(Scrubber(), tmp_path)
    assert third.file.name == "viewer.log"
    second.stop()
    third.stop()


def test_without_a_place_for_a_log_the_program_goes_on(tmp_path):
    (tmp_path / "file").write_text("")
    log = ProgramLog(Scrubber(), tmp_path / "file" / "log")
    assert log.file is None
    log.start()
    log.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are other there")
def test_a_breakdown_of_the_interpreter_is_told_at_the_next_start(qtbot, window, tmp_path):
    code = (
        "import sys, faulthandler\n"
        "from pathlib import Path\n"
        "from viewer.logs import ProgramLog\n"
        "from viewer.privacy import Scrubber\n"
        "ProgramLog(Scrubber(), Path(sys.argv[1])).start()\n"
        "def break_down():\n"
        "    faulthandler._sigsegv()\n"
        "break_down()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGSEGV
    log = ProgramLog(Scrubber(), tmp_path)
    assert "in break_down" in log.crash
    again = ProgramLog(Scrubber(), tmp_path)  # of the same folder, while that one runs
    assert again.crash == ""
    window.show_error(crash_error(log.crash))
    (dialog,) = shown(window)
    assert "broke down" in dialog.findChild(QLabel).text()
    assert "in break_down" in dialog.text
    dialog.close()
    for each in (log, again):
        each.stop()
    third = ProgramLog(Scrubber(), tmp_path)
    assert third.crash == ""  # told once
    third.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"series {UID} is odd", "series <uid> is odd"),
        ("Doe, Jane", "<name>, <name>"),
        ("JANE_DOE", "<name>_<name>"),
        ("doeskin", "doeskin"),
        ("version 1.2.3.4", "version 1.2.3.4"),
        ("number 4711-A of ACC9", "number <name> of <name>"),
    ],
)
def test_scrubbing_knows_names_and_uids(text, expected):
    assert scrub(text, names=names_of([JANE])) == expected


def test_short_parts_of_names_are_no_names():
    assert names_of([Identity(patient_name="Li^A", patient_id="7")]) == {"Li^A"}


# -- two programs at once -------------------------------------------------------------------------


def test_two_programs_do_not_spoil_each_others_settings(tmp_path):
    file = tmp_path / "settings.ini"
    code = (
        "import sys, time\n"
        "from PySide6.QtCore import QSettings\n"
        "from viewer.settings import Settings\n"
        "from viewer.theme import Theme\n"
        "store = QSettings(sys.argv[1], QSettings.Format.IniFormat)\n"
        "settings = Settings(store)\n"
        # The last round makes the file longer: Qt takes a file of equal size, written within one
        # millisecond, for the one it knows.
        "for number in [*range(60), 1000]:\n"
        "    if sys.argv[2] == 'a':\n"
        "        settings.theme = Theme.LIGHT\n"
        "        settings.cine_hz = float(number)\n"
        "    else:\n"
        "        settings.model = f'model {number}'\n"
        "        settings.bindings = {'invert': [f'Ctrl+{number}'] * 50}\n"
        "    store.sync()\n"
        "    assert store.status() is QSettings.Status.NoError\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(file), who]) for who in "ab"]
    while any(each.poll() is None for each in running):
        # Whoever starts meanwhile finds a file that is whole.
        seen = Settings(QSettings(str(file), QSettings.Format.IniFormat)).bindings
        assert seen == {} or len(seen["invert"]) == 50
        time.sleep(0.01)
    assert [each.wait() for each in running] == [0, 0]
    kept = Settings(QSettings(str(file), QSettings.Format.IniFormat))
    assert (str(kept.theme), kept.cine_hz, kept.model) == ("light", 1000.0, "model 1000")
    assert kept.bindings == {"invert": ["Ctrl+1000"] * 50}


# -- the model before torch -----------------------------------------------------------------------


def test_the_models_card_is_shown_before_torch_is_loaded():
    header = write_tiny_model(user_models_dir() / "tiny.safetensors")
    code = (
        "import sys\n"
        "from PySide6.QtWidgets import QApplication, QLabel\n"
        "from viewer.app import make_window\n"
        "from viewer.widgets.model_dialog import ModelDialog\n"
        "app = QApplication([])\n"
        "window = make_window('tiny')\n"
        "window.show(); window.commands.action('about-the-model').trigger()\n"
        "app.processEvents()\n"
        "dialog = window.findChild(ModelDialog)\n"
        "assert dialog.isVisible()\n"
        "print('\\n'.join(label.text() for label in dialog.findChildren(QLabel)))\n"
        "print(window.model_box.toolTip())\n"
        "assert 'torch' not in sys.modules\n"
        "window.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.returncode == 0, done.stderr
    dialog, _, tip = done.stdout.partition("<p>")
    for said in (dialog, tip):
        for expected in ("tiny", header.model_sha256, "Licence", "Trained on", "not stated"):
            assert expected in said


def test_a_cards_texts_are_no_markup(qtbot, window):
    header = window.session.state.model.header
    dialog = ModelDialog(replace(header, name="<b>bold</b>"), window)
    dialog.copy()
    assert "Model: <b>bold</b>" in QGuiApplication.clipboard().text()
    formats = {label.textFormat().name for label in dialog.findChildren(QLabel)}
    assert "RichText" not in formats
    dialog.close()


def test_an_unexpected_error_is_logged_without_its_words(log):
    with pytest.raises(RuntimeError) as caught:
        raise_fault("DOE^JANE")
    assert isinstance(unexpected(caught.value), UnexpectedError)
    assert "in raise_fault" in log.file.read_text()
    assert "JANE" not in log.file.read_text()


def test_the_log_folder_is_in_the_help_menu(window, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    action = window.commands.action("open-log-folder")
    assert action in window.commands.menu("Help").actions()
    action.trigger()
    assert [Path(each) for each in opened] == [log_dir()]


def test_what_the_user_can_mend_is_told_as_that(window, catcher, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SADMIL_CACHE_DIR", str(tmp_path / "file"))
    try:
        open_log_folder()
    except WriteError as error:
        sys.excepthook(WriteError, error, error.__traceback__)
    (dialog,) = shown(window)
    assert "could not be made" in dialog.text
    assert "UnexpectedError" not in dialog.text
    dialog.close()
