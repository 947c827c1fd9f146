"""What leaves the viewer: page, tables, pictures, with and without identifiers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QFileDialog
from typer.testing import CliRunner

from sadmil_core.cli.app import app
from tests.core.test_report_pdf import words
from tests.studies import write_spot_study
from tests.viewer.conftest import wait_until_idle
from viewer.model.annotations import SliceKey
from viewer.model.exporting import Export, ExportKind
from viewer.widgets.error_dialog import ErrorDialog
from viewer.widgets.export_dialog import ExportDialog
from viewer.widgets.layouts import Layout
from viewer.widgets.main_window import MainWindow


def opened(window: MainWindow) -> ExportDialog:
    window.commands.export.trigger()
    found = [d for d in window.findChildren(ExportDialog) if d.isVisible()]
    assert len(found) == 1
    return found[0]


def export(
    qtbot, window: MainWindow, kind: ExportKind, path: Path, *, named: bool = False, scale: int = 1
) -> None:
    dialog = opened(window)
    dialog.kinds[kind].click()
    dialog.identifiers.setChecked(named)
    dialog.scale.setCurrentIndex(scale - 1)
    dialog.path.clear()
    qtbot.keyClicks(dialog.path, str(path))
    assert dialog.export.isEnabled()
    dialog.export.click()
    wait_until_idle(qtbot, window.session)
    assert not window.findChildren(ErrorDialog)


def uids(window: MainWindow) -> set[str]:
    entry = window.session.state.entry
    found = {entry.study_instance_uid, entry.series_instance_uid}
    return found | {header.sop_instance_uid for header in entry.slices}


def test_the_page_has_key_images_window_and_no_name(qtbot, read_window, tmp_path):
    session = read_window.session
    for index in (2, 10):
        session.annotations.toggle_key_image(SliceKey.of(session.state.entry.slices[index]))
    session.set_preset("Stroke")
    export(qtbot, read_window, ExportKind.PDF, tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    said = words(content)
    assert "Key images marked by the reader" in said
    assert "Slice 3," in said
    assert "Slice 11," in said
    assert "(Stroke)" in said
    name = session.state.identity.patient_name.split("^")[0]
    assert name
    for secret in (*uids(read_window), name, str(tmp_path)):
        assert secret not in said
        assert secret.encode() not in content
    assert session.state.message == "Report of this series written"
    export(qtbot, read_window, ExportKind.PDF, tmp_path / "named.pdf", named=True)
    assert name in words((tmp_path / "named.pdf").read_bytes())


def test_a_series_the_model_was_not_asked_about_has_a_page(qtbot, window, study, tmp_path):
    window.session.reads_unasked = False
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    dialog = opened(window)
    assert not dialog.kinds[ExportKind.CSV].isEnabled()
    dialog.reject()
    export(qtbot, window, ExportKind.PDF, tmp_path / "page.pdf")
    said = words((tmp_path / "page.pdf").read_bytes())
    assert "not scored" in said
    assert "The model was not asked." in said


def test_json_from_the_window_is_that_of_the_command_line(qtbot, read_window, study, tmp_path):
    mine, theirs = tmp_path / "window.json", tmp_path / "cli.json"
    export(qtbot, read_window, ExportKind.JSON, mine, named=True)
    words = ["predict", study, "--model", "tiny", "--device", "cpu", "--json", theirs]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    a, b = (json.loads(path.read_text()) for path in (mine, theirs))
    for document in (a, b):
        for scan in document["scans"]:
            del scan["seconds"]
    assert a == b


def test_tables_without_identifiers_agree_with_each_other(qtbot, read_window, tmp_path):
    table, document = tmp_path / "t.csv", tmp_path / "t.json"
    export(qtbot, read_window, ExportKind.CSV, table)
    export(qtbot, read_window, ExportKind.JSON, document)
    for secret in uids(read_window):
        assert secret not in table.read_text() + document.read_text()
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    (scan,) = json.loads(document.read_text())["scans"]
    assert {row["series_instance_uid"] for row in rows} == {scan["series_instance_uid"]}
    attention = read_window.session.state.result.attention
    assert [row["attention"] for row in rows] == [str(value) for value in attention]


@pytest.mark.parametrize("scale", [1, 2])
def test_the_picture_is_what_is_seen(qtbot, read_window, tmp_path, scale):
    read_window.session.set_slice(6)
    view = read_window.slice_view
    qtbot.wait(50)  # the window takes its final layout
    export(qtbot, read_window, ExportKind.PNG, tmp_path / "x.png", named=True, scale=scale)
    image = QImage(str(tmp_path / "x.png"))
    assert image.width() == scale * view.width()
    assert image.height() > scale * view.height()  # the notice stands below
    seen = view.grab().toImage()
    for x in range(0, view.width(), 9):
        for y in range(0, view.height(), 9):
            if scale == 1:
                assert image.pixel(x, y) == seen.pixel(x, y)
    middle = view.to_widget().map(24.5, 24.5)
    spot = image.pixelColor(round(scale * middle[0]), round(scale * middle[1]))
    assert spot.name() == seen.pixelColor(round(middle[0]), round(middle[1])).name()


@pytest.mark.parametrize("layout", [Layout.READ, Layout.COMPARE])
def test_a_picture_without_identifiers_is_that_of_hidden_ones(
    qtbot, window, settings, tmp_path, layout
):
    for name, seed in (("a", 1), ("b", 2)):
        write_spot_study(tmp_path / "two" / name, seed=seed)
    window.session.open_path(tmp_path / "two")
    wait_until_idle(qtbot, window.session)
    window.layouts.set_layout(layout)
    wait_until_idle(qtbot, window.session)
    exports = window.exports
    named = exports.picture(1, names_patient=True)
    hidden = exports.picture(1, names_patient=False)
    assert hidden != named
    # Afterwards all is as it was, on screen and in the settings.
    assert not window.session.state.options.hides_identifiers
    assert not settings.hides_identifiers
    assert exports.picture(1, names_patient=True) == named
    window.session.set_options(hides_identifiers=True)
    assert exports.picture(1, names_patient=True) == hidden


def test_the_dialog_says_at_once_what_speaks_against_a_file(qtbot, read_window, tmp_path):
    dialog = opened(read_window)
    own = read_window.session.state.entry.slices[0].path
    there = tmp_path / "there.csv"
    there.write_text("old")
    model = read_window.session.state.model.path
    for path, expected, may in (
        (own, "scan's own files", False),
        (model, "scan's own files, or a model", False),
        (tmp_path, "folder: add a name", False),
        (tmp_path / "no" / "x.csv", "no such folder", False),
        ("", "Choose a file", False),
        ("a\0b", "does not take", False),
        (there, "there already", True),
        (tmp_path / "new.csv", "", True),
    ):
        dialog.path.setText(str(path))
        dialog.path.textEdited.emit(str(path))
        said = dialog._problem.text()
        assert expected in said
        assert bool(said) == bool(expected)
        assert dialog.export.isEnabled() == may
    dialog.path.setText(str(there))
    dialog.path.textEdited.emit(str(there))
    assert dialog.export.text() == "Replace"
    dialog.reject()


def test_names_hold_no_identifier_and_take_no_others_place(qtbot, read_window, tmp_path):
    read_window.exports._folder = tmp_path
    (tmp_path / "slice_report.csv").write_text("kept")
    dialog = opened(read_window)
    offered = {}
    for kind, button in dialog.kinds.items():
        button.click()
        offered[kind] = dialog.file.name
    assert offered == {
        ExportKind.PDF: "report.pdf",
        ExportKind.CSV: "slice_report-2.csv",
        ExportKind.JSON: "slice_report.json",
        ExportKind.PNG: "slice_006.png",
    }
    dialog.path.clear()
    qtbot.keyClicks(dialog.path, str(tmp_path / "mine.png"))
    dialog.kinds[ExportKind.JSON].click()
    assert dialog.file == tmp_path / "mine.json"
    dialog.reject()


def test_the_file_can_be_chosen_by_browsing_and_no_folder_is_kept(
    qtbot, read_window, tmp_path, monkeypatch
):
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()

    def choose(_parent, _title, _name, kinds):
        assert kinds == "PDF (*.pdf)"
        return str(folder / "x.pdf"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    dialog = opened(read_window)
    dialog.browse.click()
    assert dialog.file == folder / "x.pdf"
    dialog.export.click()
    wait_until_idle(qtbot, read_window.session)
    assert (folder / "x.pdf").exists()
    dialog = opened(read_window)
    assert dialog.file == folder / "report.pdf"  # the next one goes there, too
    dialog.reject()
    read_window.close()
    stored = QSettings("sadmil", "sadmil-viewer")
    assert "DOE" not in str([stored.value(key) for key in stored.allKeys()])
    read_window._settings._store.sync()
    assert "DOE" not in (tmp_path / "settings.ini").read_text()


@pytest.mark.parametrize("kind", list(ExportKind))
def test_a_disk_that_is_full_is_said_and_nothing_is_left(
    qtbot, read_window, tmp_path, monkeypatch, kind
):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    target = tmp_path / "out"
    target.mkdir()
    picture = read_window.exports.picture(1, names_patient=False)
    wish = Export(kind=kind, path=target / f"x{kind}", picture=picture)
    with qtbot.waitSignal(read_window.session.failed) as caught:
        read_window.session.exporter.start(wish)
    assert "disk is full" in str(caught.args[0])
    assert list(target.iterdir()) == []
    read_window.findChild(ErrorDialog).close()


def test_the_dialog_needs_no_mouse(qtbot, read_window, tmp_path):
    read_window.exports._folder = tmp_path
    dialog = opened(read_window)
    assert dialog.kind is ExportKind.PDF
    qtbot.keyClick(dialog.kinds[ExportKind.CSV], Qt.Key.Key_Space)
    assert dialog.kind is ExportKind.CSV
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    wait_until_idle(qtbot, read_window.session)
    assert (tmp_path / "slice_report.csv").exists()
