"""``sadmil predict`` with what people give it: status, message, and nothing half-written."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from sadmil_core.cli.app import main
from tests.networks import save_small
from tests.synthetic import STUDY, delete, only, set_to, spoil, truncate, write_series


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


def _write_brain(folder: Path, slices: int = 6, **options: Any) -> list[Path]:
    """Slices whose values lie in the model's windows, each different."""
    hu = np.random.default_rng(slices).normal(40, 50, (slices, 32, 32)).round().astype(np.int16)
    return write_series(folder, hu=hu, **options)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _keys(path: Path) -> list[tuple[str, str, str]]:
    names = ("series_instance_uid", "stack_index", "slice_index")
    return [(row[names[0]], row[names[1]], row[names[2]]) for row in _rows(path)]


def test_a_good_series_gives_a_table_both_reports_and_status_0(tmp_path: Path, sadmil: Run) -> None:
    write_series(tmp_path / "scan", shuffle_names=True)
    table, document = tmp_path / "out.csv", tmp_path / "out.json"
    outcome = sadmil(tmp_path / "scan", "--csv", table, "--json", document)
    assert outcome.status == 0
    assert "Research use only" in outcome.out
    assert outcome.err == ""
    rows = _rows(table)
    assert len(rows) == 6
    (scan,) = json.loads(document.read_text())["scans"]
    assert f"{scan['scan_probability']:.5f}" in outcome.out
    assert str(scan["scan_probability"]) == rows[0]["scan_probability"]


def test_the_program_itself_starts_and_answers(tmp_path: Path, model: Path) -> None:
    write_series(tmp_path / "scan")
    words = ["-W", "error", "-m", "sadmil_core", "predict", tmp_path / "scan", "--model", model]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "marked slices" in done.stdout


def _folder_without_dicom(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("no DICOM")


BAD_INPUT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "folder without DICOM": (_folder_without_dicom, "no readable CT slice"),
    "empty folder": (Path.mkdir, "empty folder"),
    "one slice": (lambda folder: write_series(folder, slices=1), "at least 2 are needed"),
    "MR": (
        lambda folder: write_series(folder, change=set_to(Modality="MR")),
        "not CT (modality MR)",
    ),
    "truncated file alone": (
        lambda folder: [truncate(p, 9) for p in write_series(folder, slices=1)],
        "truncated",
    ),
    "truncated file among others": (
        lambda folder: truncate(write_series(folder)[5], 9),
        "slice-005.dcm: TRUNCATED: truncated: 87 of 96 bytes",
    ),
    "every slice spoilt": (
        lambda folder: [
            spoil(p) for p in write_series(folder, rows=32, columns=32, syntax="jpeg 2000")
        ],
        "None of the 6 slices",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_gives_status_1_its_reason_and_does_not_stop_the_others(
    tmp_path: Path, sadmil: Run, make: Callable[[Path], Any], message: str
) -> None:
    make(tmp_path / "bad")
    write_series(tmp_path / "good", series_uid=f"{STUDY}.7")
    table = tmp_path / "out.csv"
    outcome = sadmil(tmp_path / "bad", tmp_path / "good", "--csv", table)
    assert outcome.status == 1
    assert message in outcome.err
    good = [row for row in _rows(table) if row["series_instance_uid"] == f"{STUDY}.7"]
    assert len(good) == 6
    assert all(row["scan_probability"] for row in good)
    alone = sadmil(tmp_path / "bad")
    assert alone.status == 1
    assert message in alone.err


def test_a_slice_that_is_not_scored_keeps_its_row(tmp_path: Path, sadmil: Run) -> None:
    write_series(tmp_path / "one", slices=1)
    sadmil(tmp_path / "one", "--csv", tmp_path / "out.csv")
    (row,) = _rows(tmp_path / "out.csv")
    assert row["warnings"] == "TOO_FEW_SLICES"
    assert row["scan_positive"] == row["attention"] == ""


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, sadmil: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_series(tmp_path / "scan")
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
    _write_brain(tmp_path / "scan", name="a{}")
    _write_brain(tmp_path / "scan", name="b{}", series_uid=f"{STUDY}.7", slices=3)
    outcome = sadmil(tmp_path / "scan", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    rows = _rows(tmp_path / "out.csv")
    assert len({row["scan_probability"] for row in rows}) == 2
    assert len(rows) == len(set(_keys(tmp_path / "out.csv"))) == 9


@pytest.mark.parametrize("how", ["same path", "inner path", "link", "copy", "file by file"])
def test_the_same_series_given_twice_is_read_once(tmp_path: Path, sadmil: Run, how: str) -> None:
    folder = tmp_path / "scans" / "one"
    files = _write_brain(folder)
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
    assert len(keys) == len(set(keys)) == 6
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
    write_series(tmp_path / "scan")
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
    write_series(tmp_path / "scan")
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
    write_series(tmp_path / "scan")
    os.mkfifo(tmp_path / "pipe")
    outcome = sadmil(tmp_path / "scan", "--csv", tmp_path / "pipe")
    assert outcome.status == 1
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("option", ["--csv", "--json"])
def test_a_report_never_replaces_a_scan_or_the_model(
    tmp_path: Path, sadmil: Run, model: Path, option: str
) -> None:
    paths = write_series(tmp_path / "scan")
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
    write_series(tmp_path / "scan", slices=2)
    outcome = sadmil(*arguments)
    assert outcome.status == 2
    assert message in outcome.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan", "small.safetensors"]


def test_a_card_that_is_not_there_is_said(tmp_path: Path, sadmil: Run) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    write_series(tmp_path / "scan")
    outcome = sadmil(tmp_path / "scan", device="cuda")
    assert outcome.status == 1
    assert "no cuda device" in outcome.err


def test_an_absurd_header_is_skipped_and_does_not_stop_the_others(
    tmp_path: Path, sadmil: Run
) -> None:
    write_series(tmp_path / "a", change=only(2, set_to(BitsStored=60000)))
    write_series(tmp_path / "b", series_uid="1.2.3.9", uid_start=50)
    outcome = sadmil(tmp_path, "--csv", tmp_path / "out.csv")
    assert outcome.status == 1
    assert "60000 bits" in outcome.err
    assert len(_rows(tmp_path / "out.csv")) == 11


def test_slices_that_cannot_be_decoded_are_a_failure_and_named(tmp_path: Path, sadmil: Run) -> None:
    paths = write_series(tmp_path / "a", syntax="jpeg 2000", rows=64, columns=64, slices=6)
    spoil(paths[3])
    outcome = sadmil(tmp_path / "a", "--json", tmp_path / "out.json")
    assert outcome.status == 1
    document = json.loads((tmp_path / "out.json").read_text())
    assert [Path(file["path"]).name for file in document["skipped_files"]] == [paths[3].name]


def test_a_linked_folder_is_read_and_a_loop_of_links_ends(tmp_path: Path, sadmil: Run) -> None:
    write_series(tmp_path / "archive" / "scan")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "today").symlink_to(tmp_path / "archive", target_is_directory=True)
    (tmp_path / "archive" / "back").symlink_to(tmp_path / "inbox", target_is_directory=True)
    outcome = sadmil(tmp_path / "inbox", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert len(_rows(tmp_path / "out.csv")) == 6


def test_files_a_mac_leaves_behind_are_no_loss(tmp_path: Path, sadmil: Run) -> None:
    for path in write_series(tmp_path / "a"):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07" + bytes(60))
    assert sadmil(tmp_path / "a").status == 0


def test_dicom_without_a_preamble_is_read_and_said(tmp_path: Path, sadmil: Run) -> None:
    paths = write_series(tmp_path / "a")
    data = paths[2].read_bytes()
    paths[2].unlink()
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    (tmp_path / "a" / "IM0003").write_bytes(data[meta:])
    outcome = sadmil(tmp_path / "a", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert "NO_PREAMBLE" in outcome.err
    assert len(_rows(tmp_path / "out.csv")) == 6


def test_a_missing_study_uid_is_said(tmp_path: Path, sadmil: Run) -> None:
    write_series(tmp_path / "a", change=delete("StudyInstanceUID"))
    outcome = sadmil(tmp_path / "a", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert "NO_STUDY_UID" in _rows(tmp_path / "out.csv")[0]["warnings"]


def test_a_report_written_through_a_link_keeps_the_link(tmp_path: Path, sadmil: Run) -> None:
    write_series(tmp_path / "a")
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert sadmil(tmp_path / "a", "--csv", tmp_path / "link.csv").status == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(_rows(tmp_path / "real.csv")) == 6
