"""Results of earlier runs: shown before the slices, with their date, and read again on request."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from sadmil_core.paths import user_models_dir
from sadmil_core.predict import Predictor
from tests.tiny_model import write_tiny_model
from tests.viewer.conftest import end, wait_until_idle
from viewer.model.session import Session


@pytest.fixture
def kept(qtbot, session, study):
    """The study has been read by an earlier run."""
    session.open_path(study)
    wait_until_idle(qtbot, session)
    return session.state.record


@pytest.fixture
def reads(monkeypatch):
    """Counts what the model is asked."""
    counted, real = [], Predictor.run
    monkeypatch.setattr(Predictor, "run", lambda *given: counted.append(1) or real(*given))
    return counted


@pytest.fixture
def later(qapp, kept):
    """A session of a later run of the program."""
    made = Session(device="cpu")
    made.choose_model("tiny")
    yield made
    end(made)


def test_a_kept_result_is_shown_before_the_slices_are_there(
    qtbot, later, kept, study, reads, held_load
):
    later.open_path(study)
    qtbot.waitUntil(lambda: later.state.result is not None, timeout=10_000)
    assert later.state.volume is None
    assert later.state.record.read_at is not None
    held_load.set()
    wait_until_idle(qtbot, later)
    assert later.state.volume is not None
    assert later.state.result.scan_probability == kept.result.scan_probability
    assert not reads


def test_run_reads_a_kept_scan_again(qtbot, later, study, reads):
    later.open_path(study)
    wait_until_idle(qtbot, later)
    assert later.state.record.read_at is not None
    later.run_model(asked=True)
    wait_until_idle(qtbot, later)
    assert reads == [1]
    assert later.state.record.read_at is None


def test_choosing_a_model_that_has_read_the_scan_needs_no_reading(qtbot, later, study, reads):
    write_tiny_model(user_models_dir() / "other.safetensors", name="other", bias=-40.0)
    later.choose_model("other")
    later.open_path(study)
    wait_until_idle(qtbot, later)
    assert reads == [1]
    assert later.state.record.read_at is None
    later.choose_model("tiny")
    assert later.state.record.read_at is not None
    wait_until_idle(qtbot, later)
    assert reads == [1]


def test_a_changed_file_is_read_anew(qtbot, later, study, reads):
    path = next(study.glob("*.dcm"))
    path.touch()
    later.open_path(study)
    wait_until_idle(qtbot, later)
    assert reads == [1]
    assert later.state.record.read_at is None


def test_another_precision_does_not_take_the_result(qtbot, kept, study, tiny):
    other = Session(device="cpu", precision="bf16")
    other.choose_model(tiny)
    other.open_path(study)
    qtbot.waitUntil(lambda: other.state.selected is not None, timeout=10_000)
    assert other.state.record is None
    other.close()
    assert other.jobs.wait_closed(10)


def test_a_folder_that_cannot_be_written_costs_no_answer(
    qtbot, session, study, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(session.kept.cache, "folder", tmp_path / "file" / "results")
    failures = []
    session.failed.connect(failures.append)
    session.open_path(study)
    wait_until_idle(qtbot, session)
    assert session.state.result is not None
    assert not failures


def test_the_window_tells_when_the_scan_was_read(qtbot, window, study, monkeypatch):
    kept = window.session.kept
    when = datetime(2026, 11, 24, 14, 2, tzinfo=UTC)
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    panel = window.result_panel
    assert "read 20" not in panel._model.text()
    kept.cache.put(window.session.state.record, kept.settings, when)
    threads = set()
    real = kept.cache.get
    monkeypatch.setattr(
        kept.cache, "get", lambda *given: threads.add(threading.get_ident()) or real(*given)
    )
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    assert panel._model.text().startswith(f"read {when.astimezone():%Y-%m-%d %H:%M}: model tiny")
    assert threads == {threading.get_ident()}
