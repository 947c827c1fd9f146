"""Slices stand foot to head by position along their normal, whatever anything else says."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from sadmil_core.dicom import (
    SliceHeader,
    StackEntry,
    WarningCode,
    build_stacks,
    index_folder,
    read_headers,
)
from tests.synthetic import (
    AXIAL,
    delete,
    encoded_hu,
    load,
    only,
    only_entry,
    set_to,
    tilted,
    write_series,
)

ORIENTATIONS = {
    "head first supine": AXIAL,
    "normal towards the feet": (-1, 0, 0, 0, 1, 0),
    "feet first, upside down": (1, 0, 0, 0, -1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "turned in the plane": (0, 1, 0, -1, 0, 0),
    "tilted forwards": tilted(20),
    "tilted backwards": tilted(-24),
    "tilted, normal towards the feet": (-1, *tilted(20)[1:]),
}


def _codes(entry: StackEntry) -> set[str]:
    return set(entry.warning_codes)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("names", [{"shuffle_names": True}, {"from_head": True}], ids=str)
def test_slice_0_is_the_foot_end_whatever_names_and_normal_say(
    tmp_path: Path, orientation: tuple[float, ...], names: dict[str, bool]
) -> None:
    paths = write_series(tmp_path, orientation=orientation, **names)
    volume = load(tmp_path)
    assert [header.path for header in volume.entry.slices] == paths
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert list(np.diff(volume.entry.geometry.position_mm)) == pytest.approx([5.0] * 5)
    assert np.all(np.diff(volume.entry.geometry.z_mm) > 0)


def test_instance_numbers_never_decide_where_positions_are_known(tmp_path: Path) -> None:
    paths = write_series(tmp_path, change=set_to(InstanceNumber=lambda z: [3, 1, 2, 9, 9, 0][z]))
    assert [header.path for header in only_entry(index_folder(tmp_path)).slices] == paths


def test_positions_are_ordered_as_numbers_not_as_texts(tmp_path: Path) -> None:
    write_series(tmp_path, offsets_mm=[-49.5, -41, -40.25, -35, 960, 60.0 + 1e3])
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(6))


def test_the_order_does_not_depend_on_the_order_of_the_headers(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=4)
    headers = [header for path in paths for header in read_headers(path)]
    for shuffled in itertools.permutations(headers):
        (entry,) = build_stacks(h for h in shuffled if isinstance(h, SliceHeader))
        assert [header.path for header in entry.slices] == paths


def test_without_positions_the_instance_numbers_decide_and_a_warning_says_so(
    tmp_path: Path,
) -> None:
    write_series(tmp_path, slices=12, name="{}.dcm", change=delete("ImagePositionPatient"))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(12))
    assert not volume.entry.geometry.has_positions
    assert _codes(volume.entry) == {WarningCode.NO_POSITIONS}


@pytest.mark.parametrize("position", [["nan", "0", "1"], ["1", "2"], []], ids=str)
def test_a_slice_with_an_unusable_position_is_set_apart_not_guessed(
    tmp_path: Path, position: list[str]
) -> None:
    write_series(tmp_path, change=only(2, set_to(ImagePositionPatient=position)))
    entries = index_folder(tmp_path).entries
    assert sorted(len(entry.slices) for entry in entries) == [1, 5]
    assert all(WarningCode.SERIES_SPLIT in _codes(entry) for entry in entries)
    alone = min(entries, key=lambda entry: len(entry.slices))
    assert WarningCode.NO_POSITIONS in _codes(alone)


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


OTHER_PLANES = {
    "coronal": (1, 0, 0, 0, 0, -1),
    "coronal, upside down": (1, 0, 0, 0, 0, 1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (0.8, 0, -0.6, 0, 1, 0),
    "doubly oblique": (0.96, 0.28, 0, -0.224, 0.768, -0.6),
}


@pytest.mark.parametrize("orientation", OTHER_PLANES.values(), ids=OTHER_PLANES)
def test_any_plane_is_ordered_along_its_own_normal(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    write_series(tmp_path, orientation=orientation, shuffle_names=True)
    volume = load(tmp_path)
    expected = encoded_hu(6)
    normal = np.cross(orientation[:3], orientation[3:])
    np.testing.assert_array_equal(volume.hu, expected)
    assert np.abs(volume.entry.geometry.normal) == pytest.approx(np.abs(normal))
    assert volume.entry.geometry.spacing_mm == pytest.approx(5, abs=1e-5)
    is_axial = abs(normal[2]) >= 0.7
    assert (WarningCode.NOT_AXIAL in _codes(volume.entry)) != is_axial
    assert volume.entry.geometry.runs_foot_to_head == is_axial


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        ("HFS", (1, 0, 0, 0, 1, 0)),
        ("HFP", (-1, 0, 0, 0, -1, 0)),
        ("HFDR", (0, -1, 0, 1, 0, 0)),
        ("FFS", (-1, 0, 0, 0, 1, 0)),
        ("FFP", (1, 0, 0, 0, -1, 0)),
    ],
)
def test_however_the_patient_lies_the_frame_is_the_patients(
    tmp_path: Path, position: str, orientation: tuple[float, ...]
) -> None:
    """PatientPosition says how they lie on the table; positions are in the patient already."""
    change = set_to(PatientPosition=position)
    paths = write_series(tmp_path, orientation=orientation, from_head=True, change=change)
    volume = load(tmp_path)
    assert [header.path for header in volume.entry.slices] == paths
    assert volume.entry.geometry.z_mm == (40, 45, 50, 55, 60, 65)
    assert volume.entry.warnings == ()
    assert volume.entry.geometry.row_direction == orientation[:3]


def test_instance_numbers_that_repeat_or_lack_keep_every_slice_without_positions(
    tmp_path: Path,
) -> None:
    numbers = [4, 4, None, 2, 2, 1]
    change = set_to(InstanceNumber=lambda z: numbers[z], ImagePositionPatient=None)
    write_series(tmp_path, change=change)
    entry = only_entry(index_folder(tmp_path))
    assert [header.instance_number for header in entry.slices] == [1, 2, 2, 4, 4, None]
    (warning,) = entry.warnings
    assert warning.code == WarningCode.NO_POSITIONS
    assert warning.message.startswith("no slice positions in the files: ordered by InstanceNumber")
    assert not entry.geometry.runs_foot_to_head


@pytest.mark.parametrize("reach", ["1e6", "-99999999"])
def test_a_position_no_table_reaches_is_none(tmp_path: Path, reach: str) -> None:
    write_series(tmp_path, change=only(2, set_to(ImagePositionPatient=["0", "0", reach])))
    sizes = sorted(len(entry.slices) for entry in index_folder(tmp_path).entries)
    assert sizes == [1, 5]
