"""The command line with a small model, for whatever test of the core wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands import Outcome, Run, run_sadmil
from tests.networks import save_small


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_small(tmp_path / "small.safetensors")


@pytest.fixture
def sadmil(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> Run:
    """Runs ``sadmil predict``."""

    def run(*arguments: Any, model: Path = model, device: str = "cpu") -> Outcome:
        options = ("--model", model, "--device", device)
        return run_sadmil(monkeypatch, capsys, "predict", *arguments, *options)

    return run
