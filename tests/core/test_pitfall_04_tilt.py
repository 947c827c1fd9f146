"""Gantry tilt comes from orientation and positions, never from its tag."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from sadmil_core.dicom import (
    WarningCode,
    index_folder,
)
from tests.synthetic import (
    AXIAL,
    encoded_hu,
    load,
    only_entry,
    set_to,
    tilted,
    write_series,
)


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


@pytest.mark.parametrize("angle", [-20.0, 8.0])
def test_a_tilted_stack_is_read_in_its_own_slices_never_sheared(
    tmp_path: Path, angle: float
) -> None:
    """The gantry leans, the table moves along z: slices shift against one another."""
    write_series(
        tmp_path,
        orientation=tilted(angle),
        change=set_to(ImagePositionPatient=lambda z: [-120, -118, 40 + 5 * z]),
    )
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert {origin[1] for origin in volume.entry.geometry.origins_mm} == {-118}
    (warning,) = volume.entry.warnings
    assert (warning.code, warning.message) == (
        WarningCode.TILTED,
        f"gantry tilt {angle:+.1f} degrees",
    )


def test_the_tag_of_the_tilt_alone_tilts_nothing(tmp_path: Path) -> None:
    write_series(tmp_path, change=set_to(GantryDetectorTilt="-22"))
    entry = only_entry(index_folder(tmp_path))
    assert entry.geometry.tilt_deg == 0
    assert entry.warnings == ()


def test_two_tilts_in_one_series_are_two_stacks(tmp_path: Path) -> None:
    """Base and vertex of a head, each at its own angle."""
    write_series(tmp_path, slices=4, orientation=tilted(15), name="a{}.dcm")
    vertex = {"uid_start": 50, "offsets_mm": [30, 40, 50, 60]}
    write_series(tmp_path, slices=4, orientation=AXIAL, name="b{}.dcm", **vertex)
    entries = index_folder(tmp_path).entries
    assert sorted(round(entry.geometry.tilt_deg) for entry in entries) == [0, 15]
    assert all(WarningCode.SERIES_SPLIT in entry.warning_codes for entry in entries)
