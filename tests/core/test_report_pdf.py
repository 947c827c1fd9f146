"""The printed page and reports without identifiers."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.dicom import (
    CodedWarning,
    CTVolume,
    Identity,
    SkippedFile,
    SkipReason,
    WarningCode,
    index_folder,
    load_volume,
    side_letters,
)
from sadmil_core.display import DisplayWindow
from sadmil_core.errors import UnscorableError, WriteError
from sadmil_core.model.trained import load_checkpoint
from sadmil_core.predict import Predictor
from sadmil_core.reading import score_volume
from sadmil_core.readout import choose_readouts
from sadmil_core.report import ScanRecord, csv_text, json_text
from sadmil_core.report.page import Page, choose_slices, make_page
from sadmil_core.report.pdf import pdf_bytes, write_pdf
from sadmil_core.report.pseudonyms import Pseudonyms
from sadmil_core.report.record import unscored
from sadmil_core.report.sheet import drawable, elide, width_mm, wrap
from tests.commands import Run
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model

AT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
KEY = Pseudonyms(b"k" * 32)
JANE = Identity(patient_name="DOE^JANE=山田", patient_id="PID-4711", study_date="20260102")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pdf")


@pytest.fixture(scope="module")
def volume(folder: Path) -> CTVolume:
    write_spot_study(folder / "DOE_JANE_1970")
    return load_volume(index_folder(folder / "DOE_JANE_1970").entries[0])


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    write_tiny_model(folder / "tiny.safetensors")
    return Predictor(load_checkpoint(folder / "tiny.safetensors"), device="cpu")


@pytest.fixture(scope="module")
def record(volume: CTVolume, predictor: Predictor) -> ScanRecord:
    return score_volume(volume, predictor)


@pytest.fixture(scope="module")
def page(record: ScanRecord, volume: CTVolume, predictor: Predictor) -> Page:
    return make_page(record, volume, predictor.model.header, made_at=AT, pseudonyms=KEY)


def words(content: bytes) -> str:
    """All texts of a PDF, in the order they were drawn; letters by the fonts' own tables."""
    streams = [
        zlib.decompress(match.group(1))
        for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        if match.group(1)[:1] == b"x"
    ]
    drawn = [s for s in streams if b"BT" in s and b"ET" in s]
    found = []
    for stream in drawn:
        for text in re.findall(rb"BT\n(.*?)\nET", stream, re.DOTALL):
            pieces = re.findall(rb"\(((?:\\.|[^\\)])*)\)|<([0-9A-Fa-f]+)> ?T", text, re.DOTALL)
            line = b"".join(re.sub(rb"\\(.)", rb"\1", plain) for plain, _ in pieces)
            # Codes of one byte or two, by the version of matplotlib.
            found.append(line.replace(b"\0", b"").decode("cp1252", "replace"))
    return "\n".join(found)


@pytest.fixture(scope="module")
def content(page: Page) -> bytes:
    return pdf_bytes([page])


def test_the_page_says_what_it_must(content: bytes, record: ScanRecord) -> None:
    said = words(content)
    assert record.result is not None
    for expected in (
        RESEARCH_USE_NOTICE,
        "POSITIVE",
        "Fitness for the model",
        "6-8",  # the run, counted from 1
        f"threshold {record.result.slice_threshold:.3g}",
        record.model.sha256,
        "Licence",
        "not stated",
        "made 2026-03-04 05:06 UTC",
        "page 1 of 1",
    ):
        assert expected in said, expected
    peak = record.result.peak
    assert f"Slice {peak + 1}" in said


def test_a_fixed_time_gives_the_same_bytes_and_another_gives_others(
    record: ScanRecord, volume: CTVolume, predictor: Predictor, content: bytes
) -> None:
    again = make_page(record, volume, predictor.model.header, made_at=AT, pseudonyms=KEY)
    assert pdf_bytes([again]) == content
    later = replace(again, made_at=AT + timedelta(minutes=1))
    assert pdf_bytes([later]) != content


def test_nothing_on_the_page_leads_to_the_patient(content: bytes, record: ScanRecord) -> None:
    said = words(content)
    uids = {record.entry.study_instance_uid, record.entry.series_instance_uid}
    uids |= {header.sop_instance_uid for header in record.entry.slices}
    for secret in (*uids, "DOE", "JANE"):
        assert secret not in said
        assert secret.encode() not in content
    assert KEY.of(record.entry.study_instance_uid) in said


def test_on_request_the_page_names_the_patient(
    record: ScanRecord, volume: CTVolume, predictor: Predictor
) -> None:
    made = make_page(
        record,
        volume,
        predictor.model.header,
        made_at=AT,
        pseudonyms=None,
        identity=JANE,
    )
    said = words(pdf_bytes([made]))
    for expected in ("DOE JANE", "PID-4711", "2026-01-02", record.entry.series_instance_uid):
        assert expected in said
    assert "This page names a patient" in said


def test_names_are_never_formulas_and_never_warn(page: Page) -> None:
    header = page.header
    assert header is not None
    odd = replace(page, header=replace(header, name=r"cost $\alpha$ 山田 \n"))
    assert r"cost $\alpha$" in words(pdf_bytes([odd]))
    assert drawable("a\n b\t山") == "a b □"


def test_the_pictures_are_the_slices_as_a_reader_sees_them(page: Page, volume: CTVolume) -> None:
    for picture in page.pictures:
        assert picture.letters == side_letters(volume.entry.geometry) == ("R", "L", "A", "P")
        # At L 40 W 80 the corner holds the slice's own number in HU.
        expected = ((picture.index - 39.5) / 79 + 0.5) * 255
        assert picture.gray[0, 0] == pytest.approx(expected, abs=0.51)
    assert [p.index for p in page.pictures] == sorted(p.index for p in page.pictures)


def test_marked_slices_go_before_the_strongest(
    record: ScanRecord, volume: CTVolume, predictor: Predictor
) -> None:
    made = make_page(
        record,
        volume,
        predictor.model.header,
        made_at=AT,
        pseudonyms=KEY,
        marked=[9, 1],
        window=DisplayWindow(80, 200),
        preset="Subdural",
    )
    assert [picture.index for picture in made.pictures] == [1, 9]
    said = words(pdf_bytes([made]))
    assert "Key images marked by the reader" in said
    assert "W 200  L 80 (Subdural)" in said or "W 200 L 80 (Subdural)" in said


def test_slices_are_chosen_by_runs_then_by_strength(record: ScanRecord) -> None:
    result = record.result
    assert result is not None
    attention = np.full(12, 0.01, np.float32)
    attention[[2, 3, 9]] = 0.3, 0.31, 0.2
    attention[5] = 0.02
    two_runs = replace(result, attention=attention)
    _, chosen = choose_slices(two_runs, 12)
    assert {3, 9} <= set(chosen)
    assert 2 not in chosen  # beside a peak it would show the same
    assert len(chosen) == 4
    title, marked = choose_slices(two_runs, 40, range(30))
    assert "(10 of 30)" in title
    assert (marked[0], marked[-1]) == (0, 29)
    assert choose_slices(None, 12)[1] == (2, 4, 7, 9)


def test_a_stack_that_was_not_scored_says_why(
    volume: CTVolume, record: ScanRecord, predictor: Predictor
) -> None:
    refused = unscored(
        record.entry,
        record.model,
        record.fitness,
        WarningCode.NOT_SCORED,
        UnscorableError("The scanner was asleep."),
    )
    for pixels in (volume, None):
        made = make_page(refused, pixels, predictor.model.header, made_at=AT, pseudonyms=KEY)
        said = words(pdf_bytes([made]))
        assert "not scored" in said
        assert "was asleep" in " ".join(said.split())
    assert "pixels could not be read" in said


def test_many_runs_and_warnings_stay_on_the_page(page: Page, record: ScanRecord) -> None:
    result = record.result
    assert result is not None
    count = 400
    alternating = np.tile(np.float32([0.0, 0.005]), count // 2)
    entry = replace(
        record.entry,
        slices=tuple(record.entry.slices[0] for _ in range(count)),
        geometry=replace(
            record.entry.geometry, origins_mm=tuple((0.0, 0.0, float(z)) for z in range(count))
        ),
        warnings=tuple(
            CodedWarning(WarningCode.TILTED, f"number {n}: " + "very long " * 60) for n in range(30)
        ),
    )
    long = replace(
        record,
        entry=entry,
        result=replace(result, entry=entry, attention=alternating, bag_size=count),
    )
    said = words(pdf_bytes([replace(page, record=long)]))
    left = re.search(r"and (\d+) more: see the table", said)
    assert left is not None
    assert 180 < int(left.group(1)) < 200
    assert re.search(r"and \d+ more: see the JSON", said)
    # Nothing is drawn below the rule over the model's card but the card.
    assert said.index("more: see the JSON") < said.index("About the model")


def test_lines_are_broken_where_they_fit() -> None:
    lines = wrap("one two " + "x" * 200 + " three", 40.0, 8.0)
    assert all(width_mm(line, 8.0) <= 40.0 for line in lines)
    assert max(width_mm(line, 8.0) for line in lines) > 38.0
    cut = elide("x" * 200, 40.0, 8.0)
    assert 38.0 < width_mm(cut, 8.0) <= 40.0
    assert cut.endswith("x…")
    assert "".join(lines).replace(" ", "") == "onetwo" + "x" * 200 + "three"


def test_a_full_disk_leaves_nothing(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="disk is full"):
        write_pdf([page], tmp_path / "x.pdf")
    assert list(tmp_path.iterdir()) == []


def test_reporting_loads_neither_matplotlib_nor_torch_until_a_page_is_drawn() -> None:
    code = (
        "import sys, sadmil_core.report.page, sadmil_core.report.pdf\n"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- tables ---------------------------------------------------------------------------------------


def test_hidden_tables_hold_the_same_numbers_and_no_identifier(record: ScanRecord) -> None:
    entry = record.entry
    first = entry.slices[0]
    warned = replace(
        entry,
        warnings=(
            CodedWarning(
                WarningCode.TILTED,
                f"{first.path} of {first.sop_instance_uid}: 12 slices, {first.path.name} lost",
            ),
        ),
    )
    assert record.result is not None
    record = replace(record, entry=warned, result=replace(record.result, entry=warned))
    readouts = choose_readouts([record.candidate])
    skipped = [
        SkippedFile(first.path.with_name("JANE.dcm"), SkipReason.DAMAGED, "JANE.dcm is broken")
    ]
    hidden = KEY.hide_record(record)
    choices = [KEY.hide_readout(readout) for readout in readouts]
    files = [KEY.hide_skipped(file) for file in skipped]
    table = csv_text([hidden], readouts=choices)
    document = json_text([hidden], skipped=files, readouts=choices)
    for secret in ("JANE", first.path.name, *{h.sop_instance_uid for h in entry.slices}):
        assert secret not in table
        assert secret not in document
    assert "12 slices" in document
    plain = csv_text([record], readouts=readouts).splitlines()
    shown = table.splitlines()
    assert len(plain) == len(shown)
    (scan,) = json.loads(document)["scans"]
    assert scan["study_readout"] is True
    for before, after in zip(plain[1:], shown[1:], strict=True):
        # All but the three identifiers.
        keep = [i for i in range(len(before.split(","))) if i not in (1, 2, 5)]
        assert [before.split(",")[i] for i in keep] == [after.split(",")[i] for i in keep]


def test_one_key_gives_one_hash_and_another_key_another() -> None:
    assert KEY.of("1.2.3") == Pseudonyms(b"k" * 32).of("1.2.3")
    assert Pseudonyms().of("1.2.3") != Pseudonyms().of("1.2.3")
    assert KEY.of("") == ""
    assert KEY.scrub("slice 3 of 1.2.840.113619.2.55 at 1.25 mm, version 1.2.3") == (
        f"slice 3 of {KEY.of('1.2.840.113619.2.55')} at 1.25 mm, version 1.2.3"
    )


# -- the command line -----------------------------------------------------------------------------


def test_predict_writes_pages_and_hides_on_request(tmp_path: Path, sadmil: Run) -> None:
    write_spot_study(tmp_path / "scan", seed=4)
    table, document, pages = (tmp_path / f"out.{kind}" for kind in ("csv", "json", "pdf"))
    uid = index_folder(tmp_path / "scan").entries[0].series_instance_uid
    outcome = sadmil(tmp_path / "scan", "--csv", table, "--pdf", pages)
    assert outcome.status == 0, outcome.err
    assert uid in table.read_text()  # as ever
    assert uid not in words(pages.read_bytes())
    outcome = sadmil(
        tmp_path / "scan", "--csv", table, "--json", document, "--pdf", pages, "--no-identifiers"
    )
    assert outcome.status == 0, outcome.err
    assert uid not in table.read_text() + document.read_text() + words(pages.read_bytes())
    series = json.loads(document.read_text())["scans"][0]["series_instance_uid"]
    assert series in table.read_text()
    assert series in words(pages.read_bytes())  # what belongs together can be told
    outcome = sadmil(tmp_path / "scan", "--pdf", pages, "--identifiers")
    assert uid in words(pages.read_bytes())


def test_a_page_never_replaces_an_input_or_another_report(tmp_path: Path, sadmil: Run) -> None:
    write_spot_study(tmp_path / "scan")
    scan = next((tmp_path / "scan").glob("*.dcm"))
    before = scan.read_bytes()
    assert sadmil(tmp_path / "scan", "--pdf", scan).status == 2
    assert scan.read_bytes() == before
    same = tmp_path / "x"
    assert sadmil(tmp_path / "scan", "--csv", same, "--pdf", same).status == 2
    assert sadmil(tmp_path / "scan", "--out", tmp_path / "d", "--pdf", same).status == 2
