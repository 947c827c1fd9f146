"""``sadmil predict --out``: the plain command's reports, whatever stopped it on the way."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import sadmil_core.reading
from sadmil_core.predict import Predictor
from tests.bodies import belly, write_head
from tests.commands import Outcome, Run, rows_of, run_sadmil
from tests.studies import write_spot_study
from tests.synthetic import STUDY, spoil, truncate, write_series
from tests.tiny_model import write_tiny_model

STUDIES = 40
REPORTS = ("slices.csv", "scans.json", "slices.parquet")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty studies, every third with a bleeding."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(STUDIES):
        bleeding = (3, 4, 5, 6) if number % 3 == 0 else ()
        slices = 8 + number % 5
        write_spot_study(
            folder / f"s{number:02}", seed=number + 1, slices=slices, bleeding=bleeding
        )
    return folder


@pytest.fixture
def dozen(archive: Path, tmp_path: Path) -> Path:
    """Twelve of them."""
    (tmp_path / "dozen").mkdir()
    for number in range(12):
        (tmp_path / "dozen" / f"s{number}").symlink_to(archive / f"s{number:02}")
    return tmp_path / "dozen"


@pytest.fixture
def few(archive: Path, tmp_path: Path) -> Path:
    """Six of them, to be changed."""
    for number in range(6):
        shutil.copytree(archive / f"s{number:02}", tmp_path / "few" / f"s{number:02}")
    return tmp_path / "few"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    write_tiny_model(path, bias=-9.0)
    return path


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not started by torchrun, whatever starts the tests."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sadmil(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    alone: None,
) -> Run:
    def run(*arguments: Any, model: Path = model) -> Outcome:
        options = ("--model", model, "--device", "cpu")
        return run_sadmil(monkeypatch, capsys, "predict", *arguments, *options)

    return run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The studies that the model was run on."""
    found: list[str] = []
    really = Predictor.run

    def counted(self: Predictor, volume: Any, *rest: Any) -> Any:
        result = really(self, volume, *rest)
        found.append(volume.entry.study_instance_uid)
        return result

    monkeypatch.setattr(Predictor, "run", counted)
    return found


def _json_of(path: Path) -> str:
    """The JSON report but for how long things took."""
    return re.sub(r'"(encode|pool)": [0-9.e-]+', r'"\1": 0', path.read_text())


def _require_same(out: Path, plain: Path) -> None:
    assert (out / "slices.csv").read_bytes() == (plain / "slices.csv").read_bytes()
    assert _json_of(out / "scans.json") == _json_of(plain / "scans.json")


def _plain(sadmil: Run, archive: Path, folder: Path) -> Outcome:
    folder.mkdir()
    return sadmil(archive, "--csv", folder / "slices.csv", "--json", folder / "scans.json")


def _records(out: Path) -> list[str]:
    """The keys of all records, in the order of their files."""
    lines = (line for path in out.glob("records/*") for line in path.read_bytes().splitlines())
    return [json.loads(line.split(b"\t")[0])["key"] for line in lines]


def _codes(row: dict[str, str]) -> list[str]:
    return row["warnings"].split(";")


def _mixed_archive(folder: Path) -> None:
    """What an archive may hold, good and bad."""
    write_head(folder / "good", study_uid=f"{STUDY}.1", series_uid=f"{STUDY}.1.1")
    write_head(folder / "good", name="b{}", study_uid=f"{STUDY}.1", series_uid=f"{STUDY}.1.2")
    write_head(folder / "shared", study_uid=f"{STUDY}.7", series_uid=f"{STUDY}.1.1", uid_start=90)
    lost = write_head(folder / "lost", study_uid=f"{STUDY}.2", series_uid=f"{STUDY}.2.1")
    truncate(lost[4], 9)
    spoilt = {"study_uid": f"{STUDY}.3", "series_uid": f"{STUDY}.3.1", "syntax": "jpeg 2000"}
    spoil(write_head(folder / "spoilt", **spoilt)[2])
    write_series(folder / "belly", hu=belly(), study_uid=f"{STUDY}.4", series_uid=f"{STUDY}.4.1")
    write_head(folder / "one", slices=1, study_uid=f"{STUDY}.5", series_uid=f"{STUDY}.5.1")
    (folder / "twice").symlink_to(min((folder / "good").glob("b*")))
    (folder / "nowhere").symlink_to(folder / "absent")
    (folder / "=notes, \n\x7f.txt").write_text("no DICOM")
    shutil.copy(lost[0], folder / "copy.dcm")


def test_the_reports_are_those_of_the_plain_command(
    tmp_path: Path, sadmil: Run, archive: Path
) -> None:
    plain = _plain(sadmil, archive, tmp_path / "plain")
    batch = sadmil(archive, "--out", tmp_path / "out")
    assert (batch.status, plain.status) == (0, 0)
    assert "40 studies (40 series): 14 positive, 0 without an answer" in batch.out
    assert "Research use only" in batch.out
    _require_same(tmp_path / "out", tmp_path / "plain")


def test_bad_studies_are_reported_as_by_the_plain_command(tmp_path: Path, sadmil: Run) -> None:
    _mixed_archive(tmp_path / "mixed")
    # Paths are shown as they were given.
    mixed = Path(os.path.relpath(tmp_path / "mixed"))
    plain = _plain(sadmil, mixed, tmp_path / "plain")
    for shard in ("0/2", "1/2"):
        batch = sadmil(mixed, "--out", tmp_path / "out", "--shard", shard)
    assert (batch.status, plain.status) == (1, 1)
    _require_same(tmp_path / "out", tmp_path / "plain")
    assert len({row["scan_id"] for row in rows_of(tmp_path / "out" / "slices.csv")}) == 6
    warned = {code for row in rows_of(tmp_path / "out" / "slices.csv") for code in _codes(row)}
    assert {"DUPLICATES_DROPPED", "SERIES_SPLIT", "SLICES_UNDECODABLE"} <= warned
    for said in ("TRUNCATED", "NONE_SCORABLE", "TOO_FEW_SLICES", "UNFIT"):
        assert said in batch.err


def test_parquet_holds_what_the_csv_says(tmp_path: Path, sadmil: Run, few: Path) -> None:
    sadmil(few, "--out", tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "slices.parquet")
    rows = rows_of(tmp_path / "out" / "slices.csv")
    assert table.column_names == list(rows[0])
    assert table.num_rows == len(rows) == sum(8 + n % 5 for n in range(6))
    types = {"attention": "float", "z_mm": "double", "slice_index": "int64", "scan_id": "string"}
    assert {name: str(table.schema.field(name).type) for name in types} == types
    for name in ("attention", "evidence", "scan_probability", "z_mm", "slice_index"):
        kept = table[name].to_numpy()
        assert [str(value) for value in kept] == [row[name] for row in rows]
    assert [str(value).lower() for value in table["slice_positive"].to_pylist()] == [
        row["slice_positive"] for row in rows
    ]
    assert set(table["frame_number"].to_pylist()) == {None}


@pytest.mark.parametrize("table_format", ["parquet", "csv"])
def test_ranks_share_the_studies_and_the_last_merges(
    tmp_path: Path,
    sadmil: Run,
    dozen: Path,
    runs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    table_format: str,
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for rank in (1, 2, 0):
        assert not any((out / name).exists() for name in REPORTS)
        monkeypatch.setenv("RANK", str(rank))
        before = len(runs)
        outcome = sadmil(dozen, "--out", out, "--format", table_format)
        assert outcome.status == 0
        parts.append(set(runs[before:]))
    assert len(runs) == len(set.union(*parts)) == 12
    assert all(3 <= len(part) <= 5 for part in parts)
    assert all((out / name).is_file() for name in REPORTS)
    tables = sorted((out / "shards").iterdir())
    assert [path.name for path in tables] == [
        f"slices-{rank:05}-of-00003.{table_format}" for rank in range(3)
    ]
    if table_format == "csv":
        rows = [row for path in tables for row in rows_of(path)]
    else:
        rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    keys = sorted(str(row["sop_instance_uid"]) for row in rows)
    assert keys == sorted(row["sop_instance_uid"] for row in rows_of(out / "slices.csv"))


def test_a_stopped_reading_goes_on_with_any_number_of_processes(
    tmp_path: Path, sadmil: Run, dozen: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _plain(sadmil, dozen, tmp_path / "plain")
    runs.clear()
    counted = Predictor.run

    def stop(self: Predictor, *arguments: Any) -> Any:
        if len(runs) == 7:
            raise KeyboardInterrupt
        return counted(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "run", stop)
        assert sadmil(dozen, "--out", tmp_path / "out").status != 0
    assert not (tmp_path / "out" / "slices.csv").exists()
    sadmil(dozen, "--out", tmp_path / "out", "--shard", "1/2")
    sadmil(dozen, "--out", tmp_path / "out", "--shard", "2/3")
    assert sadmil(dozen, "--out", tmp_path / "out").status == 0
    assert len(runs) == len(set(runs)) == 12
    _require_same(tmp_path / "out", tmp_path / "plain")
    # Tables of other numbers of shards would count slices twice.
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 1
    assert sadmil(dozen, "--out", tmp_path / "out").status == 0
    assert len(runs) == 12


@pytest.mark.parametrize("where", ["in the head", "in the body", "before its end"])
def test_a_half_written_record_is_read_again_and_no_other(
    tmp_path: Path, sadmil: Run, few: Path, runs: list[str], where: str
) -> None:
    out = tmp_path / "out"
    sadmil(few, "--out", out)
    report = (out / "slices.csv").read_bytes()
    (path,) = out.glob("records/*")
    data = path.read_bytes()
    last = data[:-1].rindex(b"\n") + 1
    size = {"in the head": last + 9, "in the body": last + 900, "before its end": len(data) - 1}
    path.write_bytes(data[: size[where]])
    runs.clear()
    assert sadmil(few, "--out", out).status == 0
    assert len(runs) == 1
    assert (out / "slices.csv").read_bytes() == report


def test_a_damaged_record_in_the_middle_is_read_again(
    tmp_path: Path, sadmil: Run, few: Path, runs: list[str]
) -> None:
    sadmil(few, "--out", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("records/*")
    data = path.read_bytes()
    assert data.count(b'"scan_positive":true') > 0
    path.write_bytes(data.replace(b'"scan_positive":true', b'"scan_positive":null', 1))
    runs.clear()
    sadmil(few, "--out", tmp_path / "out")
    assert len(runs) == 1


def test_only_what_has_changed_is_read_again(
    tmp_path: Path, sadmil: Run, few: Path, archive: Path, runs: list[str]
) -> None:
    out = tmp_path / "out"
    sadmil(few, "--out", out)
    ids = {row["scan_id"] for row in rows_of(out / "slices.csv")}
    changed = write_spot_study(few / "s01", seed=2, slices=9, bleeding=(2, 3, 4, 5))
    os.utime(next(changed.iterdir()), ns=(1, 1))
    shutil.rmtree(few / "s02")
    shutil.copytree(archive / "s20", few / "s20")
    runs.clear()
    assert sadmil(few, "--out", out).status == 0
    assert len(runs) == 2
    rows = rows_of(out / "slices.csv")
    assert len({row["scan_id"] for row in rows} - ids) == 1
    assert len({row["scan_id"] for row in rows}) == 6
    assert _plain(sadmil, few, tmp_path / "plain").status == 0
    _require_same(out, tmp_path / "plain")


def test_what_failed_is_tried_again_only_on_request(
    tmp_path: Path, sadmil: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in write_head(few / "bad", syntax="jpeg 2000"):
        spoil(path)
    tried: list[str] = []
    really = sadmil_core.reading.read_stack

    def counted(entry: Any, *rest: Any, **options: Any) -> Any:
        tried.append(entry.study_instance_uid)
        return really(entry, *rest, **options)

    monkeypatch.setattr(sadmil_core.reading, "read_stack", counted)
    out = tmp_path / "out"
    first = sadmil(few, "--out", out)
    assert first.status == 1
    assert "READ_FAILED: None of the 10 slices" in first.err
    assert len(tried) == 7
    tried.clear()
    assert sadmil(few, "--out", out).status == 1
    assert tried == []
    assert sadmil(few, "--out", out, "--retry-failed").status == 1
    assert tried == [STUDY]
    assert [row["warnings"] for row in rows_of(out / "slices.csv")].count("READ_FAILED") == 10


def _other_model(tmp_path: Path, options: list[Any]) -> str:
    write_tiny_model(tmp_path / "other.safetensors", name="other", bias=-8.0)
    options += ["--model", tmp_path / "other.safetensors"]
    return "model tiny"


def _unfit_too(tmp_path: Path, options: list[Any]) -> str:
    options.append("--score-unfit")
    return "score unfit False there, True here"


def _quirk(tmp_path: Path, options: list[Any]) -> str:
    options.append("--no-mend-quirk")
    return "mend quirk True there, False here"


def _manifest(tmp_path: Path, options: list[Any]) -> str:
    (tmp_path / "named.csv").write_text("scan_id,series_instance_uid\n1.2,1.2.3\n")
    options += ["--manifest", tmp_path / "named.csv"]
    return "named series names 0 series there, names 1 series here"


@pytest.mark.parametrize("change", [_other_model, _unfit_too, _quirk, _manifest])
def test_other_settings_are_refused_and_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    sadmil: Run,
    few: Path,
    model: Path,
    change: Callable[[Path, list[Any]], str],
) -> None:
    out = tmp_path / "out"
    sadmil(few, "--out", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    options: list[Any] = ["--model", model]
    message = change(tmp_path, options)
    outcome = run_sadmil(
        monkeypatch, capsys, "predict", few, "--out", out, "--device", "cpu", *options
    )
    assert outcome.status == 1
    assert f"{out} holds results of other settings: " in outcome.err
    assert message in outcome.err
    if change is _other_model:
        assert "there, other (" in outcome.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_another_archive_is_refused(tmp_path: Path, sadmil: Run, few: Path) -> None:
    sadmil(few, "--out", tmp_path / "out")
    outcome = sadmil(few / "s01", "--out", tmp_path / "out")
    assert outcome.status == 1
    assert f"archive {few} there, {few / 's01'} here" in outcome.err


def test_reports_of_something_else_are_not_replaced(tmp_path: Path, sadmil: Run, few: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "slices.csv").write_text("older")
    outcome = sadmil(few, "--out", tmp_path / "out")
    assert outcome.status == 1
    assert "holds slices.csv, and nothing says" in outcome.err
    assert (tmp_path / "out" / "slices.csv").read_text() == "older"


def test_a_full_disk_loses_nothing(
    tmp_path: Path, sadmil: Run, few: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    really_write = os.write

    cut = False

    def full(descriptor: int, data: bytes) -> int:
        nonlocal cut
        if len(runs) < 4:
            return really_write(descriptor, data)
        if not cut:
            cut = True
            return really_write(descriptor, data[:200])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        outcome = sadmil(few, "--out", out)
    assert outcome.status == 1
    assert "No space left on device. Free some space, and run the command again" in outcome.err
    assert len(_records(out)) == 3
    assert not (out / "slices.csv").exists()
    runs.clear()
    assert sadmil(few, "--out", out).status == 0
    assert len(runs) == 3


def test_a_disk_that_is_full_for_the_reports_costs_no_reading(
    tmp_path: Path, sadmil: Run, few: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    really_fsync = os.fsync

    def full(descriptor: int) -> None:
        if len(runs) == 6 and ".records" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        really_fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcome = sadmil(few, "--out", out)
    assert outcome.status == 1
    assert "disk is full" in outcome.err
    assert not list(out.glob("**/*.part"))
    assert sadmil(few, "--out", out).status == 0
    assert len(runs) == 6
    assert all((out / name).is_file() for name in REPORTS)


def test_wrong_usage_gives_status_2(tmp_path: Path, sadmil: Run, few: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.write(next((few / "s00").iterdir()), "a.dcm")
    (tmp_path / "file").write_text("")
    out = tmp_path / "out"
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((tmp_path / "x.zip", "--out", out), "unpack it first"),
        ((few, "--out", few / "out"), "choose a folder elsewhere"),
        ((few, "--out", tmp_path / "file"), "is not a folder"),
        ((few, "--out", out, "--csv", tmp_path / "x.csv"), "leave out --csv"),
        ((few, "--out", out, "--shard", "3/3"), "numbered from 0"),
        ((few, "--out", out, "--shard", "1"), "is not I/N"),
        ((few, "--shard", "0/2"), "is needed for --shard"),
        ((few, "--out", out, "--threads", "0"), "threads"),
    ]
    for arguments, message in cases:
        outcome = sadmil(*arguments)
        assert outcome.status == 2, message
        assert message in outcome.err
    assert not out.exists()


def test_an_archive_without_ct_is_said(tmp_path: Path, sadmil: Run, few: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = sadmil(tmp_path / "empty", "--out", tmp_path / "out")
    assert outcome.status == 1
    assert "is an empty folder" in outcome.err
    assert not (tmp_path / "out" / "slices.csv").exists()
    both = sadmil(few, tmp_path / "empty", "--out", tmp_path / "both")
    assert both.status == 1
    assert "is an empty folder" in both.err
    assert len({row["scan_id"] for row in rows_of(tmp_path / "both" / "slices.csv")}) == 6


def test_a_manifest_chooses_within_the_studies_and_is_told_what_is_absent(
    tmp_path: Path, sadmil: Run
) -> None:
    for series in "123":
        write_head(tmp_path / "a" / series, series_uid=f"{STUDY}.{series}", slices=9)
    named = tmp_path / "named.csv"
    named.write_text(f"scan_id,series_instance_uid\n{STUDY},{STUDY}.3\n1.9,1.9.1\n")
    outcome = sadmil(tmp_path / "a", "--manifest", named, "--out", tmp_path / "out")
    assert outcome.status == 0
    assert "study 1.9: the manifest names series 1.9.1 (line 3); the study is not" in outcome.err
    rows = rows_of(tmp_path / "out" / "slices.csv")
    assert {row["series_instance_uid"] for row in rows if row["study_readout"] == "true"} == {
        f"{STUDY}.3"
    }


STALLING = """
import os, time
from sadmil_core.cli import main
from sadmil_core.predict import Predictor
really, count = Predictor.run, 0
def run(*arguments):
    global count
    count += 1
    if os.environ["RANK"] == "1" and count == 4:
        time.sleep(600)
    return really(*arguments)
Predictor.run = run
main()
"""


@pytest.fixture
def torchrun(
    tmp_path: Path, archive: Path, model: Path, alone: None
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts two ranks that read the archive into ``out``."""
    started: list[subprocess.Popen[str]] = []

    def start(*what: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        words += ["--nproc-per-node", "2", *what, "predict", str(archive)]
        words += ["--out", str(tmp_path / "out"), "--model", str(model), "--device", "cpu"]
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_rank_that_is_killed_hangs_nobody_and_nothing_is_lost_or_repeated(
    tmp_path: Path, sadmil: Run, archive: Path, torchrun: Callable[..., subprocess.Popen[str]]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "stalling.py").write_text(STALLING)
    first = torchrun(str(tmp_path / "stalling.py"))
    # Rank 0 ends, though the other is stuck after three studies.
    _wait_for(lambda: (out / "shards" / "slices-00000-of-00002.parquet").exists())
    _wait_for(lambda: _stuck(out) is not None)
    os.kill(_stuck(out) or 0, signal.SIGKILL)
    first.communicate(timeout=60)
    assert first.returncode != 0
    read = _records(out)
    assert not (out / "slices.csv").exists()
    again = torchrun("-m", "sadmil_core")
    printed, complaints = again.communicate(timeout=120)
    assert again.returncode == 0, complaints
    assert printed.count("40 studies (40 series)") == 1
    assert 3 < len(read) < STUDIES
    assert len(_records(out)) == len(set(_records(out))) == STUDIES
    _plain(sadmil, archive, tmp_path / "plain")
    with (out / "slices.csv").open(newline="") as mine:
        assert len(list(csv.DictReader(mine))) == sum(8 + n % 5 for n in range(STUDIES))
    assert (out / "slices.csv").read_bytes() == (tmp_path / "plain" / "slices.csv").read_bytes()


def _stuck(out: Path) -> int | None:
    """The process of rank 1, once it has read three studies."""
    for path in out.glob("records/00001-of-00002-*"):
        if path.read_bytes().count(b"\n") == 3:
            return int(path.name.split("-")[3])
    return None
