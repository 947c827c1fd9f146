"""SliceThickness is not the distance between slices."""

from __future__ import annotations

from pathlib import Path

import pytest

from sadmil_core.dicom import (
    index_folder,
)
from tests.synthetic import (
    only_entry,
    set_to,
    write_series,
)


def test_thickness_is_never_taken_for_spacing(tmp_path: Path) -> None:
    write_series(tmp_path, spacing_mm=2.5, change=set_to(SliceThickness="5"))
    assert only_entry(index_folder(tmp_path)).geometry.spacing_mm == pytest.approx(2.5)
