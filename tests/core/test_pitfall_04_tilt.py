"""Gantry tilt comes from orientation and positions, never from its tag."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

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
