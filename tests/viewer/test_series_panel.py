"""What is odd about a series is seen: sign, notes, files passed over, and fitness first."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMessageBox

from sadmil_core.dicom import index_folder
from sadmil_core.fitness import fitness_of_entry
from tests.studies import write_spot_study
from tests.synthetic import only_entry, set_to, tilted, truncate, write_series
from tests.viewer.conftest import wait_until_idle
from viewer.model import opening
from viewer.model.badges import BadgeKind, badge_of
from viewer.widgets.files_dialog import FilesDialog
from viewer.widgets.series_rows import ROW, SeriesRow, StudyRow


def _badge(folder):
    entry = only_entry(index_folder(folder))
    return badge_of(entry, fitness_of_entry(entry))


def _rows(window):
    model = window.series_list._rows
    return [model.index(row).data(ROW) for row in range(model.rowCount())]


@pytest.fixture
def unfit(tmp_path):
    """A sagittal series."""
    folder = write_spot_study(tmp_path / "unfit")
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [z, x, y]
        dataset.save_as(path)
    return folder


def test_the_sign_says_the_worst_and_how_much_of_it(tmp_path):
    plain = {"slices": 12, "rows": 480, "columns": 320}
    write_series(tmp_path / "tilted", orientation=tilted(10), **plain)
    write_series(tmp_path / "gap", left_out=(5,), **plain)
    write_series(tmp_path / "few", slices=3)
    note, caution, unfit = (_badge(tmp_path / name) for name in ("tilted", "gap", "few"))
    assert (note.kind, caution.kind, unfit.kind) == (
        BadgeKind.NOTE,
        BadgeKind.CAUTION,
        BadgeKind.UNFIT,
    )
    # The gap is named by a warning and by the verdict, and counts once.
    assert len([text for text in caution.sentences if "missing" in text]) == 1
    assert "3 slice(s)" in unfit.sentences[0]


def test_a_row_tells_a_screen_reader_what_its_sign_shows(qtbot, window, tmp_path):
    write_series(tmp_path / "few", slices=3)
    window.session.open_path(tmp_path / "few")
    wait_until_idle(qtbot, window.session)
    model = window.series_list._rows
    spoken = model.index(0).data(Qt.ItemDataRole.AccessibleTextRole)
    assert "3 slices" in spoken
    assert "unfit" in spoken
    assert "at least 8" in model.index(0).data(Qt.ItemDataRole.ToolTipRole)


def test_studies_are_headings_that_cannot_be_chosen(qtbot, window, tmp_path):
    write_spot_study(tmp_path / "two" / "a", seed=1)
    write_spot_study(tmp_path / "two" / "b", seed=2)
    window.session.open_path(tmp_path / "two")
    wait_until_idle(qtbot, window.session)
    rows = _rows(window)
    assert [type(row) for row in rows] == [StudyRow, SeriesRow, StudyRow, SeriesRow]
    model = window.series_list._rows
    assert not model.flags(model.index(0)) & Qt.ItemFlag.ItemIsSelectable


def test_thumbnails_come_after_what_the_reader_waits_for(
    qtbot, window, study, held_load, monkeypatch
):
    made = []
    really = opening.make_thumbnail

    def note(entry):
        made.append(held_load.is_set())
        return really(entry)

    monkeypatch.setattr(opening, "make_thumbnail", note)
    window.session.open_path(study)
    qtbot.waitUntil(lambda: window.session.state.load is not None)
    held_load.set()
    wait_until_idle(qtbot, window.session)
    assert made == [True]
    (row,) = _rows(window)
    assert max(row.thumbnail.width(), row.thumbnail.height()) == opening.THUMBNAIL_PX


def test_a_slice_on_its_way_is_named_and_can_be_scrolled_past(qtbot, window, study, held_load):
    window.session.open_path(study)
    qtbot.waitUntil(lambda: window.session.state.load is not None)
    qtbot.keyClick(window, Qt.Key.Key_Home)
    qtbot.keyClick(window, Qt.Key.Key_Up)
    assert window.session.state.slice_index == 1
    assert not window.slice_view.has_image
    held_load.set()
    wait_until_idle(qtbot, window.session)
    assert window.slice_view.has_image


def test_notes_name_fitness_warnings_geometry_and_lost_files(qtbot, window, tmp_path):
    paths = write_series(
        tmp_path, slices=12, rows=32, columns=32, change=set_to(RescaleType="US"), left_out=(4,)
    )
    truncate(paths[-1], 40)
    window.session.open_path(tmp_path)
    wait_until_idle(qtbot, window.session)
    text = window.details.plain_text()
    for part in (
        "Fit for the model: unfit",
        "MISSING_SLICES",
        "NOT_HOUNSFIELD",
        "TRUNCATED",
        paths[-1].name,
        "32 x 32",
        "Explicit VR Little Endian",
    ):
        assert part in text
    window.details.copy()
    copied = QGuiApplication.clipboard().text()
    assert "MISSING_SLICES" in copied
    assert str(tmp_path) not in copied


def test_files_passed_over_are_listed_by_reason_and_copied_without_names(qtbot, window, tmp_path):
    paths = write_series(tmp_path / "DOE_JANE", slices=9, rows=32, columns=32)
    truncate(paths[0], 40)
    for number in range(300):
        (tmp_path / "DOE_JANE" / f"note-{number}.txt").write_text("text")
    window.session.open_path(tmp_path / "DOE_JANE")
    wait_until_idle(qtbot, window.session)
    assert "1 file could not be used" in window.series_list._heading.text()
    window.details._files.click()
    (dialog,) = window.findChildren(FilesDialog)
    model = dialog.tree.model()
    groups = [model.index(row, 0) for row in range(model.rowCount())]
    assert [group.data() for group in groups] == ["TRUNCATED (1)", "NOT_DICOM (300)"]
    assert dialog.tree.isExpanded(groups[0])
    assert model.index(0, 0, groups[0]).data() == paths[0].name
    dialog.copy()
    copied = QGuiApplication.clipboard().text()
    assert "NOT_DICOM: 300" in copied
    assert "DOE_JANE" not in copied
    dialog.close()


def test_fitness_stands_before_any_probability(qtbot, window, study):
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    panel = window.result_panel
    assert panel._fitness.text() == "fit: ok"
    assert panel._fitness.x() < panel._decision.x()
    widest = panel._fitness.fontMetrics().horizontalAdvance("△ fit: caution")
    assert widest < panel._fitness.width()


def _asking(window):
    found = window.findChildren(QMessageBox)
    return found[0] if found else None


def test_an_unfit_series_is_scored_only_by_one_who_insists(qtbot, window, unfit):
    window.session.open_path(unfit)
    wait_until_idle(qtbot, window.session)
    assert window.result_panel._fitness.text() == "✕ fit: unfit"
    assert window.session.state.result is None
    qtbot.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    asking = _asking(window)
    assert "not axial" in asking.informativeText()
    assert asking.defaultButton().text().replace("&", "") == "Cancel"
    qtbot.keyClick(asking, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: _asking(window) is None)
    assert window.session.state.result is None
    window.run_model()
    score = next(b for b in _asking(window).buttons() if "all the same" in b.text())
    qtbot.mouseClick(score, Qt.MouseButton.LeftButton)
    wait_until_idle(qtbot, window.session)
    assert window.session.state.result is not None
    assert "scored though unfit" in window.result_panel._caution.text()
    assert window.result_panel._fitness.text() == "✕ fit: unfit"


def test_a_hundred_series_are_rows_not_widgets(qtbot, window, tmp_path):
    for number in range(120):
        write_series(
            tmp_path / f"{number:03d}", slices=1, series_uid=f"1.2.{number + 1}", study_uid="1.2"
        )
    window.session.open_path(tmp_path)
    wait_until_idle(qtbot, window.session)
    assert len(_rows(window)) == 120
    assert all(row.thumbnail is not None for row in _rows(window))
    assert len(window.series_list.findChildren(object)) < 60


def test_a_volume_file_opens_with_its_doubts_said(qtbot, window, tmp_path):
    image = sitk.GetImageFromArray(np.full((12, 40, 40), 30, np.int16))
    image.SetSpacing((5.0, 5.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    window.session.open_path(tmp_path / "head.nii.gz")
    wait_until_idle(qtbot, window.session)
    text = window.details.plain_text()
    assert "VOLUME_FILE" in text
    assert "NIfTI" in text
