"""Loading: slices that fail, cancelling, first slice first."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sadmil_core.dicom import (
    WarningCode,
    index_folder,
    load_volume,
    open_volume,
    read_identity,
)
from sadmil_core.errors import DecodeError
from sadmil_core.progress import Cancelled, CancelToken
from tests.synthetic import encoded_hu, load, only_entry, set_to, spoil, write_series


def _compressed(folder: Path, slices: int = 5) -> list[Path]:
    return write_series(folder, slices=slices, rows=32, columns=32, syntax="jpeg 2000")


def test_geometry_is_known_before_and_every_slice_arrives_once(tmp_path: Path) -> None:
    write_series(tmp_path, slices=7)
    loading = open_volume(only_entry(index_folder(tmp_path)))
    assert loading.hu.shape == (7, 6, 8)
    assert not loading.arrived.any()
    seen: list[int] = []

    def check(index: int) -> None:
        np.testing.assert_array_equal(loading.hu[index], encoded_hu(7)[index])
        seen.append(index)

    steps: list[tuple[int, int]] = []
    volume = loading.run(lambda done, total, _: steps.append((done, total)), on_slice=check)
    assert sorted(seen) == list(range(7))
    assert steps == [(done, 7) for done in range(8)]
    assert loading.arrived.all()
    assert volume.entry is loading.entry


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


@pytest.mark.parametrize("after", [0, 1, 4])
def test_cancelling_stops_the_load(tmp_path: Path, after: int) -> None:
    write_series(tmp_path)
    token = CancelToken()

    def progress(done: int, total: int, phase: str) -> None:
        if done == after:
            token.cancel()
        token.raise_if_cancelled()

    with pytest.raises(Cancelled):
        load_volume(only_entry(index_folder(tmp_path)), progress)


def test_identity_never_fails_and_bad_texts_cost_only_themselves(tmp_path: Path) -> None:
    paths = write_series(
        tmp_path,
        slices=1,
        change=set_to(SpecificCharacterSet="NOT A SET", PatientSex="F", PatientName="A^B"),
    )
    with pytest.warns(UserWarning, match="NOT A SET|encoding"):
        assert read_identity(paths[0]).sex == "F"
    assert read_identity(tmp_path / "absent").patient_name == ""
    assert read_identity(Path(__file__)).patient_name == ""
