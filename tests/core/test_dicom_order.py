"""The order of slices and what belongs together: the mistakes nobody would see."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sadmil_core.dicom import WarningCode, build_stacks, index_folder, load_volume, read_headers
from sadmil_core.dicom.header import SliceHeader
from tests.synthetic import (
    AXIAL,
    SERIES,
    STUDY,
    delete,
    encoded_hu,
    load,
    only,
    only_entry,
    set_to,
    tilted,
    write_series,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.dicom import StackEntry

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


def test_nested_folders_and_non_ascii_names_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "Prüfung 頭部" / "série n° 1"
    write_series(folder, name="coupe é {:03d}")
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(6))


def test_two_series_in_one_folder_stay_apart(tmp_path: Path) -> None:
    write_series(tmp_path, slices=4, name="a{}.dcm")
    write_series(tmp_path, slices=5, name="b{}.dcm", series_uid=f"{STUDY}.2", spacing_mm=2.5)
    first, second = index_folder(tmp_path).entries
    assert (first.shape, second.shape) == ((4, 6, 8), (5, 6, 8))
    assert (first.stack_index, second.stack_index) == (0, 0)
    assert first.series_instance_uid != second.series_instance_uid
    assert first.warnings == second.warnings == ()


@pytest.mark.parametrize(
    "change",
    [
        set_to(ImageOrientationPatient=[1, 0, 0, 0, 0.995, -0.0998749]),
        set_to(PixelSpacing=["0.6", "0.75"]),
    ],
    ids=["orientation", "pixel spacing"],
)
def test_slices_of_another_kind_become_a_second_stack_with_a_warning(
    tmp_path: Path, change: object
) -> None:
    write_series(tmp_path, name="a{}.dcm")
    write_series(tmp_path, name="b{}.dcm", uid_start=50, spacing_mm=7, change=change)  # type: ignore[arg-type]
    first, second = index_folder(tmp_path).entries
    assert [first.stack_index, second.stack_index] == [0, 1]
    assert len(first.slices) == len(second.slices) == 6
    for entry in (first, second):
        assert WarningCode.SERIES_SPLIT in _codes(entry)
        assert len({header.path.name[0] for header in entry.slices}) == 1


def test_another_matrix_becomes_a_second_stack(tmp_path: Path) -> None:
    write_series(tmp_path, name="a{}.dcm")
    write_series(tmp_path, name="b{}.dcm", uid_start=50, rows=5)
    assert sorted(entry.shape for entry in index_folder(tmp_path).entries) == [
        (6, 5, 8),
        (6, 6, 8),
    ]


def test_orientation_and_spacing_that_differ_by_rounding_do_not_split(tmp_path: Path) -> None:
    def jitter(dataset: object, z: int) -> None:
        dataset.ImageOrientationPatient = [1, z * 1e-5, 0, 0, 1, -z * 1e-5]  # type: ignore[attr-defined]
        dataset.PixelSpacing = [f"{0.488281 + z * 1e-7:.7f}", "0.488281"]  # type: ignore[attr-defined]

    write_series(tmp_path, change=jitter)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warnings == ()


def test_a_copied_file_counts_once_and_the_first_path_is_kept(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "b")
    (tmp_path / "a").mkdir()
    shutil.copy(paths[3], tmp_path / "a" / "copy.dcm")
    entry = only_entry(index_folder(tmp_path))
    assert entry.slices[3].path == tmp_path / "a" / "copy.dcm"
    assert entry.shape[0] == 6
    assert _codes(entry) == {WarningCode.DUPLICATES_DROPPED}


@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_the_same_pixels_at_the_same_position_count_once(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, name="a{}.dcm")
    write_series(tmp_path, name="b{}.dcm", uid_start=50, syntax=syntax)
    entry = only_entry(index_folder(tmp_path))
    assert [header.path.name[0] for header in entry.slices] == ["a"] * 6
    assert WarningCode.DUPLICATES_DROPPED in _codes(entry)


def test_other_pixels_at_the_same_position_are_a_second_stack(tmp_path: Path) -> None:
    write_series(tmp_path, name="a{}.dcm")
    other = encoded_hu(6) + np.int16(500)
    write_series(tmp_path, name="b{}.dcm", uid_start=50, hu=other)
    first, second = index_folder(tmp_path).entries
    np.testing.assert_array_equal(load_volume(first).hu, encoded_hu(6))
    np.testing.assert_array_equal(load_volume(second).hu, other)
    assert WarningCode.SERIES_SPLIT in _codes(first) & _codes(second)


def test_two_reconstructions_in_one_series_are_not_mixed_whatever_the_names(
    tmp_path: Path,
) -> None:
    """Exports name files at random; InstanceNumber still tells the reconstructions apart."""
    other = encoded_hu(6) + np.int16(500)
    names = [f"{value:x}.dcm" for value in np.random.default_rng(5).permutation(12) + 100]
    soft = write_series(tmp_path / "s")
    hard = write_series(
        tmp_path / "h", uid_start=50, hu=other, change=set_to(InstanceNumber=lambda z: 50 + z)
    )
    for path, name in zip((*soft, *hard), names, strict=True):
        path.rename(tmp_path / name)
    stacks = [load_volume(entry).hu for entry in index_folder(tmp_path).entries]
    assert len(stacks) == 2
    found = sorted((int(hu[0, 0, 0]), hu.tobytes()) for hu in stacks)
    assert found == [
        (-1000, encoded_hu(6).tobytes()),
        (-500, other.tobytes()),
    ]


def test_acquisitions_are_told_apart_only_where_positions_repeat(tmp_path: Path) -> None:
    write_series(tmp_path, change=set_to(AcquisitionNumber=lambda z: z // 3))
    assert only_entry(index_folder(tmp_path)).shape[0] == 6
    other = encoded_hu(4) + np.int16(500)
    write_series(
        tmp_path,
        name="0{}.dcm",
        uid_start=50,
        hu=other,
        offsets_mm=[10, 15, 20, 40],
        change=set_to(AcquisitionNumber=9, InstanceNumber=0),
    )
    write_series(tmp_path, change=set_to(AcquisitionNumber=1))
    by_size = {e.shape[0]: load_volume(e).hu for e in index_folder(tmp_path).entries}
    np.testing.assert_array_equal(by_size[4], other)
    np.testing.assert_array_equal(by_size[6], encoded_hu(6))


def test_slices_at_different_places_are_kept_though_all_carry_one_uid(tmp_path: Path) -> None:
    """A careless anonymiser gives every slice the same SOPInstanceUID."""
    write_series(tmp_path, change=set_to(SOPInstanceUID="1.2.3"))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert WarningCode.REPEATED_UIDS in _codes(volume.entry)


def test_studies_that_share_a_series_uid_are_never_mixed_and_keep_distinct_keys(
    tmp_path: Path,
) -> None:
    write_series(tmp_path, name="a{}.dcm")
    other = encoded_hu(6) + np.int16(500)
    write_series(tmp_path, name="b{}.dcm", study_uid=f"{STUDY}.9", hu=other)
    entries = index_folder(tmp_path).entries
    assert {e.study_instance_uid for e in entries} == {STUDY, f"{STUDY}.9"}
    assert {(e.series_instance_uid, e.stack_index) for e in entries} == {(SERIES, 0), (SERIES, 1)}
    for entry in entries:
        expected = encoded_hu(6) if entry.study_instance_uid == STUDY else other
        np.testing.assert_array_equal(load_volume(entry).hu, expected)
