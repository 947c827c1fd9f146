"""Loading: slices and files that fail, and what is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sadmil_core.dicom import (
    WarningCode,
    index_folder,
    load_volume,
)
from sadmil_core.errors import DecodeError
from tests.synthetic import encoded_hu, load, only_entry, set_to, spoil, write_series


def _compressed(folder: Path, slices: int = 5) -> list[Path]:
    return write_series(folder, slices=slices, rows=32, columns=32, syntax="jpeg 2000")


def test_a_loaded_volume_cannot_be_changed(tmp_path: Path) -> None:
    write_series(tmp_path)
    volume = load(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        volume.hu[0, 0, 0] = 0


def test_an_undecodable_slice_is_left_out_and_the_rest_keeps_its_place(tmp_path: Path) -> None:
    paths = _compressed(tmp_path)
    spoil(paths[2])
    volume = load(tmp_path)
    keep = [0, 1, 3, 4]
    np.testing.assert_array_equal(volume.hu, encoded_hu(5, 32, 32)[keep])
    assert [header.path for header in volume.entry.slices] == [paths[i] for i in keep]
    assert volume.entry.geometry.position_mm == pytest.approx((40, 45, 55, 60))
    codes = [warning.code for warning in volume.entry.warnings]
    assert WarningCode.SLICES_UNDECODABLE in codes
    assert WarningCode.MISSING_SLICES in codes
    assert len(codes) == len(set(codes))
    assert [file.path for file in volume.entry.skipped] == [paths[2]]


def test_a_lost_slice_does_not_double_the_warnings_known_before(tmp_path: Path) -> None:
    paths = write_series(
        tmp_path,
        slices=5,
        rows=32,
        columns=32,
        syntax="jpeg 2000",
        offsets_mm=[0, 5, 10, 15, 22],
        change=set_to(StudyInstanceUID="ID_1"),
    )
    spoil(paths[0])
    codes = [warning.code for warning in load(tmp_path).entry.warnings]
    assert sorted(codes) == ["INVALID_UID", "SLICES_UNDECODABLE", "UNEVEN_SPACING"]


def test_when_no_slice_can_be_decoded_the_error_names_the_series_and_a_file(
    tmp_path: Path,
) -> None:
    paths = _compressed(tmp_path, 3)
    for path in paths:
        spoil(path)
    entry = only_entry(index_folder(tmp_path))
    with pytest.raises(DecodeError, match=r"None of the 3 slices .*slice-000\.dcm"):
        load_volume(entry)


def test_files_that_vanish_after_indexing_are_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    entry = only_entry(index_folder(tmp_path))
    paths[5].unlink()
    volume = load_volume(entry)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6)[:5])
    assert [file.path for file in volume.entry.skipped] == [paths[5]]
    shutil.rmtree(tmp_path)
    with pytest.raises(DecodeError, match="None of the 6"):
        load_volume(entry)
