"""``sadmil prepare``: from a manifest to a store, with a reason for each scan that is not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sadmil_core.data.store import StoreReader
from sadmil_core.preprocess import PreprocessConfig
from tests.bodies import write_head
from tests.commands import Outcome, run_sadmil


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def call(*options: Any) -> Outcome:
        words = ("prepare", tmp_path / "m.csv", "--store", tmp_path / "store", "--workers", 0)
        return run_sadmil(monkeypatch, capsys, *words, *options)

    return call


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_head(tmp_path / "a", 6)
    (tmp_path / "m.csv").write_text("scan_id,path,scan_label\none,a,1\ntwo,absent,0\n")
    return tmp_path / "m.csv"


def test_scans_are_prepared_once_and_failures_listed(
    run: Any, manifest: Path, tmp_path: Path
) -> None:
    first = run()
    assert first.status == 1
    assert "1 scan(s) prepared, 0 there and unchanged, 1 failed" in first.out
    assert "two was not prepared" in first.err
    assert "does not exist" in first.err
    manifest.write_text("scan_id,path,scan_label\none,a,1\n")
    second = run()
    assert second.status == 0
    assert "0 scan(s) prepared, 1 there and unchanged, 0 failed" in second.out
    assert StoreReader(tmp_path / "store", PreprocessConfig().grid).hu("one").shape == (6, 64, 64)


def test_the_grid_is_the_models_or_the_one_asked_for(
    run: Any, manifest: Path, tmp_path: Path, model: Path
) -> None:
    assert run("--size", "40,30", "--spacing", 6).status == 1
    wanted = PreprocessConfig(size=(40, 30), resample="hu", pixel_spacing_mm=6.0, crop="head")
    assert StoreReader(tmp_path / "store", wanted.grid).hu("one").shape == (6, 40, 30)
    other = run("--model", model)
    assert other.status == 1
    assert "40 x 30 pixels of 6 mm" in other.err
    assert "scanner's own matrix" in other.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "big"), "ROWS,COLUMNS"),
        (("--size", "0,5"), "positive"),
        (("--spacing", 1), "needs --size"),
        (("--size", "5,5", "--model", "demo"), "a size of its own"),
    ],
)
def test_wrong_usage_is_told(run: Any, manifest: Path, options: Any, words: str) -> None:
    outcome = run(*options)
    assert outcome.status == 2
    assert words in outcome.err
