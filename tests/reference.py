"""The reference data beside the project: the authors' files, golden outputs, real scans.

They are no part of the project; tests that need them are marked ``reference`` and skipped
where they are absent.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def reference_data() -> Path:
    """The folder of the reference data; skips the test where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SADMIL_REFERENCE_DATA") or default)
    if not folder.is_dir():
        pytest.skip("the reference data is not here; SADMIL_REFERENCE_DATA can name its folder")
    return folder


def published_data() -> Path:
    """The authors' files and their golden outputs; skips the test where they are not there."""
    folder = reference_data() / "published"
    if not (folder / "models" / "baseline.ckpt.index").is_file():
        pytest.skip("the reference data lacks the published checkpoints")
    return folder
