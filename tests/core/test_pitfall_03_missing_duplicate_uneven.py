"""Slices that are missing, twice there, or unevenly apart: seen, said, never evened out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sadmil_core.dicom import (
    StackEntry,
    WarningCode,
    index_folder,
    load_volume,
)
from tests.synthetic import (
    encoded_hu,
    load,
    only_entry,
    set_to,
    write_series,
)


def _codes(entry: StackEntry) -> set[str]:
    return set(entry.warning_codes)


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


@pytest.mark.parametrize("spacing_mm", [0.625, 5.0, 10.0])
@pytest.mark.parametrize("lacking", [(3,), (3, 4), (2, 7), (1,), (10,)])
def test_a_gap_is_judged_by_the_spacing_around_it(
    tmp_path: Path, lacking: tuple[int, ...], spacing_mm: float
) -> None:
    paths = write_series(tmp_path, slices=12, spacing_mm=spacing_mm, left_out=lacking)
    entry = only_entry(index_folder(tmp_path))
    assert sum(entry.geometry.missing_after) == len(lacking)
    assert [header.path for header in entry.slices] == paths
    assert {WarningCode.MISSING_SLICES, WarningCode.UNEVEN_SPACING} == _codes(entry)


def test_a_gap_is_kept_in_positions_and_never_filled(tmp_path: Path) -> None:
    write_series(tmp_path, slices=8, left_out=(4,))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, np.delete(encoded_hu(8), 4, axis=0))
    assert volume.entry.geometry.spacings_mm == (5, 5, 5, 10, 5, 5)
    assert volume.entry.geometry.spacing_mm == 5


def test_spacing_that_jitters_within_its_tolerance_is_even(tmp_path: Path) -> None:
    write_series(tmp_path, offsets_mm=[0, 5.1, 10.1, 15, 20, 24.95])
    assert only_entry(index_folder(tmp_path)).warnings == ()


def test_positions_a_rounding_apart_are_one_place(tmp_path: Path) -> None:
    """Two exports of one image, of which one wrote fewer decimals."""
    write_series(tmp_path, name="a{}.dcm")
    offsets = [5.0 * z + 4e-4 for z in range(6)]
    write_series(tmp_path, name="b{}.dcm", uid_start=50, offsets_mm=offsets)
    assert only_entry(index_folder(tmp_path)).shape[0] == 6


def test_a_copy_that_is_renumbered_is_still_a_copy(tmp_path: Path) -> None:
    """De-identified twice: other UIDs and numbers, the same pixels in another encoding."""
    write_series(tmp_path, name="a{}.dcm")
    change = set_to(InstanceNumber=lambda z: 100 - z, AcquisitionNumber=9)
    options = {"uid_start": 50, "signed": False, "intercept": -1024, "change": change}
    write_series(tmp_path, name="b{}.dcm", left_out=(0, 5), **options)
    entries = index_folder(tmp_path).entries
    # Stored otherwise: not the same pixel data, so that both are kept, each whole.
    assert sorted(len(entry.slices) for entry in entries) == [4, 6]
    for entry in entries:
        hu = load_volume(entry).hu
        np.testing.assert_array_equal(hu, encoded_hu(6)[1:5] if len(hu) == 4 else encoded_hu(6))


def test_how_many_duplicates_were_left_out_is_said(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a")
    for k, path in enumerate(paths[:4]):
        shutil.copy(path, tmp_path / f"copy{k}.dcm")
    (warning,) = only_entry(index_folder(tmp_path)).warnings
    assert warning.message == (
        "4 exact duplicate(s) left out; the first path in sorted order was kept"
    )
