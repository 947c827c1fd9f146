from __future__ import annotations

import csv
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PySide6.QtCore import QThread, QTimer
from typer.testing import CliRunner

from sadmil_core.cli.app import app
from sadmil_core.display import DisplayWindow
from sadmil_core.paths import user_models_dir
from sadmil_core.predict import Predictor
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model
from tests.viewer.conftest import export_csv, wait_until_idle
from viewer.model.lanes import SCORING
from viewer.model.session import Session


@pytest.fixture
def held(monkeypatch):
    """Holds the model's work until released; counts how often it started."""
    gate, started = threading.Event(), threading.Semaphore(0)
    real = Predictor.run

    def run(self, volume, progress):
        started.release()
        while not gate.wait(0.005):
            progress(0, 1, "held")
        return real(self, volume, progress)

    monkeypatch.setattr(Predictor, "run", run)
    yield gate, started
    gate.set()


def wait_started(qtbot, started) -> None:
    qtbot.waitUntil(lambda: started.acquire(blocking=False), timeout=20_000)


def test_opening_a_folder_loads_its_series_and_reads_it(qtbot, session, study):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    state = session.state
    assert state.slice_count == 12
    assert state.volume is not None
    # Files are numbered from the head: only the order by position puts value i in slice i.
    assert [int(hu[0, 0]) for hu in state.volume.hu] == list(range(12))
    assert state.slice_index == 5
    assert state.result is not None
    assert state.result.scan_positive
    assert np.flatnonzero(state.result.slice_positive).tolist() == [5, 6, 7]


def test_states_arrive_on_the_gui_thread(qtbot, session, study):
    threads = set()
    session.changed.connect(lambda _state: threads.add(QThread.currentThread()))
    session.open_path(study)
    wait_until_idle(qtbot, session)
    assert threads == {session.thread()}


def test_events_are_handled_while_the_model_runs(qtbot, session, study, held):
    gate, started = held
    session.open_path(study)
    wait_started(qtbot, started)
    fired = []
    for delay in range(0, 100, 10):
        QTimer.singleShot(delay, lambda: fired.append(1))
    qtbot.waitUntil(lambda: len(fired) == 10, timeout=5_000)
    session.step_slice(1)
    assert session.state.slice_index == 6
    assert session.jobs.is_busy(SCORING)
    assert session.state.result is None
    gate.set()
    wait_until_idle(qtbot, session)
    assert session.state.result is not None


def test_cancelling_the_model_leaves_no_result_and_run_starts_it_again(qtbot, session, study, held):
    gate, started = held
    session.open_path(study)
    wait_started(qtbot, started)
    session.cancel()
    wait_until_idle(qtbot, session)
    assert session.state.result is None
    assert session.state.scoring is None
    assert "cancelled" in session.state.notice
    gate.set()
    session.run_model()
    wait_until_idle(qtbot, session)
    assert session.state.result is not None


def test_a_newer_study_drops_the_older_answer(qtbot, session, study, held, tmp_path):
    gate, started = held
    other = write_spot_study(tmp_path / "other", slices=9, bleeding=(), seed=2)
    session.open_path(study)
    wait_started(qtbot, started)
    session.open_path(other)
    wait_started(qtbot, started)
    gate.set()
    wait_until_idle(qtbot, session)
    assert session.state.slice_count == 9
    assert len(session.state.records) == 1
    assert session.state.result is not None
    assert len(session.state.result.attention) == 9
    assert not session.state.result.scan_positive


def test_changing_the_model_puts_the_old_result_away(qtbot, session, study):
    write_tiny_model(user_models_dir() / "stern.safetensors", name="stern", bias=-40.0)
    session.open_path(study)
    wait_until_idle(qtbot, session)
    assert session.state.result.scan_positive
    session.choose_model("stern")
    assert session.state.result is None
    wait_until_idle(qtbot, session)
    assert session.state.result.model.model_id == "stern"
    assert not session.state.result.scan_positive


def test_a_model_for_phantoms_is_not_started_unasked_on_a_patient(qtbot, session, study):
    write_tiny_model(user_models_dir() / "toy.safetensors", name="toy", phantoms_only=True)
    session.choose_model("toy")
    session.open_path(study)
    wait_until_idle(qtbot, session)
    assert session.state.volume is not None
    assert session.state.record is None
    assert "Not scored: press Run" in session.state.notice
    session.run_model(asked=True)
    wait_until_idle(qtbot, session)
    assert "MODEL_FOR_PHANTOMS" in session.state.record.warning_codes


def test_a_model_for_phantoms_reads_a_phantom_at_once(qtbot, session, tmp_path):
    write_tiny_model(user_models_dir() / "toy.safetensors", name="toy", phantoms_only=True)
    session.choose_model("toy")
    session.open_path(write_spot_study(tmp_path / "phantom", patient=False))
    wait_until_idle(qtbot, session)
    assert session.state.result is not None
    assert "MODEL_FOR_PHANTOMS" not in session.state.record.warning_codes


def test_going_back_to_a_model_brings_its_result_back_at_once(qtbot, session, study):
    write_tiny_model(user_models_dir() / "stern.safetensors", name="stern", bias=-40.0)
    session.open_path(study)
    wait_until_idle(qtbot, session)
    first = session.state.result
    session.choose_model("stern")
    wait_until_idle(qtbot, session)
    session.choose_model("tiny")
    assert session.state.result is first
    assert not session.jobs.is_any_busy()


def test_a_series_that_has_changed_on_disk_is_not_shown_with_its_old_result(
    qtbot, session, tmp_path
):
    folder = tmp_path / "two"
    write_spot_study(folder / "a", slices=12, seed=1)
    write_spot_study(folder / "b", slices=8, bleeding=(), seed=2)
    session.open_path(folder)
    wait_until_idle(qtbot, session)
    chosen = session.state.selected
    session.select_series(1 - chosen)
    wait_until_idle(qtbot, session)
    lost = session.state.entries[chosen].slices[1].path
    lost.write_bytes(b"")
    session.select_series(chosen)
    wait_until_idle(qtbot, session)
    assert session.state.slice_count == 11
    assert np.flatnonzero(session.state.result.slice_positive).tolist() == [4, 5, 6]


def test_a_mistyped_folder_leaves_the_open_study_alone(qtbot, session, study, tmp_path):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    before = session.state
    with qtbot.waitSignal(session.failed):
        session.open_path(tmp_path / "nothing")
    wait_until_idle(qtbot, session)
    assert session.state.volume is before.volume
    assert session.state.result is before.result
    assert len(session.records) == 1


def test_cancelled_loading_can_be_taken_up_again(qtbot, session, study, held_load):
    session.open_path(study)
    qtbot.waitUntil(lambda: session.state.load is not None)
    session.cancel()
    assert session.state.opening.phase == "cancelling"
    wait_until_idle(qtbot, session)
    assert session.state.opening is None
    assert "cancelled" in session.state.notice
    held_load.set()
    session.select_series(session.state.selected)
    wait_until_idle(qtbot, session)
    assert session.state.result is not None


def test_the_files_own_window_follows_the_series(qtbot, session, tmp_path):
    folder = tmp_path / "two"
    write_spot_study(folder / "a", slices=12, seed=1)
    write_spot_study(folder / "b", slices=8, bleeding=(), seed=2)
    for path in (folder / "a").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.WindowCenter, dataset.WindowWidth = "500", "2000"
        dataset.save_as(path)
    for path in (folder / "b").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        del dataset.WindowCenter, dataset.WindowWidth
        dataset.save_as(path)
    session.open_path(folder)
    wait_until_idle(qtbot, session)
    session.set_preset("DICOM")
    assert session.state.window == DisplayWindow(500, 2000)
    session.select_series(1 - session.state.selected)
    assert (session.state.preset, session.state.window) == ("Brain", DisplayWindow(40, 80))
    wait_until_idle(qtbot, session)


def test_one_slice_is_shown_but_not_scored(qtbot, session, tmp_path):
    session.open_path(write_spot_study(tmp_path / "one", slices=1, bleeding=(0,)))
    errors = []
    session.failed.connect(errors.append)
    wait_until_idle(qtbot, session)
    assert session.state.volume is not None
    assert session.state.result is None
    assert session.state.record.failure is not None
    assert "at least 2" in session.state.notice
    assert not errors  # nobody asked, so no dialog
    session.run_model(asked=True)
    wait_until_idle(qtbot, session)
    assert "at least 2" in str(errors[0])


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "mr", "truncated"])
def test_what_cannot_be_opened_says_why_and_leaves_nothing_open(qtbot, session, tmp_path, kind):
    folder = tmp_path / "bad"
    expected = {
        "missing": "does not exist",
        "empty": "empty",
        "text": "not a DICOM",
        "mr": "modality MR",
        "truncated": "truncated",
    }[kind]
    if kind != "missing":
        folder.mkdir()
    if kind == "text":
        (folder / "notes.txt").write_text("nothing here")
    if kind in ("mr", "truncated"):
        path = next(write_spot_study(folder, slices=1, bleeding=()).glob("*.dcm"))
        if kind == "mr":
            dataset = pydicom.dcmread(path)
            dataset.Modality = "MR"
            dataset.save_as(path)
        else:
            path.write_bytes(path.read_bytes()[:-100])
    with qtbot.waitSignal(session.failed, timeout=10_000) as caught:
        session.open_path(folder)
    error = caught.args[0]
    assert expected in str(error)
    assert error.remedy
    assert session.state.entry is None
    assert session.state.opening is None


def test_series_of_one_folder_are_listed_and_switched(qtbot, session, tmp_path):
    folder = tmp_path / "two"
    write_spot_study(folder / "a", slices=12, seed=1)
    write_spot_study(folder / "b", slices=8, bleeding=(), seed=2)
    session.open_path(folder)
    wait_until_idle(qtbot, session)
    assert len(session.state.entries) == 2
    assert session.state.slice_count == 12  # the longest first
    first = session.state.selected
    session.select_series(1 - first)
    wait_until_idle(qtbot, session)
    assert session.state.slice_count == 8
    session.select_series(first)
    assert session.state.result is not None  # known already
    wait_until_idle(qtbot, session)
    assert len(session.records) == 2


def test_slices_are_clamped_and_suspicious_ones_found(qtbot, session, study):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    session.set_slice(-5)
    assert session.state.slice_index == 0
    session.step_suspicious(1)
    assert session.state.slice_index in (5, 6, 7)
    here = session.state.slice_index
    session.step_suspicious(1)
    assert session.state.slice_index == here
    session.set_slice(99)
    assert session.state.slice_index == 11
    session.step_suspicious(-1)
    assert session.state.slice_index == here


def test_windows_stay_within_what_can_be_shown(session):
    session.set_window(DisplayWindow(1e9, 1e9))
    assert session.state.window.width_hu <= 8000
    assert session.state.window.level_hu <= 8192
    session.set_preset("Subdural")
    assert session.state.window == DisplayWindow(80, 200)


def test_a_fault_of_the_program_becomes_a_message_with_details(qtbot, session, study, monkeypatch):
    def broken(self, volume, progress):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Predictor, "run", broken)
    with qtbot.waitSignal(session.failed, timeout=20_000) as caught:
        session.open_path(study)
    assert "ZeroDivisionError" in str(caught.args[0])
    assert "Traceback" in caught.args[0].detail
    wait_until_idle(qtbot, session)
    assert session.state.volume is not None


def test_closing_stops_a_held_job(qtbot, tiny, study, held):
    _gate, started = held
    session = Session(device="cpu")
    session.choose_model(tiny)
    session.open_path(study)
    wait_started(qtbot, started)
    session.close()
    assert session.jobs.wait_closed(10)
    session.jobs._pool.shutdown(wait=True)
    assert not [t for t in threading.enumerate() if t.name.startswith("job")]


def test_export_on_a_full_disk_says_so_and_leaves_nothing(
    qtbot, session, study, tmp_path, monkeypatch
):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    target = tmp_path / "out" / "report.csv"
    target.parent.mkdir()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with qtbot.waitSignal(session.failed) as caught:
        export_csv(session, target)
    assert "disk is full" in str(caught.args[0])
    assert list(target.parent.iterdir()) == []


def test_the_window_and_the_command_line_write_the_same_bytes(qtbot, session, study, tmp_path):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    export_csv(session, tmp_path / "window.csv")
    wait_until_idle(qtbot, session)
    assert "1 series" in session.state.message
    done = CliRunner().invoke(
        app,
        [
            "predict",
            str(study),
            "--model",
            "tiny",
            "--device",
            "cpu",
            "--csv",
            str(tmp_path / "cli.csv"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "window.csv").read_bytes() == (tmp_path / "cli.csv").read_bytes()
    assert Path(tmp_path / "cli.csv").read_text().count("\n") == 13


@pytest.fixture
def unfit(tmp_path) -> Path:
    """A study whose slices turn out not to be axial."""
    folder = write_spot_study(tmp_path / "unfit")
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, z, y]
        dataset.save_as(path)
    return folder


def test_the_verdict_is_there_before_the_model_runs(qtbot, session, study, held, held_load):
    gate, started = held
    session.open_path(study)
    qtbot.waitUntil(lambda: session.state.load is not None)
    assert session.state.fitness is not None  # from the headers
    assert session.state.fitness.brain_slices is None
    held_load.set()
    wait_started(qtbot, started)
    assert session.state.result is None
    assert session.state.fitness.level == "ok"
    assert session.state.fitness.brain_slices == 10
    gate.set()
    wait_until_idle(qtbot, session)
    assert session.state.record.fitness == session.state.fitness


def test_an_unfit_series_is_not_scored_until_the_user_insists(qtbot, session, unfit):
    errors = []
    session.failed.connect(errors.append)
    session.open_path(unfit)
    wait_until_idle(qtbot, session)
    assert session.state.fitness.is_unfit
    assert session.state.result is None
    assert session.state.record.warning_codes == ("NOT_AXIAL", "UNFIT")
    assert "not axial" in session.state.notice
    assert not errors
    session.run_model(asked=True)  # without having confirmed
    wait_until_idle(qtbot, session)
    assert session.state.result is None
    assert "not axial" in str(errors.pop())
    session.run_model(asked=True, insist=True)
    wait_until_idle(qtbot, session)
    assert session.state.result is not None
    assert session.state.record.scored_though_unfit
    assert "SCORED_THOUGH_UNFIT" in session.state.record.warning_codes
    assert not errors


def test_insisting_on_a_fit_series_changes_nothing(qtbot, session, study):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    session.run_model(asked=True, insist=True)
    wait_until_idle(qtbot, session)
    assert session.state.record.warning_codes == ()


@pytest.mark.parametrize("insist", [False, True])
def test_window_and_command_line_say_the_same_of_what_is_unfit(
    qtbot, session, unfit, tmp_path, insist
):
    session.open_path(unfit)
    wait_until_idle(qtbot, session)
    session.run_model(insist=insist)
    wait_until_idle(qtbot, session)
    export_csv(session, tmp_path / "window.csv")
    wait_until_idle(qtbot, session)
    words = ["predict", unfit, "--model", "tiny", "--device", "cpu", "--csv", tmp_path / "cli.csv"]
    done = CliRunner().invoke(app, [*map(str, words), *(["--score-unfit"] if insist else [])])
    assert done.exit_code == (0 if insist else 1), done.output
    assert (tmp_path / "window.csv").read_bytes() == (tmp_path / "cli.csv").read_bytes()


def test_a_series_not_yet_read_may_be_the_one_that_speaks(qtbot, session, tmp_path):
    folder = tmp_path / "two"
    write_spot_study(folder / "a", slices=12, seed=1)
    write_spot_study(folder / "b", slices=9, bleeding=(), seed=2)
    uids = {}
    for name in "ab":
        for path in (folder / name).glob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID = "1.2.3"
            dataset.SeriesInstanceUID = uids[name] = f"1.2.3.{'ab'.index(name)}"
            if name == "a":
                dataset.ContrastBolusAgent = "Iohexol"
            dataset.save_as(path)
    session.open_path(folder)
    wait_until_idle(qtbot, session)
    export_csv(session, tmp_path / "one.csv")
    wait_until_idle(qtbot, session)
    assert session.state.entry.series_instance_uid == uids["a"]
    # The longer one is open; the other is fitter by its headers, though not read yet.
    assert _column(tmp_path / "one.csv", "study_readout") == {(uids["a"], "false")}
    session.select_series(1 - session.state.selected)
    wait_until_idle(qtbot, session)
    export_csv(session, tmp_path / "both.csv")
    wait_until_idle(qtbot, session)
    expected = {(uids["a"], "false"), (uids["b"], "true")}
    assert _column(tmp_path / "both.csv", "study_readout") == expected


def _column(path: Path, name: str) -> set[tuple[str, str]]:
    with path.open(newline="") as stream:
        return {(row["series_instance_uid"], row[name]) for row in csv.DictReader(stream)}


def test_a_mistyped_folder_does_not_stop_the_series_that_is_loading(
    qtbot, session, study, tmp_path, held_load
):
    session.open_path(study)
    qtbot.waitUntil(lambda: session.state.load is not None)
    with qtbot.waitSignal(session.failed):
        session.open_path(tmp_path / "nothing")
    held_load.set()
    wait_until_idle(qtbot, session)
    assert session.state.result is not None
    assert session.state.opening is None


def test_a_model_file_replaced_meanwhile_is_named_by_what_it_now_is(qtbot, session, study):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    session._predictor = None
    header = write_tiny_model(user_models_dir() / "tiny.safetensors", bias=-40.0)
    session.run_model()
    wait_until_idle(qtbot, session)
    assert session.state.model.header.model_sha256 == header.model_sha256
    assert session.state.result is not None
    assert not session.state.result.scan_positive


def test_export_does_not_replace_a_slice(qtbot, session, study):
    session.open_path(study)
    wait_until_idle(qtbot, session)
    target = session.state.entry.slices[0].path
    before = target.read_bytes()
    with qtbot.waitSignal(session.failed) as caught:
        export_csv(session, target)
    assert "own files" in str(caught.args[0])
    assert target.read_bytes() == before
