"""``sadmil evaluate``: a manifest read and judged, killed and gone on with."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sadmil_core.dicom import index_folder
from sadmil_core.evaluation.labels import join, read_labels
from sadmil_core.evaluation.predictions import read_predictions
from sadmil_core.predict import Predictor
from tests.bodies import BRAIN, PIXEL_MM, head
from tests.commands import Outcome, rows_of, run_sadmil
from tests.evaluations import write_rows
from tests.synthetic import STUDY, write_series
from tests.tiny_model import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLICES, BLEEDING = 9, (5, 6)


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    return lambda *words: run_sadmil(monkeypatch, capsys, "evaluate", "--device", "cpu", *words)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder of four scans, two with a bright spot, their manifest, and a model that sees it."""
    rows = []
    for at in range(4):
        hu = head(SLICES).astype(np.int16)
        hu[hu == BRAIN] = 20
        if at % 2:
            hu[list(BLEEDING), 24:40, 24:40] = 70
        study = f"{STUDY}.{at + 1}"
        folder = tmp_path / "scans" / str(at)
        write_head_of(folder, hu, study, uid_start=at * 100)
        (entry,) = index_folder(folder).entries
        common = {"schema_version": 1, "scan_id": f"scan{at}", "patient_id": f"p{at}"}
        common |= {"split": "test" if at else "val", "path": f"scans/{at}"}
        rows.append(common | {"scan_label": at % 2})
        rows += [
            common | {"sop_instance_uid": each.sop_instance_uid, "slice_label": int(k in BLEEDING)}
            for k, each in enumerate(entry.slices)
            if at % 2
        ]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    write_rows(tmp_path / "manifest.csv", rows, columns)
    write_tiny_model(tmp_path / "tiny.safetensors")
    return tmp_path


def write_head_of(folder: Path, hu: Any, study: str, **options: Any) -> None:
    write_series(
        folder,
        hu=hu,
        study_uid=study,
        series_uid=f"{study}.7",
        pixel_spacing_mm=(PIXEL_MM, PIXEL_MM),
        **options,
    )


def words(archive: Path, out: str = "out", model: str = "tiny.safetensors") -> list[Any]:
    return [
        "--manifest", archive / "manifest.csv", "--model", archive / model, "--out", archive / out,
    ]  # fmt: skip


def test_a_manifest_is_read_and_judged(archive: Path, evaluate: Callable[..., Outcome]) -> None:
    outcome = evaluate(*words(archive))
    assert (outcome.status, outcome.err) == (0, "")
    document = json.loads((archive / "out" / "metrics.json").read_text())
    assert document["scans"]["n"] == 3  # the fourth is of another split
    found = {key: each["value"] for key, each in document["models"][0]["metrics"].items()}
    assert found["scan_auroc"] == 1
    assert found["within_auroc"] == 1
    assert found["top1_hit"] == 1
    assert "AUROC within positive scans" in outcome.out
    assert "Research use only" in (archive / "out" / "report.html").read_text()
    rows = rows_of(archive / "out" / "predictions-tiny.csv")
    assert len(rows) == 3 * SLICES
    groups = {each["family"] for each in document["models"][0]["subgroups"]}
    assert {"slice spacing", "positive slices"} <= groups
    # What was written is what `sadmil metrics` reads.
    again = join(
        read_predictions(archive / "out" / "predictions-tiny.csv"),
        read_labels(archive / "manifest.csv", split="test")[0::2],
    )
    assert [int(t.positives) for t in again.truths] == [2, 2]


class Killed(BaseException):
    """What nothing catches, as a killed program catches nothing."""


class Counted:
    """Counts the volumes a model reads, and can be made to stop like a killed program."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = 0
        self.stop_at = -1
        run = Predictor.run

        def counting(predictor: Predictor, *args: Any, **options: Any) -> Any:
            if self.runs == self.stop_at:
                raise Killed
            self.runs += 1
            return run(predictor, *args, **options)

        monkeypatch.setattr(Predictor, "run", counting)


def test_a_killed_run_goes_on_and_nothing_is_read_twice(
    archive: Path, evaluate: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(monkeypatch)
    counted.stop_at = 2
    with pytest.raises(Killed):
        evaluate(*words(archive))
    assert not (archive / "out" / "metrics.json").exists()
    counted.stop_at = -1
    assert evaluate(*words(archive)).status == 0
    assert counted.runs == 3
    first = (archive / "out" / "metrics.json").read_bytes()
    assert evaluate(*words(archive)).status == 0
    assert counted.runs == 3
    assert (archive / "out" / "metrics.json").read_bytes() == first


def test_what_has_changed_is_read_again(
    archive: Path, evaluate: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(*words(archive))
    counted = Counted(monkeypatch)
    shutil.rmtree(archive / "scans" / "1")
    hu = head(SLICES, noise_hu=5)
    write_head_of(archive / "scans" / "1", hu, f"{STUDY}.2", uid_start=100)
    assert evaluate(*words(archive)).status == 0
    assert counted.runs == 1
    write_tiny_model(archive / "other.safetensors", name="other", bias=-9.0)
    assert evaluate(*words(archive), "--model", archive / "other.safetensors").status == 0
    assert counted.runs == 4
    kept = min((archive / "out" / "scans").glob("*/*.json"))
    kept.write_text("{ torn")
    assert evaluate(*words(archive), "--model", archive / "other.safetensors").status == 0
    assert counted.runs == 5


def test_noise_flips_decisions_that_stand_on_the_edge(
    archive: Path, evaluate: Callable[..., Outcome]
) -> None:
    calm = evaluate(*words(archive, "calm"), "--noise-hu", "0.01")
    wild = evaluate(*words(archive, "wild"), "--noise-hu", "60", "--noise-repeats", "2")
    flips = {}
    for name, outcome in (("calm", calm), ("wild", wild)):
        assert outcome.status == 0
        document = json.loads((archive / name / "metrics.json").read_text())
        noise = document["models"][0]["noise"]
        assert "HU added" in outcome.out
        flips[name] = noise["slice_decisions"]
    assert flips["calm"]["n"] == 3 * SLICES
    assert flips["wild"]["n"] == 6 * SLICES
    assert flips["calm"]["flips"] == 0
    assert flips["wild"]["flips"] > 0
    # Kept answers keep their flips, and the noise is that of the seed.
    again = evaluate(*words(archive, "wild"), "--noise-hu", "60", "--noise-repeats", "2")
    assert again.out == wild.out


def test_thresholds_are_frozen_on_a_split(archive: Path, evaluate: Callable[..., Outcome]) -> None:
    outcome = evaluate(*words(archive), "--validation-split", "val")
    assert outcome.status == 0
    document = json.loads((archive / "out" / "metrics.json").read_text())
    assert document["models"][0]["thresholds_from_validation"].keys() == {"90", "95"}
    assert "optimistic" not in outcome.out


def test_a_scan_that_cannot_be_read_is_said_and_does_not_stop_the_rest(
    archive: Path, evaluate: Callable[..., Outcome]
) -> None:
    shutil.rmtree(archive / "scans" / "3")
    outcome = evaluate(*words(archive))
    assert outcome.status == 1
    assert "scan3: not scored" in outcome.err
    assert "1 of 3 scans were not scored" in outcome.err
    assert (archive / "out" / "report.html").is_file()
    for at in (1, 2):
        shutil.rmtree(archive / "scans" / str(at))
    outcome = evaluate(*words(archive))
    assert outcome.status == 1
    assert "No scan could be scored with tiny" in outcome.err


def test_wrong_usage_is_said_before_anything_is_read(
    archive: Path, evaluate: Callable[..., Outcome]
) -> None:
    for extra, status, message in (
        (["--bootstrap", "10"], 2, "at least 2000"),
        (["--split", "train"], 1, "no scan of the split 'train'"),
        (["--model", archive / "tiny.safetensors"], 2, "the same weights are given twice"),
        (["--model", "nothing"], 1, "There is no model or file"),
    ):
        outcome = evaluate(*words(archive), *extra)
        assert outcome.status == status
        assert message in outcome.err
    assert not (archive / "out").exists()
