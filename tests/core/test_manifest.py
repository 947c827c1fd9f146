"""The manifest: what is read, what is refused, and that all that is wrong is said at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadmil_core.data.manifest import (
    Manifest,
    ManifestScan,
    SliceLabel,
    describe_scans,
    missing_files,
    read_manifest,
    require_both_classes,
    write_manifest,
)
from sadmil_core.data.scans import unknown_subtypes
from sadmil_core.errors import ManifestError, WriteError


def read(folder: Path, *lines: str) -> Manifest:
    path = folder / "m.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_manifest(path)


def problems(folder: Path, *lines: str) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        read(folder, *lines)
    return caught.value.problems


def test_scan_rows(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "scan_id,patient_id,split,path,scan_label,scan_subdural,site,stack_index",
        "a,p,train,scans/a,1,1,north,1.0",
        "b,,test,/elsewhere/b.nii,0,,,",
        "c,,,,,,,",
    )
    a, b, c = manifest.scans
    assert (a.patient_id, a.split, a.path, a.label) == ("p", "train", tmp_path / "scans/a", True)
    assert (a.site, a.stack_index, a.lines) == ("north", 1, (2,))
    assert a.subtypes == unknown_subtypes() | {"subdural": True}
    assert (b.patient_id, b.path, b.label) == ("b", Path("/elsewhere/b.nii"), False)
    assert (c.label, c.path, c.split, c.sources) == (None, None, "", ())
    assert manifest.of_split("test") == (b,)
    assert manifest.warnings == ()


def test_slice_rows_and_derived_labels(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "scan_id,patient_id,path,sop_instance_uid,frame_number,slice_index,slice_label,slice_epidural",
        "a,p,d/1.dcm,1.1,,0,0,0",
        "a,p,d/2.dcm,1.2,,1,,1",
        "b,,v.nii,1.3,1,,0,",
        "b,,v.nii,1.3,2,,0.0,",
        "c,,,,,4,0,",
        "c,,,,,5,,",
    )
    a, b, c = manifest.scans
    # A positive subtype makes the slice, and the slice the scan, positive.
    assert [each.label for each in a.slices] == [False, True]
    assert (a.label, a.subtypes["epidural"]) == (True, True)
    assert a.path == tmp_path / "d"
    assert a.sources == (tmp_path / "d/1.dcm", tmp_path / "d/2.dcm")
    assert a.slices[1].line == 3
    assert (b.label, b.path, b.sources) == (False, tmp_path / "v.nii", (tmp_path / "v.nii",))
    assert [each.frame_number for each in b.slices] == [1, 2]
    # One slice of c is unknown: so is the scan.
    assert (c.label, [each.slice_index for each in c.slices]) == (None, [4, 5])


def test_scan_rows_and_slice_rows_together(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "scan_id,split,scan_label,sop_instance_uid,slice_label",
        "a,val,1,,",
        "a,,,1.1,0",
        "a,val,1,1.2,",
    )
    (scan,) = manifest.scans
    assert (scan.label, scan.split, scan.lines) == (True, "val", (2, 3, 4))
    assert [each.label for each in scan.slices] == [False, None]


def test_everything_that_is_wrong_is_listed_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "scan_id,patient_id,split,series_instance_uid,sop_instance_uid,slice_index,scan_label,slice_label",
        ",p,train,s,1,0,,1",  # 2: no scan_id
        "a,p,trian,s,2,0,,1",  # 3: no such split
        "a,p,,t,3,1,,0",  # 4: another series
        "a,p,,,3,2,,0",  # 5: the instance twice
        "a,p,,,2,3,,0",  # 6: the same, labelled otherwise
        "a,p,,,4,1,,0",  # 7: the index twice
        "a,p,,,5,x,,yes",  # 8: neither number nor label
        "b,q,train,,,,0,",  # 9: negative, with a positive slice
        "b,q,,,6,0,,1",
        "c,q,test,,,,1,",  # 11: the patient of b, in another split
        "d,r,,,,,1,1",  # 12: a slice label without a slice
        "d,r,,,,,0",  # 13: a cell is missing
        "d,r,,,,,1,",
        "d,r,,,,,1,",  # 15: the scan twice
        "e,s,,,6,0,,",  # 16: an instance of b
        "e,s,,,,1,1,",
        "e,s,,,,2,0,",  # 18: contradicts 17
    )
    expected = {
        "line 2: scan_id is empty",
        "line 3: split is 'trian', not train, val, test or blank",
        "line 4: mixed series: series_instance_uid is 't', but 's' in line 3 of the same scan",
        "line 5: duplicate: sop_instance_uid 3 stands in line 4 too",
        "line 6: contradicting labels: sop_instance_uid 2 is 0 here and 1 in line 3",
        "line 7: duplicate: slice_index 1 stands in line 4 too",
        "line 8: slice_index is 'x', not a whole number from 0",
        "line 8: slice_label is 'yes', not 0, 1 or blank",
        "line 9: contradicting labels: scan_label is 0, but slice_label is 1 in line 10",
        "line 11: a leaking split: patient q is in test here and in train in line 9",
        "line 12: slice_label is given, but no sop_instance_uid or slice_index to say of what",
        "line 13: 7 cells, where the columns are 8",
        "line 15: the scan stands in line 14 too; rows of slices need a sop_instance_uid or "
        "slice_index",
        "line 16: duplicate: sop_instance_uid 6 stands in line 10 too, in another scan",
        "line 18: contradicting labels: scan_label is '0', but '1' in line 17 of the same scan",
    }
    assert set(found) == expected
    lines = [int(each.split()[1].rstrip(":")) for each in found]
    assert lines == sorted(lines)


def test_the_message_lists_fifty_problems_and_counts_the_rest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, "scan_id,scan_label", *(f"s{k},maybe" for k in range(63)))
    assert len(caught.value.problems) == 63
    assert "line 51: scan_label is 'maybe'" in str(caught.value)
    assert "line 52" not in str(caught.value)
    assert "and 13 more" in str(caught.value)


def test_subtypes_must_agree_with_labels(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "scan_id,slice_index,scan_label,slice_label,scan_subdural,slice_subdural",
        "a,,0,,1,",
        "b,,,,0,",
        "b,0,,1,,1",
        "c,0,,0,,1",
    )
    assert set(found) == {
        "line 2: contradicting labels: scan_label is 0, but scan_subdural is 1",
        "line 3: contradicting labels: scan_subdural is 0, but slice_subdural is 1 in line 4",
        "line 5: contradicting labels: slice_label is 0, but slice_subdural is 1",
    }


def test_a_positive_scan_of_negative_slices_is_a_warning(tmp_path: Path) -> None:
    manifest = read(tmp_path, "scan_id,slice_index,scan_label,slice_label", "a,,1,", "a,0,,0")
    assert manifest.scans[0].label is True
    assert "none of its 1 labelled slices" in manifest.warnings[0]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    found = problems(tmp_path, "scan_id,scan_label,site", 'a,1,"two\nlines"', "", "b,7,")
    assert found == ("line 5: scan_label is '7', not 0, 1 or blank",)


def test_misspelt_columns_are_refused_and_others_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"'scan_lable'.*is scan_label meant"):
        read(tmp_path, "scan_id,scan_lable", "a,1")
    with pytest.raises(ManifestError, match=r"'Split'.*is split meant"):
        read(tmp_path, "scan_id,Split", "a,train")
    manifest = read(tmp_path, "scan_id,scan_label,kvp,age", "a,1,120,70")
    assert manifest.warnings == (
        "columns that say nothing to a manifest are passed over: kvp, age",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column scan_id"),
        ("scan_id;scan_label\na;1\n", "no column scan_id"),
        ("scan_id,split\n", "names no scan"),
        ("scan_id,site,site\na,,\n", "column site more than once"),
        ("schema_version,scan_id\n2,a\n", "schema_version is '2'"),
        ('scan_id\n"a\n', "not a CSV file"),
        (b"scan_id\n\xff\n", "not a CSV file in UTF-8"),
    ],
)
def test_unusable_tables(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="No such file"):
        read_manifest(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_bytes(b"scan_id\na\n")
    with pytest.raises(ManifestError, match="not a Parquet file"):
        read_manifest(tmp_path / "m.parquet")


def _scans(folder: Path) -> tuple[ManifestScan, ...]:
    subtypes = unknown_subtypes() | {"epidural": True, "subdural": False}
    slices = tuple(
        SliceLabel(
            sop_instance_uid=f"1.{k}",
            slice_index=k,
            label=k == 1 or None,
            subtypes=subtypes if k == 1 else unknown_subtypes(),
            path=folder / "data" / f"{k}.dcm",
        )
        for k in range(3)
    )
    whole = ManifestScan(
        scan_id="1.2",
        patient_id='p, "q" é',
        split="val",
        path=folder / "data",
        series_instance_uid="1.2.3",
        stack_index=0,
        label=True,
        slices=slices,
        subtypes=unknown_subtypes() | {"epidural": True},
        mask_path=Path("/masks/1.nii"),
        features_path=folder / "f.npy",
        edges_path=folder / "e.npz",
        site="north",
    )
    frames = tuple(SliceLabel(sop_instance_uid="9", frame_number=k, label=False) for k in (1, 2))
    return whole, ManifestScan(scan_id="7"), ManifestScan(scan_id="8", label=False, slices=frames)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    scans = _scans(tmp_path)
    write_manifest(scans, tmp_path / name)
    found = read_manifest(tmp_path / name)
    assert found.warnings == ()
    assert found.scans[0].lines == ((2, 3, 4, 5) if name == "m.csv" else (1, 2, 3, 4))
    assert tuple(map(_without_lines, found.scans)) == scans


def _without_lines(scan: ManifestScan) -> ManifestScan:
    return replace(scan, lines=(), slices=tuple(replace(each, line=0) for each in scan.slices))


def test_paths_move_with_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    write_manifest([ManifestScan(scan_id="a", path=Path("data/a"))], Path("m.csv"))
    assert str(tmp_path) not in Path("m.csv").read_text()
    (tmp_path / "old").rename(tmp_path / "new")
    (scan,) = read_manifest(tmp_path / "new" / "m.csv").scans
    assert scan.path == tmp_path / "new" / "data" / "a"


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest([ManifestScan(scan_id="a")], path)
    before = path.read_bytes()
    for name in ("m.csv", "m.parquet"):
        with pytest.raises(ManifestError, match="no text in Unicode"):
            write_manifest([ManifestScan(scan_id="b", path=Path("b\udcff"))], tmp_path / name)
    with pytest.raises(WriteError):
        write_manifest([ManifestScan(scan_id="b")], tmp_path / "absent" / "m.csv")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, 0, None], pa.int8()), [True, False, None]),
        (pa.array([1.0, 0.0, float("nan")]), [True, False, None]),
        (pa.array([True, False, None]), [True, False, None]),
        (pa.array(["1", "0", None]), [True, False, None]),
        (pa.array(["1", "0", ""]).dictionary_encode(), [True, False, None]),
    ],
)
def test_parquet_labels_of_every_type(tmp_path: Path, column: Any, expected: list[Any]) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"scan_id": ["a", "b", "c"], "scan_label": column}), path)
    assert [scan.label for scan in read_manifest(path).scans] == expected


def test_problems_of_a_parquet_file_name_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"scan_id": ["a", "b"], "scan_label": [1, 3]}), path)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert caught.value.problems == ("row 2: scan_label is '3', not 0, 1 or blank",)


def test_both_classes_are_required() -> None:
    positive, negative = (ManifestScan(scan_id=str(k), label=k == 0) for k in range(2))
    require_both_classes([positive, negative], "train")
    with pytest.raises(ManifestError, match="split val has no negative scan: 1 positive, 0 neg"):
        require_both_classes([positive, ManifestScan(scan_id="c")], "val")
    with pytest.raises(ManifestError, match="no positive and no negative"):
        require_both_classes([], "")


def test_counts_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for k in range(2):
        (tmp_path / "data" / f"{k}.dcm").touch()
    scans = _scans(tmp_path)
    head, *rows = describe_scans(scans)
    assert head[:3] == ("split", "scans", "positive")
    assert rows == [
        ("val", "1", "1", "0", "0", "1", "3", "1"),
        ("(none)", "2", "0", "1", "1", "2", "2", "0"),
        ("all", "3", "1", "1", "1", "3", "5", "1"),
    ]
    absent = [tmp_path / "data/2.dcm", Path("/masks/1.nii"), tmp_path / "f.npy", tmp_path / "e.npz"]
    assert list(missing_files(scans)) == absent
