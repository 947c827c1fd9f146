"""What leaves the program: exact columns, exact numbers, whole files."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sadmil_core import __version__
from sadmil_core.dicom import SkippedFile, SkipReason, WarningCode, index_folder
from sadmil_core.errors import UnscorableError, WriteError
from sadmil_core.fitness import FitnessCode, fitness_of_entry
from sadmil_core.predict import Predictor
from sadmil_core.reading import read_stack
from sadmil_core.readout import ReadoutReason, StudyReadout
from sadmil_core.report import ScanRecord, csv_text, json_text, write_csv, write_json
from sadmil_core.report.record import unscored
from sadmil_core.report.slices_csv import format_cell
from sadmil_core.result import DecisionRule, ModelIdentity
from tests.bodies import write_head
from tests.networks import trained_small
from tests.synthetic import SERIES, STUDY, delete, only_entry, set_to, tilted, write_series

COLUMNS = (
    "schema_version,scan_id,series_instance_uid,stack_index,slice_index,sop_instance_uid,"
    "frame_number,instance_number,z_mm,position_mm,attention,attention_logit,attention_sd,"
    "attention_threshold,slice_score,slice_probability,slice_positive,evidence,contribution,"
    "scan_probability,scan_threshold,scan_positive,slice_rule,fitness,fitness_reasons,"
    "study_readout,study_readout_reason,model_id,model_sha256,software_version,warnings,research_use_only"
)
FLOATS = ("attention", "attention_logit", "slice_score", "evidence", "contribution")


SLICES = 8


def _record(folder: Path, *, bag_padding: int = 9, **options: Any) -> ScanRecord:
    write_head(folder / "scan", SLICES, from_head=True, **options)
    model = trained_small(folder / "m.safetensors", bag_padding=bag_padding)
    predictor = Predictor(model, device="cpu")
    return read_stack(only_entry(index_folder(folder / "scan")), predictor)


@pytest.fixture
def record(tmp_path: Path) -> ScanRecord:
    return _record(tmp_path, orientation=tilted(17.3))


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_columns_are_exactly_those_agreed(record: ScanRecord) -> None:
    assert csv_text([record]).split("\n")[0] == COLUMNS
    assert csv_text([]) == COLUMNS + "\n"


def test_the_file_is_plain_utf8_with_lf_and_no_bom(tmp_path: Path, record: ScanRecord) -> None:
    write_csv([record], tmp_path / "out.csv")
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(b"schema_version,")
    assert b"\r" not in content
    assert content.endswith(b"true\n")
    assert content.count(b"\n") == SLICES + 1


def test_numbers_read_back_by_pandas_are_the_same_bits(tmp_path: Path, record: ScanRecord) -> None:
    write_csv([record], tmp_path / "out.csv")
    # From version 3 on, pandas reads exactly without being told.
    exact = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
    table = pd.read_csv(tmp_path / "out.csv", **exact)
    result = record.result
    assert result is not None
    for name in FLOATS:
        back = table[name].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(back.view(np.int32), getattr(result, name).view(np.int32))
    geometry = result.entry.geometry
    assert tuple(table["position_mm"]) == geometry.position_mm
    assert tuple(table["z_mm"]) == geometry.z_mm
    assert set(table["scan_probability"]) == {result.scan_probability}
    assert table["slice_positive"].dtype == bool
    assert list(table["slice_positive"]) == result.slice_positive.tolist()


def test_numbers_are_in_their_shortest_form(record: ScanRecord) -> None:
    for row in _rows(csv_text([record])):
        for name in FLOATS:
            value = np.float32(row[name])
            assert row[name] == str(value)
            assert len(row[name]) <= len(repr(float(value)))


def test_rows_say_which_slice_of_which_scan(record: ScanRecord) -> None:
    rows = _rows(csv_text([record]))
    assert [row["slice_index"] for row in rows] == list("01234567")
    assert [row["sop_instance_uid"] for row in rows] == [
        f"{SERIES}.{i}" for i in range(1, SLICES + 1)
    ]
    # Written from head to foot: the files' numbers run the other way.
    assert [row["instance_number"] for row in rows] == list("87654321")
    assert {row["scan_id"] for row in rows} == {STUDY}
    positions = [float(row["position_mm"]) for row in rows]
    assert positions == sorted(positions)


def test_cells_that_repeat_in_every_row(record: ScanRecord) -> None:
    result = record.result
    assert result is not None
    for row in _rows(csv_text([record])):
        assert row["schema_version"] == "2"
        assert row["slice_rule"] == "attention > 1/max(S,9); gated"
        assert float(row["attention_threshold"]) == pytest.approx(1 / 9)
        assert row["scan_threshold"] == "0.5"
        assert row["scan_positive"] == ("true" if result.scan_positive else "false")
        assert row["model_sha256"] == result.model.sha256
        assert row["software_version"] == __version__
        assert row["warnings"] == "TILTED"
        assert row["research_use_only"] == "true"
        assert (row["fitness"], row["fitness_reasons"]) == ("ok", "")
        assert (row["study_readout"], row["study_readout_reason"]) == ("true", "ONLY_SERIES")
        blank = ("frame_number", "attention_sd", "slice_probability")
        assert not any(row[name] for name in blank)


def test_a_reader_who_applies_the_rule_to_the_columns_comes_to_the_same_decisions(
    record: ScanRecord,
) -> None:
    result = record.result
    assert result is not None
    for size in (3, 7, 41, 57):
        share = np.full(SLICES, 1 / size, np.float32)
        flat = replace(result, attention=share, bag_size=size, scan_probability=0.9)
        for row in _rows(csv_text([replace(record, result=flat)])):
            above = float(row["attention"]) > float(row["attention_threshold"])
            assert row["slice_positive"] == ("true" if above else "false")


def test_patients_never_appear_in_a_report(record: ScanRecord) -> None:
    for text in (csv_text([record]), json_text([record])):
        assert "Secret" not in text
        assert "SECRET" not in text


def test_a_threshold_on_evidence_is_not_written_as_one_on_attention(record: ScanRecord) -> None:
    assert record.result is not None
    rule = DecisionRule(slice_score="evidence", slice_threshold=0.25, relative_to_uniform=False)
    rows = _rows(csv_text([replace(record, result=replace(record.result, rule=rule))]))
    assert {row["attention_threshold"] for row in rows} == {""}
    assert {row["slice_rule"] for row in rows} == {"evidence > 0.25; gated"}
    assert [row["slice_score"] for row in rows] == [row["evidence"] for row in rows]


def test_an_unscored_stack_keeps_its_rows_and_no_result_cell(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3)
    model = ModelIdentity(model_id="m", sha256="0" * 64)
    error = UnscorableError("not this one")
    entry = only_entry(index_folder(tmp_path))
    record = unscored(entry, model, fitness_of_entry(entry), WarningCode.NOT_SCORED, error)
    rows = _rows(csv_text([record]))
    assert len(rows) == 3
    filled = {name for name, value in rows[1].items() if value}
    assert filled == {
        *("schema_version", "scan_id", "series_instance_uid", "stack_index", "slice_index"),
        *("sop_instance_uid", "instance_number", "z_mm", "position_mm", "model_id"),
        *("fitness", "fitness_reasons", "study_readout", "study_readout_reason"),
        *("model_sha256", "software_version", "warnings", "research_use_only"),
    }
    assert rows[1]["warnings"] == "NOT_SCORED"


def test_positions_that_were_made_up_are_blank(tmp_path: Path) -> None:
    record = _record(tmp_path, change=delete("ImagePositionPatient", "InstanceNumber"))
    for row in _rows(csv_text([record])):
        assert (row["z_mm"], row["position_mm"], row["instance_number"]) == ("", "", "")
        assert row["warnings"] == "NO_POSITIONS"
        assert row["attention"]


def test_warnings_are_sorted_codes_each_once(tmp_path: Path) -> None:
    record = _record(
        tmp_path,
        orientation=tilted(5),
        offsets_mm=[0, 5, 10, 16, 21, 40, 45, 50],
        change=delete("PixelSpacing"),
    )
    codes = _rows(csv_text([record]))[0]["warnings"].split(";")
    assert codes == ["MISSING_SLICES", "NO_PIXEL_SPACING", "TILTED", "UNEVEN_SPACING"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_disarmed(start: str, record: ScanRecord) -> None:
    assert format_cell(f"{start}1+1") == f"'{start}1+1"
    named = replace(record, model=ModelIdentity(model_id=f"{start}cmd", sha256=""))
    assert _rows(csv_text([named]))[0]["model_id"] == f"'{start}cmd"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1.5, "-1.5"),
        (np.float32(-1e-9), "-1e-09"),
        (-3, "-3"),
        (True, "true"),
        (np.bool_(False), "false"),
        (None, ""),
        (float("nan"), ""),
        (np.float32(0.1), "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        ("a=b", "a=b"),
    ],
)
def test_cells(value: Any, cell: str) -> None:
    assert format_cell(value) == cell


def test_a_uid_from_a_hostile_file_cannot_break_rows_or_formulas(tmp_path: Path) -> None:
    record = _record(tmp_path)
    hostile = tuple(replace(h, sop_instance_uid='=1",\r2\n3') for h in record.entry.slices)
    record = replace(record, entry=replace(record.entry, slices=hostile))
    rows = _rows(csv_text([record]))
    assert len(rows) == SLICES
    assert {row["sop_instance_uid"] for row in rows} == {"'=1\",\r2\n3"}


def test_control_characters_of_a_uid_reach_no_report(tmp_path: Path) -> None:
    record = _record(tmp_path, change=set_to(SOPInstanceUID="1.2\r\n3"))
    assert {row["sop_instance_uid"] for row in _rows(csv_text([record]))} == {"1.2\ufffd\ufffd3"}


def test_the_json_says_the_same_as_the_csv(record: ScanRecord) -> None:
    document = json.loads(json_text([record]))
    (scan,) = document["scans"]
    for row, of_slice in zip(_rows(csv_text([record])), scan["slices"], strict=True):
        for name, value in (scan | of_slice).items():
            if name in row and name not in ("warnings", "fitness_reasons"):
                assert row[name] == ("" if value is None else format_cell(value)), name
    assert [warning["code"] for warning in scan["warnings"]] == ["TILTED"]
    assert "17.3" in scan["warnings"][0]["message"]
    assert set(COLUMNS.split(",")) <= {*document, *scan, *scan["slices"][0]}
    assert (scan["device"], scan["precision"], scan["chunk"]) == ("cpu", "fp32", 1)
    assert set(scan["seconds"]) == {"encode", "pool"}
    assert document["research_use_only"] is True
    assert "not for diagnosis" in document["notice"]


def test_names_that_are_no_text_do_not_cost_the_report(tmp_path: Path, record: ScanRecord) -> None:
    odd = SkippedFile(Path(os.fsdecode(b"caf\xe9")), SkipReason.DAMAGED, "damaged")
    write_json([record], tmp_path / "out.json", skipped=[odd])
    (skipped,) = json.loads((tmp_path / "out.json").read_bytes())["skipped_files"]
    assert skipped["path"].startswith("caf")


def test_every_column_and_code_is_described() -> None:
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    codes = (*FitnessCode, *ReadoutReason, *COLUMNS.split(","))
    assert [code for code in codes if f"`{code}`" not in text] == []
    # Some codes are of several kinds, and described under each.
    for heading, kind in (("Warning codes", WarningCode), ("Why files are skipped", SkipReason)):
        section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        described = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
        assert described == set(map(str, kind)), heading


def test_read_outs_can_be_given(record: ScanRecord) -> None:
    choice = StudyReadout(
        scan_id=STUDY, reason=ReadoutReason.NAMED_ABSENT, message="not here", series_count=1
    )
    rows = _rows(csv_text([record], readouts=[choice]))
    assert {row["study_readout"] for row in rows} == {"false"}
    assert {row["study_readout_reason"] for row in rows} == {"NAMED_ABSENT"}
    (study,) = json.loads(json_text([record], readouts=[choice]))["studies"]
    assert (study["message"], study["series_instance_uid"]) == ("not here", None)


def test_reasons_are_codes_in_the_csv_and_sentences_in_the_json(tmp_path: Path) -> None:
    change = set_to(ContrastBolusAgent="X", ConvolutionKernel="BONE")
    record = _record(tmp_path, change=change)
    assert {row["fitness_reasons"] for row in _rows(csv_text([record]))} == {
        "CONTRAST;SHARP_KERNEL"
    }
    (scan,) = json.loads(json_text([record]))["scans"]
    assert scan["fitness"] == "caution"
    assert {each["code"]: each["level"] for each in scan["fitness_reasons"]} == {
        "CONTRAST": "caution",
        "SHARP_KERNEL": "caution",
    }
    assert any("(BONE)" in each["message"] for each in scan["fitness_reasons"])


@pytest.mark.parametrize("write", [write_csv, write_json])
def test_a_full_disk_leaves_the_older_report(
    tmp_path: Path, record: ScanRecord, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "report"
    path.write_text("older")

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="disk is full"):
        write([record], path)
    assert [p.name for p in path.parent.iterdir()] == ["report"]
    assert path.read_text() == "older"
