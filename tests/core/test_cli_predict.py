"""``sadmil predict`` with what people give it: status, message, and nothing half-written."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from sadmil_core.cli.app import main
from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.predict import Predictor
from tests.bodies import write_head
from tests.networks import save_small
from tests.synthetic import STUDY, delete, only, set_to, spoil, truncate


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_small(tmp_path / "small.safetensors")


@pytest.fixture
def sadmil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> Run:
    """Runs ``sadmil predict`` in this process, through the program's own entry point."""

    def run(*arguments: Any, model: Path = model, device: str = "cpu") -> Outcome:
        words = ["sadmil", "predict", *map(str, arguments), "--model", str(model)]
        monkeypatch.setattr(sys, "argv", [*words, "--device", device])
        monkeypatch.setenv("COLUMNS", "400")
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out, captured.err)

    return run


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _keys(path: Path) -> list[tuple[str, str, str]]:
    names = ("series_instance_uid", "stack_index", "slice_index")
    return [(row[names[0]], row[names[1]], row[names[2]]) for row in _rows(path)]


def test_a_good_series_gives_a_table_both_reports_and_status_0(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan", shuffle_names=True)
    table, document = tmp_path / "out.csv", tmp_path / "out.json"
    outcome = sadmil(tmp_path / "scan", "--csv", table, "--json", document)
    assert outcome.status == 0
    assert "Research use only" in outcome.out
    assert outcome.err == ""
    rows = _rows(table)
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
        found.append([(row["attention"], row["z_mm"]) for row in _rows(tmp_path / "out.csv")])
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
    good = [row for row in _rows(table) if row["series_instance_uid"] == f"{STUDY}.7"]
    assert len(good) == 10
    assert all(row["scan_probability"] for row in good)
    alone = sadmil(tmp_path / "bad")
    assert alone.status == 1
    assert message in alone.err


def test_a_slice_that_is_not_scored_keeps_its_row(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "one", slices=1)
    sadmil(tmp_path / "one", "--csv", tmp_path / "out.csv")
    (row,) = _rows(tmp_path / "out.csv")
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
    rows = _rows(tmp_path / "out.csv")
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
    once, twice = _rows(tmp_path / "once.csv"), _rows(tmp_path / "out.csv")
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
    assert len(_rows(tmp_path / "out.csv")) == 19


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
    assert len(_rows(tmp_path / "out.csv")) == 10


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
    assert len(_rows(tmp_path / "out.csv")) == 10


def test_a_missing_study_uid_is_said(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "a", change=delete("StudyInstanceUID"))
    outcome = sadmil(tmp_path / "a", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert "NO_STUDY_UID" in _rows(tmp_path / "out.csv")[0]["warnings"]


@pytest.fixture
def coronal(tmp_path: Path) -> Path:
    """A reformat of the same study as ``write_head`` writes."""
    folder = tmp_path / "study" / "coronal"
    write_head(folder, series_uid=f"{STUDY}.7", orientation=(1, 0, 0, 0, 0, -1))
    return folder


def test_what_is_unfit_is_not_scored_unless_the_user_insists(
    tmp_path: Path, sadmil: Run, coronal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, document = tmp_path / "out.csv", tmp_path / "out.json"
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "run", lambda *_: pytest.fail("the model was asked"))
        outcome = sadmil(coronal, "--csv", table, "--json", document)
    assert outcome.status == 1
    assert "UNFIT: Unfit to be scored: not axial: the slices lean 90 degrees" in outcome.err
    assert "--score-unfit" in outcome.err
    assert f"study {STUDY}: NONE_SCORABLE" in outcome.err
    (row, *_), (scan,) = _rows(table), json.loads(document.read_text())["scans"]
    assert (row["fitness"], row["fitness_reasons"]) == ("unfit", "NOT_AXIAL")
    assert (row["study_readout"], row["study_readout_reason"]) == ("false", "NONE_SCORABLE")
    assert row["scan_probability"] == ""
    assert "UNFIT" in row["warnings"].split(";")
    assert scan["scored_though_unfit"] is False

    insisted = sadmil(coronal, "--score-unfit", "--csv", table, "--json", document)
    assert insisted.status == 0
    assert "SCORED_THOUGH_UNFIT: scored on request, though unfit: not axial" in insisted.err
    (row, *_), (scan,) = _rows(table), json.loads(document.read_text())["scans"]
    assert (row["fitness"], row["study_readout"]) == ("unfit", "true")
    assert row["scan_probability"]
    assert "SCORED_THOUGH_UNFIT" in row["warnings"].split(";")
    assert scan["scored_though_unfit"] is True
    assert [reason["level"] for reason in scan["fitness_reasons"]] == ["unfit"]


def test_one_slice_is_not_scored_however_the_user_insists(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "one", slices=1)
    outcome = sadmil(tmp_path / "one", "--score-unfit", "--csv", tmp_path / "out.csv")
    assert outcome.status == 1
    (row,) = _rows(tmp_path / "out.csv")
    assert row["warnings"] == "TOO_FEW_SLICES"


def test_a_reformat_beside_the_head_is_no_failure(
    tmp_path: Path, sadmil: Run, coronal: Path
) -> None:
    write_head(tmp_path / "study" / "axial")
    outcome = sadmil(coronal.parent, "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    read_out = {r["series_instance_uid"]: r["study_readout"] for r in _rows(tmp_path / "out.csv")}
    assert read_out == {f"{STUDY}.1": "true", f"{STUDY}.7": "false"}
    assert {r["study_readout_reason"] for r in _rows(tmp_path / "out.csv")} == {"ONLY_SCORABLE"}
    assert "ONLY_SCORABLE" in outcome.out


def test_doubts_are_said_beside_the_answer(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan", change=set_to(ContrastBolusAgent="Iohexol"))
    outcome = sadmil(tmp_path / "scan", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert f"{STUDY}.1: CONTRAST: contrast medium was given" in outcome.err
    assert {row["fitness"] for row in _rows(tmp_path / "out.csv")} == {"caution"}


@pytest.fixture
def two_series(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A study of a 5 mm and a 1 mm series, and a folder for its report."""
    write_head(tmp_path / "two" / "thin", 20, series_uid=f"{STUDY}.1", spacing_mm=1.0)
    write_head(tmp_path / "two" / "thick", 10, series_uid=f"{STUDY}.2")
    return tmp_path / "two", {"thin": f"{STUDY}.1", "thick": f"{STUDY}.2"}


def test_a_study_speaks_through_its_fittest_series_whatever_the_numbers(
    tmp_path: Path, sadmil: Run, two_series: tuple[Path, dict[str, str]]
) -> None:
    folder, uids = two_series
    document = tmp_path / "out.json"
    assert sadmil(folder, "--json", document).status == 0
    report = json.loads(document.read_text())
    (study,) = report["studies"]
    assert (study["scan_id"], study["series_count"]) == (STUDY, 2)
    assert (study["series_instance_uid"], study["reason"]) == (uids["thick"], "PROTOCOL")
    assert "5 mm slices" in study["message"]
    by_uid = {scan["series_instance_uid"]: scan for scan in report["scans"]}
    assert study["scan_probability"] == by_uid[uids["thick"]]["scan_probability"]
    assert study["scan_positive"] == by_uid[uids["thick"]]["scan_positive"]
    # All series are scored and reported all the same.
    assert by_uid[uids["thin"]]["scan_probability"] is not None
    assert [by_uid[uids[name]]["study_readout"] for name in ("thick", "thin")] == [True, False]


def _manifest(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("scan_id,series_instance_uid", *lines, "")))
    return path


def test_a_manifest_names_the_series_that_speaks(
    tmp_path: Path, sadmil: Run, two_series: tuple[Path, dict[str, str]]
) -> None:
    folder, uids = two_series
    manifest = _manifest(tmp_path / "m.csv", f"{STUDY},{uids['thin']}", "1.2.99,1.2.99.1")
    outcome = sadmil(folder, "--manifest", manifest, "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    read_out = {r["series_instance_uid"]: r["study_readout"] for r in _rows(tmp_path / "out.csv")}
    assert read_out == {uids["thin"]: "true", uids["thick"]: "false"}
    assert {r["study_readout_reason"] for r in _rows(tmp_path / "out.csv")} == {"NAMED"}
    assert "study 1.2.99: the manifest names series 1.2.99.1 (line 3)" in outcome.err


def test_a_named_series_that_is_absent_or_unfit_is_said_and_not_replaced(
    tmp_path: Path, sadmil: Run, coronal: Path
) -> None:
    write_head(tmp_path / "study" / "axial")
    document = tmp_path / "out.json"
    for uid, reason in (("1.2.9", "NAMED_ABSENT"), (f"{STUDY}.7", "NAMED_NOT_SCORED")):
        manifest = _manifest(tmp_path / "m.csv", f"{STUDY},{uid}")
        outcome = sadmil(coronal.parent, "--manifest", manifest, "--json", document)
        assert outcome.status == 1
        assert f"study {STUDY}: {reason}: " in outcome.err
        (study,) = json.loads(document.read_text())["studies"]
        assert (study["reason"], study["scan_probability"]) == (reason, None)


def test_a_manifest_that_cannot_be_used_stops_before_any_work(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan")
    manifest = _manifest(tmp_path / "m.csv", f"{STUDY},")
    outcome = sadmil(tmp_path / "scan", "--manifest", manifest, "--csv", tmp_path / "out.csv")
    assert outcome.status == 1
    assert "m.csv, line 2: series_instance_uid is empty" in outcome.err
    assert not (tmp_path / "out.csv").exists()
    _manifest(manifest, f"{STUDY},{STUDY}.1")
    outcome = sadmil(tmp_path / "scan", "--manifest", manifest, "--csv", manifest)
    assert outcome.status == 2
    assert "is one of the input files" in outcome.err


def test_a_report_written_through_a_link_keeps_the_link(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "a")
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert sadmil(tmp_path / "a", "--csv", tmp_path / "link.csv").status == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(_rows(tmp_path / "real.csv")) == 10
