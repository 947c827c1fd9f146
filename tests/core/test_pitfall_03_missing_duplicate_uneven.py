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
    only_entry,
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
