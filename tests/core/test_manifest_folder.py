"""The hospital's case: a folder and a table of labels, and the commands on what comes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sadmil_core.data.folder import ImportResult, import_folder
from sadmil_core.data.labels import LabelColumns
from sadmil_core.data.manifest import (
    ManifestScan,
    read_manifest,
    require_both_classes,
    write_manifest,
)
from sadmil_core.data.scans import unknown_subtypes
from sadmil_core.errors import InputError, ManifestError
from tests.commands import Run, run_sadmil
from tests.reference import reference_data
from tests.synthetic import set_to, write_series

STUDIES = {"north": "1.2.1", "south": "1.2.2", "west": "1.2.3"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three studies of two patients; one has a thin series, too."""
    folder = tmp_path / "archive"
    for number, (name, study) in enumerate(STUDIES.items()):
        patient = "P1" if name != "west" else "P2"
        tags = set_to(PatientID=patient, AccessionNumber=f"A{number}")
        options: dict[str, Any] = {"slices": 12, "pixel_spacing_mm": (40.0, 30.0), "change": tags}
        write_series(folder / name / "thick", study_uid=study, series_uid=f"{study}.1", **options)
        if name == "south":
            write_series(
                folder / name / "thin",
                study_uid=study,
                series_uid=f"{study}.2",
                spacing_mm=1.0,
                **options,
            )
    return folder


@pytest.fixture
def sadmil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return partial(run_sadmil, monkeypatch, capsys, "manifest")


def labelled(archive: Path, *lines: str, **options: Any) -> ImportResult:
    path = archive.parent / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {k: options.pop(k) for k in list(options) if k in LabelColumns.__slots__}
    return import_folder(archive, path, LabelColumns(**columns), **options)


def by_name(result: ImportResult) -> dict[str, ManifestScan]:
    return {name: s for name, uid in STUDIES.items() for s in result.scans if s.scan_id == uid}


def noted(result: ImportResult, part: str) -> str:
    (note,) = (note for note in result.notes if part in note)
    return note


@pytest.mark.parametrize(
    "names", [("1.2.1", "1.2.2"), ("A0", "A1"), ("north", "south"), ("north/thick", "south")]
)
def test_scans_are_known_by_uid_accession_number_or_folder(
    archive: Path, names: tuple[str, str]
) -> None:
    result = labelled(
        archive, "scan_id,scan_label,scan_subdural", f"{names[0]},1,1", f"{names[1]},0,"
    )
    scans = by_name(result)
    assert {name: scan.label for name, scan in scans.items()} == {
        "north": True,
        "south": False,
        "west": None,
    }
    assert scans["north"].subtypes == unknown_subtypes() | {"subdural": True}
    assert (scans["north"].patient_id, scans["west"].patient_id) == ("P1", "P2")
    # Of two series the one nearer to 5 mm is named.
    assert scans["south"].series_instance_uid == "1.2.2.1"
    assert scans["south"].path == archive / "south" / "thick"
    assert noted(result, "have no label") == "1 studies have no label: 1.2.3"
    assert "several series" in noted(result, "1.2.2")


def test_a_patient_of_several_studies_is_no_name_for_one(archive: Path) -> None:
    result = labelled(archive, "PatientID,label", "P1,1", "P2,0", "P9,1")
    assert {n: s.label for n, s in by_name(result).items()} == {
        "north": None,
        "south": None,
        "west": False,
    }
    assert noted(result, "fit more than one").endswith("P1 (2 studies)")
    assert noted(result, "nothing in the folder").endswith(": P9")


def test_slices_are_labelled_in_their_own_series(archive: Path) -> None:
    result = labelled(
        archive,
        "sop_instance_uid,slice_label,slice_epidural",
        "1.2.2.2.3,1,1",
        "1.2.2.2.4,0,0",
        "1.2.2.1.3,0,",
        "9.9,1,",
    )
    scan = by_name(result)["south"]
    # Both series have labelled slices; the readout's rule decides between them.
    assert scan.series_instance_uid == "1.2.2.1"
    assert scan.label is None
    assert [each.label for each in scan.slices] == [None, None, False, *[None] * 9]
    assert "2 labels are of slices in other series" in noted(result, "other series")
    assert noted(result, "nothing in the folder").endswith(": 9.9")
    thin = labelled(archive, "sop_instance_uid,slice_label,slice_epidural", "1.2.2.2.3,,1")
    scan = by_name(thin)["south"]
    assert scan.series_instance_uid == "1.2.2.2"
    assert (scan.label, scan.subtypes["epidural"]) == (True, True)
    assert scan.slices[2].sop_instance_uid == "1.2.2.2.3"
    assert scan.slices[2].label is True


def test_slices_are_known_by_file_and_scan(archive: Path) -> None:
    lines = [f"north,slice-{k:03d}.dcm,{int(k in (4, 5))}" for k in range(12)]
    lines += [
        "south,south/thick/slice-000.dcm,0",
        ",west/thick/slice-001.dcm,1",
        ",slice-002.dcm,1",
    ]
    result = labelled(archive, "scan_id,file,slice_label", *lines)
    scans = by_name(result)
    assert [each.label for each in scans["north"].slices] == [k in (4, 5) for k in range(12)]
    assert (scans["north"].label, scans["south"].label, scans["west"].label) == (True, None, True)
    assert "slice-002.dcm (4 slices)" in noted(result, "fit more than one")


def test_all_slices_negative_make_a_negative_scan(archive: Path) -> None:
    lines = [f"1.2.3.1.{k + 1},0" for k in range(12)]
    assert by_name(labelled(archive, "SOPInstanceUID,slice_label", *lines))["west"].label is False


def test_own_column_names(archive: Path) -> None:
    result = labelled(
        archive, "case,blood,note", "A2,1,", scan_id="case", scan_label="blood", site="here"
    )
    scan = by_name(result)["west"]
    assert (scan.label, scan.site) == (True, "here")
    with pytest.raises(ManifestError, match="no column bleed"):
        labelled(archive, "case,blood", "A2,1", scan_label="bleed")
    with pytest.raises(ManifestError, match="neither scans nor slices"):
        labelled(archive, "case,blood", "A2,1")


def test_bad_labels_are_listed_at_once(archive: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        labelled(
            archive,
            "scan_id,scan_label,scan_subdural",
            "A0,yes,",
            "A1,0,1",
            "A2,1,",
            "A2,0,",
            ",1,",
            "A2,1,",
        )
    text = str(caught.value)
    for part in (
        "line 2: scan_label is 'yes'",
        "line 3: scan_label is 0, but scan_subdural is 1",
        "line 5: A2 is labelled otherwise in line 4",
        "line 6: scan_id is empty",
    ):
        assert part in text
    assert "line 7" not in text


def test_labels_that_contradict_are_left_blank(archive: Path) -> None:
    result = labelled(
        archive,
        "scan_id,scan_label,sop_instance_uid,slice_label",
        "A0,0,,",
        "A0,,1.2.1.1.3,1",
        "A2,1,,",
        "west,0,,",
    )
    scans = by_name(result)
    assert (scans["north"].label, scans["north"].slices, scans["west"].label) == (None, (), None)
    assert "1.2.1" in noted(result, "contradict")
    assert "1.2.3" in noted(result, "contradict")


def test_hashed_patients_stay_together_and_are_not_found_again(archive: Path) -> None:
    hashed = [
        by_name(labelled(archive, "scan_id,scan_label", "A0,1", hash_patients=True))
        for _ in range(2)
    ]
    one = hashed[0]
    assert one["north"].patient_id == one["south"].patient_id != one["west"].patient_id
    assert "P1" not in one["north"].patient_id
    assert one["north"].patient_id != hashed[1]["north"].patient_id


def test_what_is_not_there(archive: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        labelled(archive, "scan_id,scan_label", "A0,1") and import_folder(
            archive / "absent", archive.parent / "labels.csv", LabelColumns()
        )


def test_from_a_folder_to_splits_by_commands(archive: Path, tmp_path: Path, sadmil: Run) -> None:
    labels, out = tmp_path / "labels.csv", tmp_path / "m.csv"
    labels.write_text("scan_id,scan_label\nA0,1\nA2,0\n")
    done = sadmil("folder", archive, "--labels", labels, "--out", out, "--site", "here")
    assert done.status == 0
    assert "1 studies have no label: 1.2.2" in done.err
    assert done.out.split()[-8:] == ["(none)", "3", "1", "1", "1", "2", "0", "0"]
    assert str(tmp_path) not in out.read_text()
    assert sadmil("check", out, "--files").status == 0
    for refused in (labels, tmp_path / "m.txt", tmp_path, tmp_path / "absent" / "m.csv"):
        assert sadmil("folder", archive, "--labels", labels, "--out", refused).status == 2
    assert sadmil("split", out, "--out", tmp_path / "s.csv").status == 1  # one patient a class
    (archive / "west" / "thick").rename(archive / "west" / "gone")
    done = sadmil("check", out, "--files")
    assert (done.status, "is not there" in done.err) == (1, True)


def test_split_and_folds_by_command(tmp_path: Path, sadmil: Run) -> None:
    path = tmp_path / "m.parquet"
    write_manifest((ManifestScan(scan_id=f"s{k}", label=k % 2 == 0) for k in range(40)), path)
    out = tmp_path / "s.csv"
    done = sadmil("split", path, "--out", out, "--fractions", "0.5,0.25,0.25", "--seed", "1")
    assert done.status == 0
    assert [row.split()[1] for row in done.out.splitlines()[-5:-1]] == ["20", "10", "10", "40"]
    manifest = read_manifest(out)
    for split in ("train", "val", "test"):
        require_both_classes(manifest.of_split(split), split)
    kept = sadmil(
        "split", out, "--out", tmp_path / "k.csv", "--fractions", "0.5,0.5", "--keep", "test"
    )
    assert kept.status == 0
    assert {s.scan_id for s in read_manifest(tmp_path / "k.csv").of_split("test")} == {
        s.scan_id for s in manifest.of_split("test")
    }
    assert sadmil("split", path, "--out", tmp_path / "f.csv", "--folds", "4").status == 0
    tested = [
        s.scan_id
        for k in range(4)
        for s in read_manifest(tmp_path / f"f-fold{k}.csv").of_split("test")
    ]
    assert sorted(tested) == sorted(f"s{k}" for k in range(40))
    for wrong in (("--fractions", "0.5"), ("--fractions", "a,b"), ("--folds", "2")):
        assert sadmil("split", path, "--out", out, *wrong).status == 2
    assert sadmil("split", path, "--out", out, "--keep", "tset").status == 2
    assert sadmil("split", path, "--out", path).status == 2


def test_check_says_what_is_wrong(tmp_path: Path, sadmil: Run) -> None:
    path = tmp_path / "m.csv"
    path.write_text("scan_id,scan_label,kvp\na,1,120\nb,2,120\nc,0,120\n")
    done = sadmil("check", path)
    assert (done.status, "line 3: scan_label is '2'" in done.err) == (1, True)
    path.write_text(path.read_text().replace("b,2", "b,0"))
    done = sadmil("check", path)
    assert (done.status, "passed over: kvp" in done.err) == (0, True)


@pytest.mark.reference
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_labelled_series_of_rsna() -> None:
    folder = reference_data() / "ct"
    result = import_folder(folder, folder / "rsna_labels.csv", LabelColumns())
    scans = [scan for scan in result.scans if scan.label is not None]
    assert sorted(
        (s.label, len(s.slices), sum(x.label is True for x in s.slices)) for s in scans
    ) == [
        (False, 31, 0),
        (True, 34, 21),
    ]
    assert not [note for note in result.notes if "nothing in the folder" in note]
