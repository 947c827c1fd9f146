"""``sadmil predict`` of what is unfit, and the series that speaks for a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sadmil_core.predict import Predictor
from tests.bodies import write_head
from tests.commands import Run, rows_of
from tests.synthetic import STUDY, set_to


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
    (row, *_), (scan,) = rows_of(table), json.loads(document.read_text())["scans"]
    assert (row["fitness"], row["fitness_reasons"]) == ("unfit", "NOT_AXIAL")
    assert (row["study_readout"], row["study_readout_reason"]) == ("false", "NONE_SCORABLE")
    assert row["scan_probability"] == ""
    assert "UNFIT" in row["warnings"].split(";")
    assert scan["scored_though_unfit"] is False

    insisted = sadmil(coronal, "--score-unfit", "--csv", table, "--json", document)
    assert insisted.status == 0
    assert "SCORED_THOUGH_UNFIT: scored on request, though unfit: not axial" in insisted.err
    (row, *_), (scan,) = rows_of(table), json.loads(document.read_text())["scans"]
    assert (row["fitness"], row["study_readout"]) == ("unfit", "true")
    assert row["scan_probability"]
    assert "SCORED_THOUGH_UNFIT" in row["warnings"].split(";")
    assert scan["scored_though_unfit"] is True
    assert [reason["level"] for reason in scan["fitness_reasons"]] == ["unfit"]


def test_one_slice_is_not_scored_however_the_user_insists(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "one", slices=1)
    outcome = sadmil(tmp_path / "one", "--score-unfit", "--csv", tmp_path / "out.csv")
    assert outcome.status == 1
    (row,) = rows_of(tmp_path / "out.csv")
    assert row["warnings"] == "TOO_FEW_SLICES"


def test_a_reformat_beside_the_head_is_no_failure(
    tmp_path: Path, sadmil: Run, coronal: Path
) -> None:
    write_head(tmp_path / "study" / "axial")
    outcome = sadmil(coronal.parent, "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    read_out = {r["series_instance_uid"]: r["study_readout"] for r in rows_of(tmp_path / "out.csv")}
    assert read_out == {f"{STUDY}.1": "true", f"{STUDY}.7": "false"}
    assert {r["study_readout_reason"] for r in rows_of(tmp_path / "out.csv")} == {"ONLY_SCORABLE"}
    assert "ONLY_SCORABLE" in outcome.out


def test_doubts_are_said_beside_the_answer(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path / "scan", change=set_to(ContrastBolusAgent="Iohexol"))
    outcome = sadmil(tmp_path / "scan", "--csv", tmp_path / "out.csv")
    assert outcome.status == 0
    assert f"{STUDY}.1: CONTRAST: contrast medium was given" in outcome.err
    assert {row["fitness"] for row in rows_of(tmp_path / "out.csv")} == {"caution"}


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
    read_out = {r["series_instance_uid"]: r["study_readout"] for r in rows_of(tmp_path / "out.csv")}
    assert read_out == {uids["thin"]: "true", uids["thick"]: "false"}
    assert {r["study_readout_reason"] for r in rows_of(tmp_path / "out.csv")} == {"NAMED"}
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
