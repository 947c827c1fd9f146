"""The ``sadmil`` command, run in the tests' own process through its entry point."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sadmil_core.cli.app import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


def run_sadmil(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: Any
) -> Outcome:
    """Runs ``sadmil`` with these words on a wide terminal."""
    monkeypatch.setattr(sys, "argv", ["sadmil", *map(str, words)])
    monkeypatch.setenv("COLUMNS", "400")
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Outcome(status, captured.out, captured.err)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a slice report."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
