"""Labels: rules, journal, crashes, migrations, and the way to a manifest."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sadmil_core.data.manifest import read_manifest
from sadmil_core.dicom import index_folder
from sadmil_core.errors import LabelError, WriteError
from sadmil_core.labels import (
    Drawing,
    DrawingStore,
    Journal,
    LabelDatabase,
    ScanMarks,
    ScanName,
    SliceName,
    collect_scans,
    read_key,
    scan_name,
    slice_names,
)
from sadmil_core.labels.database import VERSION
from sadmil_core.labels.marks import facts_of, marks_from
from sadmil_core.report.pseudonyms import Pseudonyms
from tests.commands import Run, rows_of, run_sadmil
from tests.studies import write_spot_study

NAMES = tuple(SliceName(f"slice{i}") for i in range(12))
BLANK = ScanMarks()


@pytest.fixture
def database(tmp_path: Path) -> LabelDatabase:
    return LabelDatabase(tmp_path / "labels.sqlite")


@pytest.fixture
def hashes() -> Pseudonyms:
    return Pseudonyms(read_key())


@pytest.fixture
def sadmil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return partial(run_sadmil, monkeypatch, capsys)


# -- rules --------------------------------------------------------------------------------------


def test_a_subtype_makes_its_slice_bleed_and_leaves_the_scan_to_the_reader() -> None:
    marks = BLANK.mark_subtype(3, "subdural", True)
    assert marks.of(3).label is True
    assert marks.label is None
    assert marks.bleeding == (3,)


def test_an_absent_subtype_says_nothing_of_the_slice() -> None:
    assert BLANK.mark_subtype(3, "subdural", False).of(3).label is None


def test_no_slice_bleeds_in_a_scan_without_blood() -> None:
    assert BLANK.mark_scan(False).mark_slice(2, True).label is True
    with pytest.raises(LabelError, match="slices 3, 6 are marked"):
        BLANK.mark_slice(2, True).mark_slice(5, True).mark_scan(False)


def test_a_slice_without_blood_loses_the_subtypes_it_had() -> None:
    marks = BLANK.mark_subtype(3, "subdural", True).mark_subtype(3, "epidural", False)
    assert dict(marks.mark_slice(3, False).of(3).subtypes) == {"epidural": False}
    assert marks.mark_slice(3, None).of(3).is_blank


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("agrees", [True, False])
def test_a_judgement_is_a_label(positive: bool, agrees: bool) -> None:
    scan = BLANK.judge_scan(agrees, is_positive=positive)
    assert (scan.label, scan.agrees) == (positive is agrees, agrees)
    piece = BLANK.judge_slice(4, agrees, is_marked=positive).of(4)
    assert (piece.label, piece.agrees) == (positive is agrees, agrees)


def test_another_label_takes_the_judgement_back() -> None:
    assert BLANK.judge_scan(True, is_positive=True).mark_scan(False).agrees is None
    judged = BLANK.judge_slice(1, False, is_marked=True)
    assert judged.mark_slice(1, True).of(1).agrees is None
    assert judged.mark_subtype(1, "subdural", True).of(1).agrees is None


def test_what_is_kept_is_what_was_said() -> None:
    marks = (
        BLANK.mark_subtype(3, "subdural", True)
        .mark_subtype(3, "epidural", False)
        .mark_slice(4, False)
        .judge_scan(True, is_positive=True)
        .annotate("  thin, left ")
    )
    assert marks_from(facts_of(marks, NAMES), NAMES) == marks
    assert marks.note == "thin, left"
    assert facts_of(BLANK, NAMES) == {}


# -- journal ------------------------------------------------------------------------------------


def test_the_last_word_holds_and_the_first_is_not_forgotten(
    database: LabelDatabase, study: Path, hashes: Pseudonyms
) -> None:
    (entry,) = index_folder(study).entries
    scan, names, journal = scan_name(entry, hashes), slice_names(entry, hashes), Journal(database)
    first = BLANK.mark_scan(True).mark_slice(5, True)
    journal.change(scan, names, BLANK, first, reader="ann")
    journal.change(scan, names, first, first.mark_slice(5, None), reader="ann", model="abc")
    assert journal.marks(scan, names, "ann") == BLANK.mark_scan(True)
    assert journal.marks(scan, names, "bob") == BLANK
    assert [(row.item, row.value, row.model) for row in journal.rows()] == [
        ("label", "1", ""),
        ("label", "1", ""),
        ("label", "", "abc"),
    ]
    assert len(journal.rows(only_last=True)) == 1
    assert journal.rows()[0].at.tzinfo is not None


def test_a_scan_once_marked_stays_seen(
    database: LabelDatabase, study: Path, hashes: Pseudonyms
) -> None:
    (entry,) = index_folder(study).entries
    scan, names, journal = scan_name(entry, hashes), slice_names(entry, hashes), Journal(database)
    journal.change(scan, names, BLANK, BLANK.mark_slice(5, True), reader="ann")
    assert journal.marked_scans("ann") == frozenset()
    marked = BLANK.mark_scan(False)
    journal.change(scan, names, BLANK, marked, reader="ann")
    journal.change(scan, names, marked, BLANK, reader="ann")
    assert journal.marked_scans("ann") == {scan}
    assert journal.marked_scans("bob") == frozenset()


def test_no_identifier_is_kept(database: LabelDatabase, study: Path, hashes: Pseudonyms) -> None:
    (entry,) = index_folder(study).entries
    scan, names = scan_name(entry, hashes), slice_names(entry, hashes)
    Journal(database).change(scan, names, BLANK, BLANK.mark_slice(5, True), reader="ann")
    kept = b"".join(path.read_bytes() for path in database.path.parent.glob("labels.sqlite*"))
    for uid in (entry.study_instance_uid, entry.series_instance_uid):
        assert uid.encode() not in kept
    assert entry.slices[5].sop_instance_uid.encode() not in kept
    assert scan.study.encode() in kept


def _write_many(path: Path, reader: str) -> None:
    journal = Journal(LabelDatabase(path))
    for index in range(len(NAMES)):
        after = BLANK.mark_slice(index, True)
        journal.change(scan_of(reader), NAMES, BLANK, after, reader=reader)


def scan_of(text: str) -> ScanName:
    return ScanName(text, text, 0)


def test_two_programs_write_at_once(database: LabelDatabase) -> None:
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_write_many, args=(database.path, name)) for name in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert len(Journal(database).rows()) == 2 * len(NAMES)


def test_a_killed_program_loses_nothing_it_has_written(database: LabelDatabase) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.core.test_labels import _write_many\n"
        "_write_many(Path(sys.argv[1]), 'ann')\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert len(Journal(database).rows()) == len(NAMES)


def test_an_older_file_is_brought_up_to_date(database: LabelDatabase) -> None:
    from sadmil_core.labels.database import _MIGRATIONS, _statements

    with sqlite3.connect(database.path) as old:
        for statement in _statements(_MIGRATIONS[0]):
            old.execute(statement)
        old.execute(
            "INSERT INTO journal VALUES "
            "(1, 's', 's', 0, '', 0, 'label', '1', 'ann', '2026-01-01T00:00:00+00:00', '')"
        )
        old.execute("PRAGMA user_version = 1")
    old.close()
    assert len(Journal(database).rows()) == 1
    assert DrawingStore(database).of("s") == ()
    with database.transaction() as now:
        assert now.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_failed_step_leaves_the_older_file(
    database: LabelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sadmil_core.labels import database as module

    steps = (*module._MIGRATIONS, "CREATE TABLE later (id);\nCREATE TABLE journal (id);\n")
    with database.transaction():
        pass
    monkeypatch.setattr(module, "_MIGRATIONS", steps)
    monkeypatch.setattr(module, "VERSION", len(steps))
    with pytest.raises(WriteError), LabelDatabase(database.path).transaction():
        pass
    with sqlite3.connect(database.path) as found:
        assert found.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert not found.execute("SELECT * FROM sqlite_master WHERE name = 'later'").fetchall()
    found.close()


def test_a_newer_file_is_left_alone(database: LabelDatabase) -> None:
    with database.transaction() as now:
        now.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = database.path.read_bytes()
    with pytest.raises(LabelError, match="newer version"):
        Journal(LabelDatabase(database.path)).rows()
    assert database.path.read_bytes() == before


def test_a_damaged_file_is_named_and_left(database: LabelDatabase) -> None:
    database.path.write_bytes(b"no database at all " * 400)
    with pytest.raises(LabelError, match="damaged"):
        Journal(database).rows()
    assert database.path.read_bytes().startswith(b"no database")


def test_a_file_that_is_held_says_so(
    database: LabelDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sadmil_core.labels.database._WAIT_S", 0.05)
    with database.transaction():
        pass
    with sqlite3.connect(database.path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WriteError, match="locked"):
            _write_many(database.path, "ann")
        other.rollback()
    other.close()
    assert Journal(database).rows() == []


# -- key ----------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "data" / "labels.key"
    key = read_key(path)
    assert read_key(path) == key
    assert len(key) == 32
    assert read_key(tmp_path / "other.key") != key
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0
    assert [file.name for file in path.parent.iterdir()] == ["labels.key"]


def test_a_broken_key_is_no_reason_to_make_another(tmp_path: Path) -> None:
    path = tmp_path / "labels.key"
    path.write_bytes(b"short")
    with pytest.raises(LabelError, match="5 bytes"):
        read_key(path)
    assert path.read_bytes() == b"short"


# -- drawings -----------------------------------------------------------------------------------


def test_drawings_are_kept_moved_and_removed(database: LabelDatabase) -> None:
    store = DrawingStore(database)
    line = Drawing(uid="a", slice=NAMES[0], kind="distance", points=((1.0, 2.0), (3.5, 4.0)))
    mark = Drawing(uid="b", slice=NAMES[1], kind="key image")
    store.change("series", (), (line, mark))
    moved = Drawing(uid="a", slice=NAMES[0], kind="distance", points=((9.0, 2.0), (3.5, 4.0)))
    store.change("series", (), (moved,))
    assert store.of("series") == (moved, mark)
    assert store.of("other") == ()
    store.change("series", ("a",), ())
    assert store.of("series") == (mark,)


# -- export -------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_spot_study(tmp_path / "study")


def label(study: Path, marks: ScanMarks, reader: str = "ann") -> None:
    (entry,) = index_folder(study).entries
    hashes, journal = Pseudonyms(read_key()), Journal(LabelDatabase())
    scan, names = scan_name(entry, hashes), slice_names(entry, hashes)
    journal.change(scan, names, journal.marks(scan, names, reader), marks, reader=reader)


def test_labels_become_a_manifest_to_train_on(tmp_path: Path, study: Path, sadmil: Run) -> None:
    label(study, BLANK.mark_scan(True).mark_subtype(6, "subdural", True).mark_slice(2, False))
    out, readings = tmp_path / "mine.csv", tmp_path / "readings.csv"
    done = sadmil("labels", "export", study, "--out", out, "--readings", readings)
    assert done.status == 0, done.err
    (scan,) = read_manifest(out).scans
    (entry,) = index_folder(study).entries
    assert scan.scan_id == entry.study_instance_uid
    assert scan.series_instance_uid == entry.series_instance_uid
    assert scan.label is True
    assert [each.label for each in scan.slices] == [
        {2: False, 6: True}.get(index) for index in range(12)
    ]
    assert scan.slices[6].sop_instance_uid == entry.slices[6].sop_instance_uid
    assert scan.slices[6].subtypes["subdural"] is True
    assert scan.path == study
    rows = rows_of(readings)
    assert {row["reader"] for row in rows} == {"ann"}
    assert {row["scan_id"] for row in rows} == {scan.scan_id}
    assert entry.slices[6].sop_instance_uid in {row["sop_instance_uid"] for row in rows}
    assert all(row["at_utc"].endswith("+00:00") for row in rows)


def test_a_scan_of_which_only_slices_are_marked_follows_from_them(study: Path) -> None:
    label(study, BLANK.mark_slice(6, True))
    found = collected(study)
    assert found.scans[0].label is True
    label(study, BLANK.mark_slice(6, False))
    assert collected(study).scans[0].label is None


def collected(study: Path, reader: str | None = None):
    entries = index_folder(study).entries
    return collect_scans(Journal(LabelDatabase()), Pseudonyms(read_key()), entries, reader)


def test_readers_who_contradict_each_other_leave_a_blank(study: Path, sadmil: Run) -> None:
    label(study, BLANK.mark_scan(True).mark_slice(6, True), "ann")
    label(study, BLANK.mark_scan(False).mark_slice(1, False), "bob")
    found = collected(study)
    assert found.disputed == 1
    assert "1 label(s) are blank" in found.notes[0]
    assert found.scans[0].slices[6].label is True
    assert found.scans[0].slices[1].label is False
    assert found.scans[0].label is True  # as its slices say
    assert collected(study, "bob").scans[0].label is False
    listed = sadmil("labels", "list").out
    assert "ann" in listed
    assert "bob" in listed


def test_one_says_the_scan_is_free_the_other_marks_a_slice(tmp_path: Path, study: Path) -> None:
    label(study, BLANK.mark_slice(6, True), "ann")
    label(study, BLANK.mark_scan(False), "bob")
    (scan,) = collected(study).scans
    from sadmil_core.data.manifest import write_manifest

    write_manifest([scan], tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv").scans[0].label is True


def test_scans_that_are_not_there_are_counted(tmp_path: Path, study: Path, sadmil: Run) -> None:
    label(study, BLANK.mark_scan(True))
    other = write_spot_study(tmp_path / "other", seed=2)
    out = tmp_path / "mine.csv"
    missed = sadmil("labels", "export", other, "--out", out)
    assert missed.status == 1
    assert "1 labelled scan(s) are not among these files" in missed.err
    assert not out.exists()
    assert sadmil("labels", "export", other, study, "--out", out).status == 0
    assert len(read_manifest(out).scans) == 1


def test_an_unknown_reader_is_wrong_usage(tmp_path: Path, study: Path, sadmil: Run) -> None:
    label(study, BLANK.mark_scan(True))
    wrong = sadmil("labels", "export", study, "--out", tmp_path / "m.csv", "--reader", "carl")
    assert wrong.status == 2
    assert "ann" in wrong.err


def test_without_labels_the_list_says_where_they_come_from(sadmil: Run) -> None:
    assert "menu Labels" in sadmil("labels", "list").out
