"""What belongs together: several series, studies, reconstructions and objects in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadmil_core.dicom import (
    SkippedFile,
    SkipReason,
    StackEntry,
    WarningCode,
    index_folder,
    load_volume,
    merge_indexes,
    read_headers,
)
from tests.synthetic import (
    SERIES,
    STUDY,
    delete,
    encoded_hu,
    load,
    only,
    only_entry,
    set_to,
    write_series,
)


def _codes(entry: StackEntry) -> set[str]:
    return set(entry.warning_codes)


def _reason(path: Path) -> SkipReason:
    found = read_headers(path)
    assert isinstance(found, SkippedFile)
    assert found.path == path
    assert found.message
    return found.reason


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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_to(Modality="MR"), SkipReason.NOT_CT),
        (delete("Modality"), SkipReason.INCOMPLETE_HEADER),
        (set_to(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), SkipReason.LOCALIZER),
        (set_to(SamplesPerPixel=3), SkipReason.NOT_GRAYSCALE),
        (set_to(NumberOfFrames=2), SkipReason.TRUNCATED),
        (delete("SeriesInstanceUID"), SkipReason.INCOMPLETE_HEADER),
        (set_to(SOPInstanceUID=""), SkipReason.INCOMPLETE_HEADER),
        (delete("PixelData"), SkipReason.TRUNCATED),
        (delete("Rows"), SkipReason.INCOMPLETE_HEADER),
    ],
)
def test_what_is_no_ct_slice_is_passed_over_with_its_reason(
    tmp_path: Path, change: Any, reason: SkipReason
) -> None:
    (path,) = write_series(tmp_path, slices=1, change=change)
    assert _reason(path) is reason


def test_a_localizer_inside_a_series_is_not_one_of_its_slices(tmp_path: Path) -> None:
    write_series(tmp_path, change=only(2, set_to(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])))
    index = index_folder(tmp_path)
    assert only_entry(index).shape[0] == 5
    assert [file.reason for file in index.skipped] == [SkipReason.LOCALIZER]


def test_merged_indexes_read_each_file_once_and_join_a_series_in_two_folders(
    tmp_path: Path,
) -> None:
    write_series(tmp_path / "a", left_out=(3, 4, 5))
    write_series(tmp_path / "b", left_out=(0, 1, 2))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    parts = [index_folder(tmp_path / name) for name in ("b", "a", "link", ".")]
    merged = merge_indexes(parts)
    entry = only_entry(merged)
    assert entry.shape[0] == 6
    assert entry.warnings == ()
