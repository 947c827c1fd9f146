"""Letters, tilt, spacing and gaps, against values worked out by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sadmil_core.dicom import StackGeometry, WarningCode, direction_letters, index_folder
from tests.synthetic import AXIAL, delete, only_entry, set_to, tilted, write_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom.dataset import Dataset


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


@pytest.mark.parametrize("angle", [-24.0, -1.5, 0.0, 18.5])
def test_tilt_comes_from_the_orientation_with_its_sign(tmp_path: Path, angle: float) -> None:
    write_series(tmp_path, orientation=tilted(angle), change=set_to(GantryDetectorTilt=7))
    entry = only_entry(index_folder(tmp_path))
    assert entry.geometry.tilt_deg == pytest.approx(angle, abs=1e-6)
    assert (WarningCode.TILTED in entry.warning_codes) == (abs(angle) >= 1)
    assert entry.geometry.is_axial
    # The front of a slice (towards the top row, -column direction) is nearer the head.
    front_z = -entry.geometry.column_direction[2]
    assert math.copysign(1, front_z) == math.copysign(1, angle) or angle == 0


def test_tilt_is_the_same_whichever_way_the_normal_was_written(tmp_path: Path) -> None:
    write_series(tmp_path, orientation=(-1, *tilted(20)[1:]))
    assert only_entry(index_folder(tmp_path)).geometry.tilt_deg == pytest.approx(20, abs=1e-6)


def test_spacing_is_measured_along_the_normal_not_along_z(tmp_path: Path) -> None:
    """A tilted gantry steps along the table: 5 mm there are 5 cos(tilt) between the planes."""
    orientation = tilted(20)
    write_series(
        tmp_path,
        orientation=orientation,
        change=set_to(ImagePositionPatient=lambda z: [-100, -100, 10 + 5 * z]),
    )
    geometry = only_entry(index_folder(tmp_path)).geometry
    assert geometry.spacing_mm == pytest.approx(5 * math.cos(math.radians(20)), abs=1e-5)
    assert geometry.z_mm == (10, 15, 20, 25, 30, 35)


def _drifting(x_mm: float, y_mm: float) -> Callable[[Dataset, int], None]:
    return set_to(ImagePositionPatient=lambda z: [-100 + x_mm * z, -100 + y_mm * z, 10 + 5 * z])


@pytest.mark.parametrize(("x_mm", "y_mm"), [(0.0, 2.0), (-2.0, 0.0), (0.0, 0.25)])
def test_positions_that_drift_under_an_orientation_that_denies_it_are_sheared(
    tmp_path: Path, x_mm: float, y_mm: float
) -> None:
    """Whatever the tag and the orientation say: six slices, the last five drifts aside."""
    write_series(tmp_path, change=_drifting(x_mm, y_mm))
    entry = only_entry(index_folder(tmp_path))
    assert "TILTED" not in entry.warning_codes
    drift = math.hypot(x_mm, y_mm)
    assert entry.geometry.stray_mm == pytest.approx(5 * drift)
    assert entry.geometry.shear_deg == pytest.approx(math.degrees(math.atan2(drift, 5)))
    (warning,) = [w for w in entry.warnings if w.code == WarningCode.SHEARED]
    assert f"{5 * drift:.1f} mm aside" in warning.message


def test_one_displaced_slice_is_sheared(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        change=set_to(ImagePositionPatient=lambda z: [-100 + 4 * (z == 3), -100, 10 + 5 * z]),
    )
    entry = only_entry(index_folder(tmp_path))
    assert WarningCode.SHEARED in entry.warning_codes
    assert entry.geometry.stray_mm == pytest.approx(4)
    assert entry.geometry.shear_deg == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("drift_mm", [0.0, 0.19])
def test_slices_that_lie_within_a_millimetre_of_their_line_are_not_sheared(
    tmp_path: Path, drift_mm: float
) -> None:
    write_series(tmp_path, change=_drifting(drift_mm, 0))
    assert "SHEARED" not in only_entry(index_folder(tmp_path)).warning_codes


@pytest.mark.parametrize("angle", [-24.0, 18.5])
def test_a_tilt_that_explains_the_drift_is_no_shear_warning(tmp_path: Path, angle: float) -> None:
    """Stepped along the table or stacked along their normal: both are ordinary."""
    write_series(tmp_path / "table", orientation=tilted(angle), change=_drifting(0, 0))
    write_series(tmp_path / "normal", orientation=tilted(angle))
    for folder, shear in (("table", abs(angle)), ("normal", 0.0)):
        entry = only_entry(index_folder(tmp_path / folder))
        assert WarningCode.TILTED in entry.warning_codes
        assert "SHEARED" not in entry.warning_codes
        assert entry.geometry.shear_deg == pytest.approx(shear, abs=1e-6)


def test_a_single_slice_has_no_shear() -> None:
    assert (_stack([3]).shear_deg, _stack([3]).stray_mm) == (0, 0)


def test_thickness_is_never_taken_for_spacing(tmp_path: Path) -> None:
    write_series(tmp_path, spacing_mm=2.5, change=set_to(SliceThickness="5"))
    assert only_entry(index_folder(tmp_path)).geometry.spacing_mm == pytest.approx(2.5)


def test_row_spacing_is_the_first_value_of_pixel_spacing(tmp_path: Path) -> None:
    write_series(tmp_path)  # 0.5 between rows, 0.75 between columns
    geometry = only_entry(index_folder(tmp_path)).geometry
    assert (geometry.row_spacing_mm, geometry.column_spacing_mm) == (0.5, 0.75)


@pytest.mark.parametrize("change", [delete("PixelSpacing"), set_to(PixelSpacing=["0", "0.5"])])
def test_missing_or_zero_pixel_spacing_is_said(tmp_path: Path, change: object) -> None:
    write_series(tmp_path, change=change)  # type: ignore[arg-type]
    assert only_entry(index_folder(tmp_path)).warning_codes == (WarningCode.NO_PIXEL_SPACING,)


@pytest.mark.parametrize(
    ("orientation", "axial"),
    [(AXIAL, True), (tilted(44), True), (tilted(46), False), ((0, 1, 0, 0, 0, -1), False)],
)
def test_slices_that_are_not_axial_are_said(
    tmp_path: Path, orientation: tuple[float, ...], axial: bool
) -> None:
    write_series(tmp_path, orientation=orientation)
    entry = only_entry(index_folder(tmp_path))
    assert entry.geometry.is_axial == axial
    assert (WarningCode.NOT_AXIAL in entry.warning_codes) != axial


@pytest.mark.parametrize(
    "cosines", [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 2, 0], [1, 0, 0]], ids=str
)
def test_an_impossible_orientation_is_taken_as_axial_and_said(
    tmp_path: Path, cosines: list[int]
) -> None:
    paths = write_series(tmp_path, change=set_to(ImageOrientationPatient=cosines))
    entry = only_entry(index_folder(tmp_path))
    assert [header.path for header in entry.slices] == paths
    assert WarningCode.NO_ORIENTATION in entry.warning_codes


def test_gaps_are_kept_counted_and_placed(tmp_path: Path) -> None:
    write_series(tmp_path, slices=12, left_out=(4, 8, 9))
    entry = only_entry(index_folder(tmp_path))
    assert entry.geometry.missing_after == (0, 0, 0, 1, 0, 0, 2, 0)
    message = next(w.message for w in entry.warnings if w.code == WarningCode.MISSING_SLICES)
    assert message.startswith("about 3 ")
    assert "between slices 4 and 5, 7 and 8" in message
    assert WarningCode.UNEVEN_SPACING in entry.warning_codes


def test_a_change_of_spacing_within_a_protocol_is_no_gap_but_is_said(tmp_path: Path) -> None:
    offsets = [*np.arange(0, 30, 2.5), *np.arange(30, 90, 5)]
    write_series(tmp_path, slices=len(offsets), offsets_mm=offsets)
    entry = only_entry(index_folder(tmp_path))
    assert set(entry.geometry.missing_after) == {0}
    assert entry.warning_codes == (WarningCode.UNEVEN_SPACING,)


@pytest.mark.parametrize(("step", "uneven"), [(5.2, False), (4.8, False), (5.4, True), (4.6, True)])
def test_uneven_spacing_has_a_relative_tolerance(step: float, uneven: bool) -> None:
    from sadmil_core.dicom.geometry import spacing_is_even

    assert spacing_is_even([5, 5, step, 5]) != uneven
    assert spacing_is_even([0.5, 0.5, step / 10, 0.5]) != uneven


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
