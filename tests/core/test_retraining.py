"""The README's way from a folder of DICOM and a CSV of labels to a model, command by command."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset

from sadmil_core.checkpoint import read_header
from sadmil_core.modelstore import installed_models
from tests.bodies import write_head
from tests.commands import run_sadmil

README = Path(__file__).parents[2] / "README.md"


def commands() -> list[list[str]]:
    section = README.read_text().split("## Retrain on your own scans")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


def _name(patient: str, dataset: Dataset, _z: int) -> None:
    dataset.PatientID = patient


def test_the_readme_leads_from_dicom_and_labels_to_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = ["scan_id,scan_label"]
    for number in range(12):
        study = f"1.2.3.{number}"
        write_head(
            tmp_path / "DICOM" / f"s{number}",
            9 + number,
            study_uid=study,
            series_uid=f"{study}.1",
            change=partial(_name, f"p{number}"),
        )
        labels.append(f"{study},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    for words in commands():
        assert words[0] == "sadmil"
        target = words[words.index(">") + 1] if ">" in words else ""
        words = words[1 : words.index(">")] if target else words[1:]
        outcome = run_sadmil(monkeypatch, capsys, *words)
        assert outcome.status == 0, (words, outcome.err)
        if target:
            text = outcome.out
            for old, new in (
                ("epochs = 100", "epochs = 1"),
                ("[256, 256]", "[64, 64]"),
                ("pixel_spacing_mm = 0.9", "pixel_spacing_mm = 3.6"),
            ):
                assert old in text
                text = text.replace(old, new)
            (tmp_path / target).write_text(text)
    assert "mine" in {model.name for model in installed_models()}
    header = read_header(tmp_path / "runs" / "mine" / "model.safetensors")
    assert header.supervision == "scan"
    assert header.preprocess.crop == "head"
    assert (tmp_path / "judged").is_dir()
