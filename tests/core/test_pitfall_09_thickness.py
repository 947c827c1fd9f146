"""SliceThickness is not the distance between slices."""

from __future__ import annotations

from pathlib import Path

import pytest

from sadmil_core.dicom import (
    WarningCode,
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


@pytest.mark.parametrize("thickness", [None, "0", "-5", "10", "1e9"])
def test_overlapping_thin_and_absurd_thickness_change_no_geometry(
    tmp_path: Path, thickness: str | None
) -> None:
    write_series(tmp_path, spacing_mm=5, change=set_to(SliceThickness=thickness))
    entry = only_entry(index_folder(tmp_path))
    assert entry.geometry.spacings_mm == (5,) * 5
    assert entry.warnings == ()


def test_a_thickness_that_changes_within_a_series_splits_nothing(tmp_path: Path) -> None:
    """Thin slices at the base and thick ones above are one scan."""
    change = set_to(SliceThickness=lambda z: "2.5" if z < 4 else "5")
    offsets = [0, 2.5, 5, 7.5, 10, 15, 20, 25]
    write_series(tmp_path, slices=8, offsets_mm=offsets, change=change)
    entry = only_entry(index_folder(tmp_path))
    assert entry.warning_codes == (WarningCode.UNEVEN_SPACING,)
    assert [header.slice_thickness_mm for header in entry.slices] == [2.5] * 4 + [5] * 4


def test_spacing_between_slices_is_not_believed_either(tmp_path: Path) -> None:
    write_series(tmp_path, spacing_mm=3, change=set_to(SpacingBetweenSlices="-5"))
    assert only_entry(index_folder(tmp_path)).geometry.spacing_mm == 3
