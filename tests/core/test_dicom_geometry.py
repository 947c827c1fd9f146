"""Letters and spacings, against values worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sadmil_core.dicom import StackGeometry, WarningCode, direction_letters, index_folder
from tests.synthetic import delete, only_entry, set_to, tilted, write_series

if TYPE_CHECKING:
    from pathlib import Path


def _stack(positions: list[float]) -> StackGeometry:
    return StackGeometry(
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, 1.0, 0.0),
        origins_mm=tuple((0.0, 0.0, float(p)) for p in positions),
        row_spacing_mm=0.5,
        column_spacing_mm=0.5,
    )


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -1), "F"),
        ((0, 0.9, -0.43), "PF"),
        ((0, -0.43, 0.9), "HA"),
        ((-5, 0.1, 0), "R"),
        ((0, 0, 0), ""),
    ],
)
def test_letters_name_the_side_a_direction_points_to(
    direction: tuple[float, float, float], letters: str
) -> None:
    assert direction_letters(direction) == letters


def test_row_spacing_is_the_first_value_of_pixel_spacing(tmp_path: Path) -> None:
    write_series(tmp_path)  # 0.5 between rows, 0.75 between columns
    geometry = only_entry(index_folder(tmp_path)).geometry
    assert (geometry.row_spacing_mm, geometry.column_spacing_mm) == (0.5, 0.75)


@pytest.mark.parametrize("change", [delete("PixelSpacing"), set_to(PixelSpacing=["0", "0.5"])])
def test_missing_or_zero_pixel_spacing_is_said(tmp_path: Path, change: object) -> None:
    write_series(tmp_path, change=change)  # type: ignore[arg-type]
    assert only_entry(index_folder(tmp_path)).warning_codes == (WarningCode.NO_PIXEL_SPACING,)


@pytest.mark.parametrize("count", [1, 2])
def test_very_short_stacks_have_a_geometry(count: int) -> None:
    geometry = _stack([3.0 * index for index in range(count)])
    assert geometry.spacing_mm == (3.0 if count > 1 else 0.0)
    assert geometry.missing_after == (0,) * (count - 1)


def test_positions_carry_no_float_noise_into_reports(tmp_path: Path) -> None:
    write_series(tmp_path, slices=40, spacing_mm=0.625, orientation=tilted(17.3))
    for position in only_entry(index_folder(tmp_path)).geometry.position_mm:
        assert len(repr(position).partition(".")[2]) <= 6
        assert repr(position) != "-0.0"


def test_a_single_slice_has_no_shear() -> None:
    assert (_stack([3]).shear_deg, _stack([3]).stray_mm) == (0, 0)
