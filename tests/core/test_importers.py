"""Published data sets become manifests: made miniatures laid out as they are downloaded."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from sadmil_core.data.folder import ImportResult
from sadmil_core.data.importers import rsna as rsna_module
from sadmil_core.data.importers.cq500 import import_cq500
from sadmil_core.data.importers.ctich import import_ct_ich
from sadmil_core.data.importers.rsna import import_rsna
from sadmil_core.data.importers.torchmil import import_torchmil
from sadmil_core.data.manifest import ManifestScan, read_manifest, write_manifest
from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import ManifestError
from sadmil_core.progress import Cancelled
from tests.commands import run_sadmil
from tests.synthetic import encoded_hu, only_entry, set_to, truncate, write_series

# The challenge's UIDs are none.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")


def _by_patient(result: ImportResult) -> dict[str, ManifestScan]:
    scans = {scan.patient_id: scan for scan in result.scans}
    assert len(scans) == len(result.scans)
    return scans


def _note(result: ImportResult, part: str) -> str:
    (note,) = (note for note in result.notes if part in note)
    return note


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def _survives_the_table(result: ImportResult, folder: Path) -> None:
    """What is written is found sound, and says the same."""
    write_manifest(result.scans, folder / "manifest.csv")
    for scan, read in zip(result.scans, read_manifest(folder / "manifest.csv").scans, strict=True):
        assert [replace(each, line=0) for each in read.slices] == list(scan.slices)
        assert replace(read, lines=(), slices=()) == replace(scan, slices=())


# ---- RSNA


def _write_rsna(folder: Path, scan: str, patient: str, slices: int = 3) -> None:
    """A scan as the challenge has it: one flat folder, files named by image, in no order."""

    def rename(dataset: Any, z: int) -> None:
        dataset.SOPInstanceUID = f"ID_{scan}{z}"
        dataset.PatientID = f"ID_{patient}"

    written = write_series(
        folder,
        slices=slices,
        study_uid=f"ID_study{scan}",
        series_uid=f"ID_series{scan}",
        name=f"{scan}-{{}}",
        change=rename,
    )
    for z, path in enumerate(written):
        path.rename(folder / f"ID_{scan}{z}.dcm")


def _rsna_rows(labels: dict[str, set[str]]) -> list[tuple[str, int]]:
    return [
        (f"{image}_{k}", int(k in positive)) for image, positive in labels.items() for k in KINDS
    ]


@pytest.fixture
def rsna(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "stage_2_train"
    _write_rsna(folder, "a", "p")
    _write_rsna(folder, "b", "p")
    _write_rsna(folder, "c", "q")
    said: dict[str, set[str]] = {f"ID_{scan}{z}": set() for scan in "abc" for z in range(3)}
    said["ID_a1"] = {"subdural", "epidural", "any"}
    return folder, _table(tmp_path / "stage_2_train.csv", ("ID", "Label"), _rsna_rows(said))


def test_rsna_images_become_scans_foot_to_head(rsna: tuple[Path, Path], tmp_path: Path) -> None:
    folder, table = rsna
    result = import_rsna(table, folder)
    a, b, c = result.scans
    assert (a.scan_id, a.series_instance_uid, a.patient_id) == ("ID_studya", "ID_seriesa", "ID_p")
    assert [(s.sop_instance_uid, s.label) for s in a.slices] == [
        ("ID_a0", False),
        ("ID_a1", True),
        ("ID_a2", False),
    ]
    assert (a.label, b.label, c.label) == (True, False, False)
    assert a.slices[1].subtypes["subdural"] is True
    assert a.slices[1].subtypes["subarachnoid"] is False
    assert set(a.slices[1].subtypes) == set(KINDS) - {"any"}
    assert a.sources == tuple(folder / f"ID_a{z}.dcm" for z in range(3))
    assert (a.subtypes["epidural"], a.subtypes["intraventricular"]) == (True, False)
    assert (b.patient_id, c.patient_id) == ("ID_p", "ID_q")
    assert result.notes == ()
    _survives_the_table(result, tmp_path)


def test_rsna_rows_that_repeat_collapse_and_contradictions_are_blank(
    rsna: tuple[Path, Path],
) -> None:
    folder, table = rsna
    with table.open("a") as stream:
        stream.write("ID_a1_any,1\nID_b0_subdural,1\nID_c1_epidural,0\nID_c1_epidural,1\n")
    result = import_rsna(table, folder)
    a, b, c = result.scans
    assert a.slices[1].label is True
    assert _note(result, "repeat").startswith("2 rows")
    assert _note(result, "contradict").endswith(": ID_b0, ID_c1")
    # One says 0 and 1 of a kind, and of the other kind 0: that one is unknown, the rest is not.
    assert b.slices[0].subtypes.get("subdural") is None
    assert c.slices[1].subtypes.get("epidural") is None
    assert c.slices[1].subtypes["subdural"] is False
    assert (b.slices[1].label, b.label, c.label) == (False, False, False)


def test_rsna_a_kind_without_any_leaves_the_image_unknown(rsna: tuple[Path, Path]) -> None:
    folder, table = rsna
    table.write_text(table.read_text().replace("ID_b0_subdural,0", "ID_b0_subdural,1"))
    result = import_rsna(table, folder)
    b = result.scans[1]
    assert (b.slices[0].label, {*b.slices[0].subtypes.values()}, b.label) == (None, {None}, None)
    assert "ID_b0" in _note(result, "contradict")


def test_rsna_the_corrupt_image_and_what_is_missing_are_told(
    rsna: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, table = rsna
    corrupt = folder / f"{rsna_module.CORRUPT}.dcm"
    (folder / "ID_c2.dcm").rename(corrupt)
    truncate(corrupt, 20)
    (folder / "ID_b2.dcm").unlink()
    truncate(folder / "ID_b1.dcm", 20)
    text = table.read_text().replace("ID_c2_", f"{rsna_module.CORRUPT}_")
    table.write_text("".join(r for r in text.splitlines(True) if not r.startswith("ID_a0_")))
    result = import_rsna(table, folder)
    a, b, c = result.scans
    assert [each.label for each in a.slices] == [None, True, False]
    assert (len(b.slices), len(c.slices)) == (1, 2)
    assert "cut short" in _note(result, rsna_module.CORRUPT)
    assert "ID_b1.dcm" in _note(result, "could not be used")
    assert _note(result, "not in the folder").startswith("2 images")
    assert _note(result, "no label in the table").startswith("1 images")
    # Beside unknown slices, negative ones do not make a negative scan.
    table.write_text(text.replace("ID_a1_any,1", "ID_x_any,0").replace("ID_a1_", "ID_x_"))
    assert import_rsna(table, folder).scans[0].label is None
    _survives_the_table(result, tmp_path)


def test_rsna_copies_count_once_and_files_without_uids_are_told(
    rsna: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, table = rsna
    (folder / "copy.dcm").write_bytes((folder / "ID_a1.dcm").read_bytes())
    write_series(folder, slices=1, name="nameless", change=set_to(SOPInstanceUID=""))
    result = import_rsna(table, folder)
    assert [len(scan.slices) for scan in result.scans] == [3, 3, 3]
    assert "nameless" in _note(result, "could not be used")
    _survives_the_table(result, tmp_path)


def test_rsna_bad_rows_are_listed_at_once(rsna: tuple[Path, Path]) -> None:
    folder, table = rsna
    with table.open("a") as stream:
        stream.write("ID_a1_stroke,1\nID_a1_any,maybe\n")
    last = len(table.read_text().splitlines())
    with pytest.raises(ManifestError) as caught:
        import_rsna(table, folder)
    assert f"line {last - 1}: ID is 'ID_a1_stroke'" in str(caught.value)
    assert f"line {last}: Label is 'maybe'" in str(caught.value)


def test_rsna_a_scan_may_lie_in_two_folders_and_a_study_of_two_series_is_two_scans(
    rsna: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, table = rsna
    (folder / "part").mkdir()
    (folder / "ID_b1.dcm").rename(folder / "part" / "ID_b1.dcm")
    write_series(folder, slices=2, study_uid="ID_studyc", series_uid="ID_seriesd", name="d{}")
    result = import_rsna(table, folder)
    assert [scan.scan_id for scan in result.scans] == [
        "ID_studya",
        "ID_studyb",
        "ID_studyc/ID_seriesc",
        "ID_studyc/ID_seriesd",
    ]
    assert result.scans[1].path == folder
    assert result.scans[1].sources == (
        folder / "ID_b0.dcm",
        folder / "part" / "ID_b1.dcm",
        folder / "ID_b2.dcm",
    )
    assert "ID_studyc" in _note(result, "several series")
    _survives_the_table(result, tmp_path)


def test_rsna_a_foreign_folder_is_refused_and_reading_can_be_cancelled(
    rsna: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, table = rsna
    write_series(tmp_path / "other")
    with pytest.raises(ManifestError, match="None of the images"):
        import_rsna(table, tmp_path / "other")
    with pytest.raises(ManifestError, match="not a folder"):
        import_rsna(table, tmp_path / "absent")

    def cancel(done: int, total: int, phase: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        import_rsna(table, folder, cancel)


# ---- CQ500

FINDINGS = ("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "Fracture")


def _reads(name: str, category: str, **votes: str) -> list[str]:
    """A row; votes as three characters, a blank one being a space."""
    cells = {finding: votes.get(finding, "000") for finding in FINDINGS}
    return [name, category, *(cells[f][r].strip() for r in range(3) for f in FINDINGS)]


def _write_reads(path: Path, *rows: list[str]) -> Path:
    header = ["name", "Category", *(f"R{r}:{f}" for r in (1, 2, 3) for f in FINDINGS)]
    return _table(path, header, rows)


def _write_cq500(root: Path, number: int, series: dict[str, float]) -> Path:
    folder = root / f"CQ500CT{number} CQ500CT{number}"
    for k, (name, spacing_mm) in enumerate(series.items()):
        write_series(
            folder / "Unknown Study" / name,
            slices=round(140 / spacing_mm),
            spacing_mm=spacing_mm,
            study_uid=f"1.2.{number + 1}",
            series_uid=f"1.2.{number + 1}.{k + 1}",
            name="CT{:06d}.dcm",
            change=set_to(SliceThickness=str(spacing_mm)),
        )
    return folder


def test_cq500_reads_are_put_to_the_vote_and_the_fittest_series_named(tmp_path: Path) -> None:
    root = tmp_path / "cq500"
    folder = _write_cq500(root, 0, {"CT PLAIN THIN": 1.0, "CT Plain": 5.0})
    _write_cq500(root, 10, {"CT 5mm": 5.0})
    table = _write_reads(
        root / "reads.csv",
        _reads("CQ500-CT-0", "B1", ICH="110", IPH="100", SDH="011"),
        _reads("CQ500-CT-10", "B2", ICH="100", EDH="1 0"),
        _reads("CQ500-CT-7", "B2"),
    )
    result = import_cq500(table, root)
    scans = _by_patient(result)
    first, second = scans["CQ500-CT-0"], scans["CQ500-CT-10"]
    assert (first.label, second.label) == (True, False)
    assert (first.subtypes["subdural"], first.subtypes["intraparenchymal"]) == (True, False)
    assert second.subtypes["epidural"] is None  # one yes, one no, one blank
    assert (first.scan_id, first.series_instance_uid) == ("1.2.1", "1.2.1.2")
    assert first.path == folder / "Unknown Study" / "CT Plain"
    assert (first.site, second.site) == ("B1", "B2")
    assert "CQ500-CT-7" in _note(result, "not in the folder")
    assert _note(result, "nearest to an ordinary head protocol").startswith("1 scans")
    _survives_the_table(result, tmp_path)


def test_cq500_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    root = tmp_path / "cq500"
    _write_cq500(root, 1, {"CT": 5.0})
    _write_cq500(root, 2, {"CT": 5.0})
    (root / "CQ500CT3 CQ500CT3" / "Unknown Study").mkdir(parents=True)
    _write_cq500(root, 4, {"CT": 5.0})
    _write_cq500(root / "again", 1, {"CT": 5.0})
    table = _write_reads(
        root / "reads.csv",
        _reads("CQ500-CT-1", "B1", SDH="110"),
        _reads("CQ500-CT-2", "B1", ICH="1 0"),
        _reads("CQ500-CT-3", "B1"),
    )
    result = import_cq500(table, root)
    scans = _by_patient(result)
    assert set(scans) == {"CQ500-CT-1", "CQ500-CT-2"}
    assert {scans["CQ500-CT-1"].label, *scans["CQ500-CT-1"].subtypes.values()} == {None}
    assert "CQ500-CT-1" in _note(result, "but no hemorrhage")
    assert "CQ500-CT-2" in _note(result, "no majority")
    assert "CQ500-CT-3" in _note(result, "no CT slice")
    assert "CQ500CT4" in _note(result, "not named in the table")
    assert "CQ500CT1" in _note(result, "found before")
    _survives_the_table(result, tmp_path)


def test_cq500_bad_tables_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "cq500"
    _write_cq500(root, 1, {"CT": 5.0})
    row = _reads("CQ500-CT-1", "B1")
    table = _write_reads(root / "reads.csv", row, row, _reads("CQ500-CT-2", "B1", ICH="2x0"))
    with pytest.raises(ManifestError) as caught:
        import_cq500(table, root)
    for part in ("line 3: 'CQ500-CT-1' is there twice", "R1:ICH is '2'", "R2:ICH is 'x'"):
        assert part in str(caught.value)
    _table(table, ("name", "Category"), [("CQ500-CT-1", "B1")])
    with pytest.raises(ManifestError, match="no column R1:ICH"):
        import_cq500(table, root)


# ---- CT-ICH

CT_ICH_COLUMNS = (
    "PatientNumber",
    "SliceNumber",
    "Intraventricular",
    "Intraparenchymal",
    "Subarachnoid",
    "Epidural",
    "Subdural",
    "No_Hemorrhage",
    "Fracture_Yes_No",
)


def _nifti(path: Path, hu: NDArray[np.int16], directions: Sequence[float] = (1, 1, 1)) -> Path:
    """A volume whose stored slices are those of ``hu``; the axes run to LPS, or back."""
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((0.5, 0.75, 5.0))
    image.SetDirection(np.diag(np.array(directions, float)).ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def _ct_ich_rows(patient: int, slices: int, positive: Sequence[int]) -> list[list[int]]:
    """Subdural blood in the slices ``positive``, counted from 1."""
    return [
        [patient, n, 0, 0, 0, 0, int(n in positive), int(n not in positive), 0]
        for n in range(1, slices + 1)
    ]


@pytest.mark.parametrize("from_head", [False, True], ids=["foot-first", "head-first"])
def test_ct_ich_slice_numbers_follow_the_file_and_indices_the_patient(
    tmp_path: Path, from_head: bool
) -> None:
    hu = encoded_hu(5)
    directions = (1, -1, -1) if from_head else (1, 1, 1)
    path = _nifti(tmp_path / "ct_scans" / "049.nii", hu, directions)
    mask = _nifti(tmp_path / "masks" / "049.nii", np.zeros_like(hu), directions)
    _table(
        tmp_path / "hemorrhage_diagnosis_raw_ct.csv", CT_ICH_COLUMNS, _ct_ich_rows(49, 5, [1, 2])
    )
    result = import_ct_ich(tmp_path)
    (scan,) = result.scans
    assert (scan.patient_id, scan.path, scan.mask_path) == ("049", path, mask)
    assert scan.label is True
    assert (scan.subtypes["subdural"], scan.subtypes["epidural"]) == (True, False)
    assert result.notes == ()
    # The truth is in the voxels: the labelled slices hold the values of the stored ones.
    volume = load_volume(only_entry(index_folder(path)))
    assert scan.scan_id == volume.entry.study_instance_uid
    positive = [each.slice_index for each in scan.slices if each.label]
    assert [each.slice_index for each in scan.slices] == list(range(5))
    labelled = {tuple(np.unique(volume.hu[index])) for index in positive if index is not None}
    assert labelled == {tuple(np.unique(hu[0])), tuple(np.unique(hu[1]))}
    assert positive == ([3, 4] if from_head else [0, 1])
    _survives_the_table(result, tmp_path)


def test_ct_ich_faults_are_told(tmp_path: Path) -> None:
    for patient in (49, 50, 51):
        _nifti(tmp_path / "ct_scans" / f"{patient:03d}.nii.gz", encoded_hu(4))
    (tmp_path / "ct_scans" / "051.nii.gz").write_bytes(b"no volume")
    rows = _ct_ich_rows(49, 6, []) + _ct_ich_rows(50, 3, [2]) + _ct_ich_rows(51, 4, [])
    rows += _ct_ich_rows(52, 4, [])
    rows[0][4], rows[1][7] = 1, 0  # no hemorrhage, but of a kind; hemorrhage of no kind
    rows.append(rows[2])
    _table(tmp_path / "hemorrhage_diagnosis_raw_ct.csv", CT_ICH_COLUMNS, rows)
    result = import_ct_ich(tmp_path)
    scans = _by_patient(result)
    assert set(scans) == {"049", "050"}
    assert [each.label for each in scans["049"].slices] == [None, True, False, False]
    assert [each.label for each in scans["050"].slices] == [False, True, False, None]
    assert "049 slice 1" in _note(result, "contradict")
    assert "slice 5" in _note(result, "has 4 slices")
    assert "1 of 4 slices" in _note(result, "050.nii.gz")
    assert "051.nii.gz" in _note(result, "left out:")
    assert "052" in _note(result, "have no scan")
    assert _note(result, "no mask") == "2 scans have no mask: 049, 050"
    assert _note(result, "repeat").startswith("1 rows")


def test_ct_ich_a_volume_stored_across_other_axes_stays_unlabelled(tmp_path: Path) -> None:
    path = tmp_path / "ct_scans" / "049.nii"
    path.parent.mkdir()
    image = sitk.PermuteAxes(sitk.GetImageFromArray(encoded_hu(4)), (0, 2, 1))
    sitk.WriteImage(image, str(path))
    _table(tmp_path / "hemorrhage_diagnosis_raw_ct.csv", CT_ICH_COLUMNS, _ct_ich_rows(49, 4, [1]))
    result = import_ct_ich(tmp_path)
    (scan,) = result.scans
    assert {each.label for each in scan.slices} == {None}
    assert "axial" in _note(result, "049.nii does not")


# ---- torchmil


def _bag(
    root: Path, name: str, labels: Sequence[int], label: int | None = None, folder: str = ""
) -> None:
    rng = np.random.default_rng(len(name))
    arrays = {
        folder or "features_resnet18": rng.normal(size=(len(labels), 7)).astype(np.float32),
        "labels": np.array([max(labels) if label is None else label]),
        "slice_labels": np.array(labels),
    }
    for place, array in arrays.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        np.save(root / place / f"{name}.npy", array)


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    root = tmp_path / "bags"
    _bag(root, "ID_a", [0, 1, 1])
    _bag(root, "ID_b", [0, 0])
    _bag(root, "ID_c", [0, 0, 0, 0])
    _table(
        root / "splits.csv",
        ("bag_name", "split"),
        [("ID_a", "train"), ("ID_b", "test"), ("ID_c", "train"), ("ID_c", "test"), ("ID_d", "val")],
    )
    return root


def test_torchmil_bags_become_scans(bags: Path, tmp_path: Path) -> None:
    result = import_torchmil(bags)
    a, b, c = result.scans
    assert [s.split for s in (a, b, c)] == ["train", "test", "test"]
    assert (a.label, b.label) == (True, False)
    assert [(s.slice_index, s.label) for s in a.slices] == [(0, False), (1, True), (2, True)]
    assert a.features_path == bags / "features_resnet18" / "ID_a.npy"
    assert "ID_c" in _note(result, "several splits")
    assert "ID_d" in _note(result, "no features")
    assert _note(result, "names no patients")
    _survives_the_table(result, tmp_path)


def test_torchmil_one_of_several_features_has_to_be_named(bags: Path) -> None:
    _bag(bags, "ID_a", [0, 1, 1], folder="features/features_vit")
    with pytest.raises(ManifestError, match="resnet18, vit"):
        import_torchmil(bags)
    (scan,) = import_torchmil(bags, "vit").scans
    assert scan.features_path == bags / "features" / "features_vit" / "ID_a.npy"
    with pytest.raises(ManifestError, match="not resnet50"):
        import_torchmil(bags, "resnet50")


def test_torchmil_unusable_bags_are_left_out_and_named(bags: Path) -> None:
    _bag(bags, "short", [0, 1])
    np.save(bags / "slice_labels" / "short.npy", np.array([0]))
    _bag(bags, "torn", [0, 1], label=0)
    _bag(bags, "graded", [0, 0], label=3)
    _bag(bags, "flat", [0, 0])
    np.save(bags / "features_resnet18" / "flat.npy", np.zeros(7))
    _bag(bags, "pickled", [0, 0])
    np.save(bags / "features_resnet18" / "pickled.npy", np.array([{}], object))
    result = import_torchmil(bags)
    assert len(result.scans) == 3
    note = _note(result, "left out")
    assert note.startswith("5 bags")
    for part in (
        "short (2 slices, but 1",
        "torn (its label is 0",
        "graded (labels other",
        "flat (features of shape (7,)",
        "pickled (features_resnet18/pickled.npy",
    ):
        assert part in note


def test_torchmil_a_bag_without_labels_of_slices_keeps_its_own(bags: Path) -> None:
    (bags / "slice_labels").rename(bags / "inst_labels")
    (bags / "inst_labels" / "ID_b.npy").unlink()
    a, b, _ = import_torchmil(bags).scans
    assert (len(a.slices), b.slices, b.label) == (3, (), False)


def test_torchmil_unknown_splits_are_refused(bags: Path) -> None:
    with (bags / "splits.csv").open("a") as stream:
        stream.write("ID_a,holdout\n")
    with pytest.raises(ManifestError, match=r"line 7 \(ID_a, holdout\)"):
        import_torchmil(bags)


# ---- the commands


def test_the_commands_write_manifests(
    rsna: tuple[Path, Path],
    bags: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sadmil = partial(run_sadmil, monkeypatch, capsys)
    folder, table = rsna
    out = tmp_path / "m.csv"
    assert sadmil("manifest", "rsna", table, folder, "--out", out).status == 0
    labels = [scan.label for scan in read_manifest(out).scans]
    assert labels == [True, False, False]
    done = sadmil("manifest", "torchmil", bags, "--out", tmp_path / "bags.parquet")
    assert done.status == 0
    assert "several splits" in done.err
    assert len(read_manifest(tmp_path / "bags.parquet").scans) == 3
    done = sadmil("manifest", "cq500", table, folder, "--out", out)
    assert (done.status, "no column" in done.err) == (1, True)
    assert len(read_manifest(out).scans) == 3
    assert sadmil("manifest", "ct-ich", folder, "--out", out).status == 1
