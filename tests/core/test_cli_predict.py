"""``sadmil predict`` with what people give it: status, message, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from sadmil_core.dicom import index_folder, load_volume
from tests.bodies import write_head
from tests.commands import Run, rows_of
from tests.networks import save_small
from tests.synthetic import STUDY, delete, only, set_to, spoil, truncate


def _keys(path: Path) -> list[tuple[str, str, str]]:
    names = ("series_instance_uid", "stack_index", "slice_index")
    return [(row[names[0]], row[names[1]], row[names[2]]) for row in rows_of(path)]


def test_a_good_series_gives_a_table_both_reports_and_status_0(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan", shuffle_names=True)
    table, document = tmp_path / "out.csv", tmp_path / "out.json"
    outcome = sadmil(tmp_path / "scan", "--csv", table, "--json", document)
    assert outcome.status == 0
    assert "Research use only" in outcome.out
    assert outcome.err == ""
    rows = rows_of(table)
    assert len(rows) == 10
    (scan,) = json.loads(document.read_text())["scans"]
    assert f"{scan['scan_probability']:.5f}" in outcome.out
    assert str(scan["scan_probability"]) == rows[0]["scan_probability"]


def test_the_program_itself_starts_and_answers(tmp_path: Path, model: Path) -> None:
    write_head(tmp_path / "scan")
    words = ["-W", "error", "-m", "sadmil_core", "predict", tmp_path / "scan", "--model", model]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "marked slices" in done.stdout


def test_an_archive_reads_as_its_folder_does(tmp_path: Path, sadmil: Run) -> None:
    paths = write_head(tmp_path / "scan")
    truncate(paths[9], 9)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in paths:
            archive.write(path, f"scan/{path.name}")
    for name in ("scan", "x.zip"):
        out = tmp_path / f"{name}.csv"
        outcome = sadmil(tmp_path / name, "--csv", out, "--json", out.with_suffix(".json"))
        assert outcome.status == 1  # a file is lost
    assert f"{tmp_path / 'x.zip' / 'scan' / paths[9].name}: TRUNCATED" in outcome.err
    assert (tmp_path / "x.zip.csv").read_bytes() == (tmp_path / "scan.csv").read_bytes()
    assert sadmil(tmp_path / "x.zip", "--csv", tmp_path / "x.zip").status == 2


def test_a_volume_file_is_read_and_its_doubts_are_said(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan")
    volume = load_volume(index_folder(tmp_path / "scan").entries[0])
    image = sitk.GetImageFromArray(volume.hu)
    geometry = volume.entry.geometry
    image.SetOrigin(geometry.origins_mm[0])
    image.SetSpacing((geometry.column_spacing_mm, geometry.row_spacing_mm, geometry.spacing_mm))
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    found = []
    for name in ("scan", "x.nii.gz"):
        outcome = sadmil(tmp_path / name, "--csv", tmp_path / "out.csv")
        assert outcome.status == 0
        found.append([(row["attention"], row["z_mm"]) for row in rows_of(tmp_path / "out.csv")])
    assert found[0] == found[1]
    assert "VOLUME_FILE: a volume file" in outcome.err
    assert "NO_MODALITY" in outcome.err


def _folder_without_dicom(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("no DICOM")


BAD_INPUT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "folder without DICOM": (_folder_without_dicom, "no readable CT slice"),
    "empty folder": (Path.mkdir, "empty folder"),
    "one slice": (lambda folder: write_head(folder, slices=1), "at least 2 are needed"),
    "MR": (
        lambda folder: write_head(folder, change=set_to(Modality="MR")),
        "not CT (modality MR)",
    ),
    "truncated file alone": (
        lambda folder: [truncate(p, 9) for p in write_head(folder, slices=1)],
        "truncated",
    ),
    "truncated file among others": (
        lambda folder: truncate(write_head(folder)[5], 9),
        "slice-005.dcm: TRUNCATED: truncated: 8183 of 8192 bytes",
    ),
    "every slice spoilt": (
        lambda folder: [spoil(p) for p in write_head(folder, syntax="jpeg 2000")],
        "None of the 10 slices",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_gives_status_1_its_reason_and_does_not_stop_the_others(
    tmp_path: Path, sadmil: Run, make: Callable[[Path], Any], message: str
) -> None:
    make(tmp_path / "bad")
    write_head(tmp_path / "good", study_uid=f"{STUDY}.8", series_uid=f"{STUDY}.7")
    table = tmp_path / "out.csv"
    outcome = sadmil(tmp_path / "bad", tmp_path / "good", "--csv", table)
    assert outcome.status == 1
    assert message in outcome.err
    good = [row for row in rows_of(table) if row["series_instance_uid"] == f"{STUDY}.7"]
    assert len(good) == 10
    assert all(row["scan_probability"] for row in good)
    alone = sadmil(tmp_path / "bad")
    assert alone.status == 1
    assert message in alone.err


def test_a_slice_that_is_not_scored_keeps_its_row(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "one", slices=1)
    sadmil(tmp_path / "one", "--csv", tmp_path / "out.csv")
    (row,) = rows_of(tmp_path / "out.csv")
    assert row["warnings"] == "TOO_FEW_SLICES"
    assert row["scan_positive"] == row["attention"] == ""


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, sadmil: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_head(tmp_path / "scan")
    really_open = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == paths[2]:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return really_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    outcome = sadmil(tmp_path / "scan")
    assert outcome.status == 1
    assert "slice-002.dcm: UNREADABLE: no permission to read it" in outcome.err
    assert "about 1 slice(s) missing" in outcome.err


def test_nothing_readable_leaves_an_older_report_alone(tmp_path: Path, sadmil: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out.csv").write_text("older")
    assert sadmil(tmp_path / "empty", "--csv", tmp_path / "out.csv").status == 1
    assert (tmp_path / "out.csv").read_text() == "older"


def test_two_series_in_one_folder_are_two_scans(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan", name="a{}")
    write_head(tmp_path / "scan", name="b{}", series_uid=f"{STUDY}.7", slices=9)
    outcome = sadmil(tmp_path / "scan", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    rows = rows_of(tmp_path / "out.csv")
    assert len({row["scan_probability"] for row in rows}) == 2
    assert len(rows) == len(set(_keys(tmp_path / "out.csv"))) == 19


@pytest.mark.parametrize("how", ["same path", "inner path", "link", "copy", "file by file"])
def test_the_same_series_given_twice_is_read_once(tmp_path: Path, sadmil: Run, how: str) -> None:
    folder = tmp_path / "scans" / "one"
    files = write_head(folder)
    sadmil(folder, "--csv", tmp_path / "once.csv")
    copy = tmp_path / "copy"
    if how == "copy":
        shutil.copytree(folder, copy)
    elif how == "link":
        copy.symlink_to(folder)
    paths = {
        "same path": [folder, folder],
        "inner path": [tmp_path / "scans", folder],
        "file by file": files[::-1],
    }.get(how, [folder, copy])
    outcome = sadmil(*paths, "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    keys = _keys(tmp_path / "out.csv")
    assert len(keys) == len(set(keys)) == 10
    once, twice = rows_of(tmp_path / "once.csv"), rows_of(tmp_path / "out.csv")
    assert [r["attention"] for r in once] == [r["attention"] for r in twice]
    assert twice[0]["warnings"] == ("DUPLICATES_DROPPED" if how == "copy" else "")


def _not_a_checkpoint(path: Path) -> None:
    path.write_bytes(b"\x80\x04 not a checkpoint")


def _newer_checkpoint(path: Path) -> None:
    content = save_small(path).read_bytes()
    newer = content.replace(b'\\"format_version\\":1,', b'\\"format_version\\":9,')
    assert newer != content
    path.write_bytes(newer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_not_a_checkpoint, "is not a checkpoint of this program"),
        (_newer_checkpoint, "of checkpoint format 9; this program reads up to 1. Update"),
        (Path.mkdir, "There is no model or file"),
        (lambda path: None, "There is no model or file"),
    ],
)
def test_a_bad_model_is_named_and_nothing_is_written(
    tmp_path: Path, sadmil: Run, make: Callable[[Path], None], message: str
) -> None:
    write_head(tmp_path / "scan")
    make(tmp_path / "bad.safetensors")
    table = tmp_path / "out.csv"
    outcome = sadmil(tmp_path / "scan", "--csv", table, model=tmp_path / "bad.safetensors")
    assert outcome.status == 1
    assert message in outcome.err
    assert "bad.safetensors" in outcome.err
    assert not table.exists()


def test_a_full_disk_costs_the_report_but_not_the_answer(
    tmp_path: Path, sadmil: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_head(tmp_path / "scan")
    out = tmp_path / "out"
    out.mkdir()

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcome = sadmil(tmp_path / "scan", "--csv", out / "out.csv")
    assert outcome.status == 1
    assert "free some space" in outcome.err
    assert "out.csv" in outcome.err
    assert "marked slices" in outcome.out
    assert list(out.iterdir()) == []


def test_a_report_never_replaces_a_device(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan")
    os.mkfifo(tmp_path / "pipe")
    outcome = sadmil(tmp_path / "scan", "--csv", tmp_path / "pipe")
    assert outcome.status == 1
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("option", ["--csv", "--json"])
def test_a_report_never_replaces_a_scan_or_the_model(
    tmp_path: Path, sadmil: Run, model: Path, option: str
) -> None:
    paths = write_head(tmp_path / "scan")
    for path in (paths[2], model):
        before = path.read_bytes()
        outcome = sadmil(tmp_path / "scan", option, path)
        assert outcome.status == 2
        assert "is one of the input files" in outcome.err
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "does not exist"),
        (["scan", "--csv", "absent/out.csv"], "folder that does not exist"),
        (["scan", "--csv", "scan"], "is a folder"),
        (["scan", "--csv", "out", "--json", "out"], "same file"),
        (["scan", "--precision", "fp8"], "fp8"),
        ([], "Missing argument"),
    ],
    ids=str,
)
def test_wrong_usage_gives_status_2_and_writes_nothing(
    tmp_path: Path,
    sadmil: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_head(tmp_path / "scan", slices=2)
    outcome = sadmil(*arguments)
    assert outcome.status == 2
    assert message in outcome.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan", "small.safetensors"]


def test_a_card_that_is_not_there_is_said(tmp_path: Path, sadmil: Run) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    write_head(tmp_path / "scan")
    outcome = sadmil(tmp_path / "scan", device="cuda")
    assert outcome.status == 1
    assert "no cuda device" in outcome.err


def test_an_absurd_header_is_skipped_and_does_not_stop_the_others(
    tmp_path: Path, sadmil: Run
) -> None:
    write_head(tmp_path / "a", change=only(2, set_to(BitsStored=60000)))
    write_head(tmp_path / "b", series_uid="1.2.3.9", uid_start=50)
    outcome = sadmil(tmp_path, "--csv", tmp_path / "out.csv")
    assert outcome.status == 1
    assert "60000 bits" in outcome.err
    assert len(rows_of(tmp_path / "out.csv")) == 19


def test_slices_that_cannot_be_decoded_are_a_failure_and_named(tmp_path: Path, sadmil: Run) -> None:
    paths = write_head(tmp_path / "a", syntax="jpeg 2000")
    spoil(paths[3])
    outcome = sadmil(tmp_path / "a", "--json", tmp_path / "out.json")
    assert outcome.status == 1
    document = json.loads((tmp_path / "out.json").read_text())
    assert [Path(file["path"]).name for file in document["skipped_files"]] == [paths[3].name]


def test_a_linked_folder_is_read_and_a_loop_of_links_ends(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "archive" / "scan")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "today").symlink_to(tmp_path / "archive", target_is_directory=True)
    (tmp_path / "archive" / "back").symlink_to(tmp_path / "inbox", target_is_directory=True)
    outcome = sadmil(tmp_path / "inbox", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert len(rows_of(tmp_path / "out.csv")) == 10


def test_files_a_mac_leaves_behind_are_no_loss(tmp_path: Path, sadmil: Run) -> None:
    for path in write_head(tmp_path / "a"):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07" + bytes(60))
    assert sadmil(tmp_path / "a").status == 0


def test_dicom_without_a_preamble_is_read_and_said(tmp_path: Path, sadmil: Run) -> None:
    paths = write_head(tmp_path / "a")
    data = paths[2].read_bytes()
    paths[2].unlink()
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    (tmp_path / "a" / "IM0003").write_bytes(data[meta:])
    outcome = sadmil(tmp_path / "a", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert "NO_PREAMBLE" in outcome.err
    assert len(rows_of(tmp_path / "out.csv")) == 10


def test_a_missing_study_uid_is_said(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "a", change=delete("StudyInstanceUID"))
    outcome = sadmil(tmp_path / "a", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert "NO_STUDY_UID" in rows_of(tmp_path / "out.csv")[0]["warnings"]


def test_a_report_written_through_a_link_keeps_the_link(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "a")
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert sadmil(tmp_path / "a", "--csv", tmp_path / "link.csv").status == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(rows_of(tmp_path / "real.csv")) == 10
