"""``sadmil index``: the truth about a folder, in a table and as JSON, without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name

from sadmil_core.fitness import fitness_of_entry
from tests.bodies import write_head
from tests.commands import Outcome, Run, run_sadmil
from tests.reference import reference_data
from tests.synthetic import set_to, tilted, truncate, write_series


@pytest.fixture
def sadmil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``sadmil index``."""
    return lambda *words: run_sadmil(monkeypatch, capsys, "index", *words)


def _only_series(outcome: Outcome) -> dict[str, Any]:
    ((series,),) = [study["series"] for study in json.loads(outcome.out)["studies"]]
    return dict(series)


def test_the_table_names_what_is_odd_about_each_series(tmp_path: Path, sadmil: Run) -> None:
    write_series(tmp_path / "a", slices=12, orientation=tilted(18.5), left_out=(5,))
    write_series(tmp_path / "b", series_uid="1.2.3", study_uid="1.2", rsna_quirk=True, hu=_soft())
    outcome = sadmil(tmp_path)
    assert outcome.status == 0
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.startswith("  1.2")}
    first, second = rows["1.2.826.0.1.3680043.10.1.1.1"], rows["1.2.3"]
    assert "5.00 to 10.00" in first
    assert "+18.5°" in first
    assert "MISSING_SLICES; TILTED; UNEVEN_SPACING" in first
    assert "RSNA_12BIT_QUIRK" in second
    assert "1.2.3: RSNA_12BIT_QUIRK: stored values show" in outcome.out
    assert "2 studies, 2 series, 14 slices. Research use only" in outcome.out


def _soft() -> Any:
    import numpy as np

    return np.full((3, 6, 8), 40)


def test_the_json_holds_geometry_order_and_reasons(tmp_path: Path, sadmil: Run) -> None:
    paths = write_series(tmp_path, shuffle_names=True, change=set_to(SliceThickness="4"))
    outcome = sadmil(tmp_path, "--json")
    series = _only_series(outcome)
    assert [each["path"] for each in series["instances"]] == [str(path) for path in paths]
    assert series["spacing_mm"] == {"min": 5.0, "median": 5.0, "max": 5.0}
    assert (series["rows"], series["columns"]) == (6, 8)
    assert series["pixel_spacing_mm"] == [0.5, 0.75]
    assert series["slice_thickness_mm"] == 4
    assert (series["row_direction"], series["column_direction"]) == ("L", "P")
    assert series["encodings"] == ["Explicit VR Little Endian"]
    assert series["fitness"] == "unfit"
    assert "TOO_FEW_SLICES" in [reason["code"] for reason in series["fitness_reasons"]]


def test_lost_files_are_named_and_cost_the_status(tmp_path: Path, sadmil: Run) -> None:
    paths = write_series(tmp_path)
    truncate(paths[2], 40)
    (tmp_path / "notes.txt").write_text("no DICOM")
    outcome = sadmil(tmp_path)
    assert outcome.status == 1
    assert f"{paths[2]}: TRUNCATED: truncated: " in outcome.err
    assert "1 file(s) passed over: NOT_DICOM" in outcome.err
    (lost,) = _only_series(sadmil(tmp_path, "--json"))["skipped_files"]
    assert lost["path"] == str(paths[2])


def test_pixels_complete_the_verdict(tmp_path: Path, sadmil: Run) -> None:
    """Headers alone cannot tell that what was scanned is no head."""
    write_series(tmp_path / "slab", slices=12, rows=64, columns=64)
    codes = {}
    for options in ((), ("--pixels",)):
        series = _only_series(sadmil(tmp_path, "--json", *options))
        codes[options] = [reason["code"] for reason in series["fitness_reasons"]]
    assert "NOT_A_HEAD" not in codes[()]
    assert "NOT_A_HEAD" in codes["--pixels",]


def test_a_head_is_fit_with_and_without_its_pixels(tmp_path: Path, sadmil: Run) -> None:
    write_head(tmp_path)
    for options in ((), ("--pixels",)):
        outcome = sadmil(tmp_path, "--json", *options)
        assert outcome.status == 0
        assert _only_series(outcome)["fitness"] == "ok"


def test_a_path_without_ct_and_a_path_that_is_not_there(tmp_path: Path, sadmil: Run) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    outcome = sadmil(tmp_path)
    assert outcome.status == 1
    assert "holds no readable CT slice" in outcome.err
    assert sadmil(tmp_path / "absent").status == 2


@pytest.mark.reference
def test_the_reference_folders_are_told_as_they_are(sadmil: Run) -> None:
    document = json.loads(sadmil(reference_data() / "ct", "--json").out)
    series = {s["series_instance_uid"]: s for study in document["studies"] for s in study["series"]}
    folders = {Path(s["instances"][0]["path"]).parent.name: s for s in series.values()}
    codes = {name: [w["code"] for w in s["warnings"]] for name, s in folders.items()}
    ge = folders["dcm_qa_ct_GE_tilt"]
    assert (ge["slices"], ge["tilt_deg"]) == (28, 18.5)
    assert ge["spacing_mm"]["min"] == pytest.approx(1.08, abs=0.005)
    assert ge["spacing_mm"]["max"] == pytest.approx(6.995, abs=0.005)
    assert not ge["missing_after"]
    positive, negative = folders["rsna_pos_ID_b026766696"], folders["rsna_neg_ID_1acc4b6d6c"]
    assert (positive["slices"], positive["tilt_deg"]) == (34, 24.0)
    assert (negative["slices"], negative["tilt_deg"]) == (31, 0.0)
    assert all("RSNA_12BIT_QUIRK" not in found for found in codes.values())
    assert sum(s["slices"] for study in document["studies"] for s in study["series"]) == 745
    assert [file["reason"] for file in document["skipped_files"]] == ["NOT_DICOM"] * 4


def test_every_series_has_the_verdict_of_its_headers(tmp_path: Path, sadmil: Run) -> None:
    from sadmil_core.dicom import index_folder

    write_head(tmp_path / "head")
    write_series(tmp_path / "few", series_uid="1.2.3", study_uid="1.2")
    document = json.loads(sadmil(tmp_path, "--json").out)
    found = [s["fitness"] for study in document["studies"] for s in study["series"]]
    expected = [str(fitness_of_entry(entry).level) for entry in index_folder(tmp_path).entries]
    assert found == expected


def test_a_volume_file_is_listed_under_the_name_of_its_format(tmp_path: Path, sadmil: Run) -> None:
    image = sitk.GetImageFromArray(np.zeros((9, 6, 8), np.int16))
    sitk.WriteImage(image, str(tmp_path / "head.nrrd"))
    assert _only_series(sadmil(tmp_path, "--json"))["encodings"] == ["NRRD"]


def test_a_path_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_head(folder)
    words = [sys.executable, "-m", "sadmil_core", "index", str(tmp_path), "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (study,) = json.loads(done.stdout)["studies"]
    assert study["series"][0]["instances"][0]["path"].startswith(str(folder))
