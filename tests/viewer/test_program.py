"""The program as a user starts it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sadmil_core.paths import user_models_dir
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model
from viewer import platform_check
from viewer.platform_check import PlatformError, require_qt_libraries
from viewer.privacy import scrub


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-m", "viewer", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=variables | environment,
    )


def test_snapshot_reads_the_scan_and_saves_picture_and_report(study, tmp_path):
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    picture, report = tmp_path / "window.png", tmp_path / "slices.csv"
    done = start(
        str(study),
        "--model",
        "tiny",
        "--device",
        "cpu",
        "--snapshot",
        str(picture),
        "--report",
        str(report),
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert report.read_text().count("\n") == 13
    assert str(picture) in done.stdout
    assert done.stderr == ""


def test_without_a_screen_the_main_job_is_done_offscreen(study, tmp_path):
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    done = start(str(study), "--model", "tiny", "--headless-out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"snapshot.png", "slice_report.csv"}
    assert "No screen" in done.stdout


def test_without_a_screen_and_without_a_wish_it_says_what_to_do(study):
    done = start(str(study), QT_QPA_PLATFORM="")
    if sys.platform.startswith("linux"):
        assert done.returncode == 1
        assert "no screen" in done.stderr
        assert "--snapshot" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["/no/such/folder", "--snapshot", "x.png"], 1, "does not exist"),
        (["--model", "nobody", "--snapshot", "x.png"], 1, "no model or file 'nobody'"),
        (["--report", "x.csv"], 2, "--report goes with --snapshot"),
        (["--demo", "somewhere"], 2, "give no path"),
    ],
)
def test_wrong_calls_end_with_a_line_and_a_status(arguments, status, said, tmp_path):
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    if "--model" not in arguments:
        arguments = [*arguments, "--model", "tiny"]
    done = subprocess.run(
        [sys.executable, "-m", "viewer", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_that_cannot_be_written_is_an_error(study, tmp_path):
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    done = start(str(study), "--model", "tiny", "--snapshot", str(tmp_path / "no" / "x.png"))
    assert done.returncode == 1
    assert "could not be written" in done.stderr


def test_the_window_is_visible_before_torch_is_loaded():
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    code = (
        "import sys\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from viewer.app import make_window\n"
        "app = QApplication([])\n"
        "window = make_window('tiny')\n"
        "window.show(); app.processEvents()\n"
        "assert window.isVisible()\n"
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


def test_missing_system_libraries_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(platform_check.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(platform_check, "_loads", lambda library: "xcb-cursor" not in library)
    require_qt_libraries(on_screen=False)
    with pytest.raises(PlatformError) as caught:
        require_qt_libraries(on_screen=True)
    assert "sudo apt-get install libxcb-cursor0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_file_of_the_program_is_found_in_a_checkout():
    from sadmil_core.paths import resource_path

    assert Path(resource_path("models")).is_dir()
    with pytest.raises(FileNotFoundError):
        resource_path("models", "no-such-file")


def test_a_picture_name_the_system_refuses_ends_the_program(study, tmp_path):
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    done = start(str(study), "--model", "tiny", "--snapshot", str(tmp_path / ("x" * 300)))
    assert done.returncode == 1
    assert "could not be written" in done.stderr


def test_a_snapshot_without_a_result_is_a_failure_that_says_why(tmp_path):
    write_tiny_model(user_models_dir() / "tiny.safetensors")
    study = write_spot_study(tmp_path / "one", slices=1, bleeding=())
    done = start(str(study), "--model", "tiny", "--snapshot", str(tmp_path / "x.png"))
    assert done.returncode == 1
    assert "at least 2" in done.stderr
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("/data/DOE_JANE/ct/0001.dcm is damaged", "is damaged", "DOE_JANE"),
        ("'/srv/x/DOE JANE 1970/scan' does not exist", "does not exist", "JANE"),
        ("/srv/x/DOE JANE 1970/scan/DOE JANE/IM1.dcm is damaged", "is damaged", "JANE"),
        ("C:\\Users\\Max Muster\\CT Kopf\\1.dcm", "<folder>", "Muster"),
        (r"C:\\scans\\DOE^JANE\\1.dcm", "<folder>", "JANE"),
        ('File "/opt/viewer/model/session.py", line 9', "session.py", "/opt/viewer"),
    ],
)
def test_folders_are_scrubbed_from_what_is_copied(text, kept, gone):
    scrubbed = scrub(text, Path("/srv/x/DOE JANE 1970/scan"))
    assert kept in scrubbed
    assert gone not in scrubbed
