"""What belongs together: several series, studies, reconstructions and objects in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

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


HARD = encoded_hu(6) + np.int16(500)
TELLING = {
    "acquisition": {"AcquisitionNumber": 2},
    "kernel": {"ConvolutionKernel": "H60s"},
    "image type": {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "BONE"]},
    "thickness": {"SliceThickness": "1.25"},
    "window": {"WindowCenter": "700", "WindowWidth": "3200"},
    "rescale": {"RescaleSlope": "2"},
}


def _both(folder: Path, *, soft: Any = None, hard: Any = None, **options: Any) -> list[Path]:
    """Writes two reconstructions of one series under names that tell nothing; returns the hard.

    Args:
        soft: Change of the first reconstruction.
        hard: Change of the second, whose values are ``HARD``.
        options: Of the second.
    """
    first = write_series(folder / "s", change=soft)
    second = write_series(folder / "h", uid_start=50, hu=HARD, change=hard, **options)
    names = [f"{n:x}.dcm" for n in np.random.default_rng(5).permutation(len(first) + len(second))]
    moved = [
        path.rename(folder / name) for path, name in zip((*first, *second), names, strict=True)
    ]
    return moved[len(first) :]


def _loaded(folder: Path) -> list[bytes]:
    """The pixels of each stack, by the value of their first voxel: the soft one first."""
    volumes = [load_volume(entry).hu for entry in index_folder(folder).entries]
    return [hu.tobytes() for hu in sorted(volumes, key=lambda hu: int(hu[0, 0, 0]))]


@pytest.mark.parametrize("numbers", ["the same", "in turn", "running backwards", "none"])
@pytest.mark.parametrize("keyword", TELLING)
def test_an_attribute_tells_reconstructions_apart_before_any_number(
    tmp_path: Path, keyword: str, numbers: str
) -> None:
    number = {
        "the same": (lambda z: z, lambda z: z),
        "in turn": (lambda z: 2 * z, lambda z: 2 * z + 1),
        "running backwards": (lambda z: z, lambda z: 20 - z),
        "none": (lambda z: None, lambda z: None),
    }[numbers]
    soft = dict.fromkeys(TELLING[keyword], None) | {"InstanceNumber": number[0]}
    if keyword == "rescale":
        soft["RescaleSlope"] = "1"
    hard = {**TELLING[keyword], "InstanceNumber": number[1]}
    _both(tmp_path, soft=set_to(**soft), hard=set_to(**hard), left_out=(2,))
    factor = np.int16(2 if keyword == "rescale" else 1)
    lacking = np.delete(HARD * factor, 2, axis=0)
    expected = sorted((encoded_hu(6), lacking), key=lambda hu: int(hu[0, 0, 0]))
    assert _loaded(tmp_path) == [hu.tobytes() for hu in expected]
    for entry in index_folder(tmp_path).entries:
        assert WarningCode.SERIES_SPLIT in _codes(entry)
        assert WarningCode.MIXED_STACKS not in _codes(entry)


@pytest.mark.parametrize("lacking", range(6))
@pytest.mark.parametrize("backwards", [False, True])
def test_numbers_tell_reconstructions_apart_though_one_lacks_a_slice(
    tmp_path: Path, lacking: int, backwards: bool
) -> None:
    hard = set_to(InstanceNumber=lambda z: 60 - z if backwards else 50 + z)
    _both(tmp_path, hard=hard, left_out=(lacking,))
    assert _loaded(tmp_path) == [
        encoded_hu(6).tobytes(),
        np.delete(HARD, lacking, axis=0).tobytes(),
    ]
    sizes = {len(e.slices): _codes(e) for e in index_folder(tmp_path).entries}
    assert (WarningCode.MISSING_SLICES in sizes[5]) == (0 < lacking < 5)
    assert WarningCode.MIXED_STACKS not in sizes[5] | sizes[6]


def test_numbers_that_count_reconstructions_in_turn_tell_them_apart(tmp_path: Path) -> None:
    _both(
        tmp_path,
        soft=set_to(InstanceNumber=lambda z: 2 * z + 1),
        hard=set_to(InstanceNumber=lambda z: 2 * z + 2),
    )
    assert _loaded(tmp_path) == [encoded_hu(6).tobytes(), HARD.tobytes()]
    for entry in index_folder(tmp_path).entries:
        assert _codes(entry) == {WarningCode.SERIES_SPLIT}


@pytest.mark.parametrize("lacking", range(6))
def test_numbers_in_turn_with_a_slice_lacking_are_right_or_said_to_be_mixed(
    tmp_path: Path, lacking: int
) -> None:
    _both(
        tmp_path,
        soft=set_to(InstanceNumber=lambda z: 2 * z + 1),
        hard=set_to(InstanceNumber=lambda z: 2 * z + 2),
        left_out=(lacking,),
    )
    entries = index_folder(tmp_path).entries
    assert sum(len(entry.slices) for entry in entries) == 11
    is_right = _loaded(tmp_path)[0] == encoded_hu(6).tobytes()
    assert is_right or all(WarningCode.MIXED_STACKS in _codes(entry) for entry in entries)


def test_an_acquisition_to_each_slice_does_not_hide_the_reconstructions(tmp_path: Path) -> None:
    """Step-and-shoot scanners count every rotation: both reconstructions have all its numbers."""
    _both(
        tmp_path,
        soft=set_to(AcquisitionNumber=lambda z: z),
        hard=set_to(AcquisitionNumber=lambda z: z, InstanceNumber=lambda z: 50 + z),
    )
    assert _loaded(tmp_path) == [encoded_hu(6).tobytes(), HARD.tobytes()]


def test_three_reconstructions_are_three_stacks(tmp_path: Path) -> None:
    expected = []
    for k in range(3):
        expected.append(encoded_hu(6) + np.int16(500 * k))
        kernel = "H60s" if k == 2 else "H30s"
        change = set_to(ConvolutionKernel=kernel, InstanceNumber=lambda z, k=k: 10 * k + z)
        name = f"{7 * k % 5}-{{:03d}}.dcm"
        write_series(tmp_path, uid_start=10 * k, hu=expected[-1], change=change, name=name)
    assert _loaded(tmp_path) == [hu.tobytes() for hu in expected]


def test_a_folder_each_tells_reconstructions_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "soft", change=delete("InstanceNumber"))
    hard = {"uid_start": 50, "hu": HARD, "left_out": (1, 4)}
    write_series(tmp_path / "hard", change=delete("InstanceNumber"), **hard)
    assert _loaded(tmp_path) == [
        encoded_hu(6).tobytes(),
        np.delete(HARD, (1, 4), axis=0).tobytes(),
    ]


@pytest.mark.parametrize("place", [0, 2, 5])
def test_one_stray_image_is_no_reconstruction(tmp_path: Path, place: int) -> None:
    """Its position is that of another: nothing tells which of the two belongs there."""
    stray = 4 if place == 5 else place + 1
    position = [-120, -118, 40 + 5 * place]
    write_series(tmp_path, change=only(stray, set_to(ImagePositionPatient=position)))
    entries = index_folder(tmp_path).entries
    assert sorted(len(entry.slices) for entry in entries) == [1, 5]
    assert all(WarningCode.MIXED_STACKS in _codes(entry) for entry in entries)


def test_a_series_spread_over_folders_is_one_stack(tmp_path: Path) -> None:
    """As CDs have it: a hundred images to a folder."""
    for k, folder in enumerate(("DICOM/S000", "DICOM/S001", "more")):
        others = set(range(6)) - {2 * k, 2 * k + 1}
        write_series(tmp_path / folder, left_out=others, name="I{:02d}")
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warnings == ()


def test_dose_pages_reports_and_scouts_beside_a_series_are_passed_over(tmp_path: Path) -> None:
    paths = write_series(tmp_path)

    def report(dataset: Dataset, z: int) -> None:
        dataset.Modality, dataset.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.67"
        for keyword in ("PixelData", "Rows", "Columns"):
            del dataset[keyword]

    def dose_page(dataset: Dataset, z: int) -> None:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PixelData *= 3

    def presentation(dataset: Dataset, z: int) -> None:
        del dataset.PixelData, dataset.Rows, dataset.Columns
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"

    scout = set_to(
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]
    )
    for k, change in enumerate((report, dose_page, presentation, scout)):
        options = {"series_uid": f"{STUDY}.{k + 2}", "change": change}
        write_series(tmp_path / f"{k}", slices=1, **options)
    index = index_folder(tmp_path)
    assert [header.path for header in only_entry(index).slices] == paths
    assert only_entry(index).warnings == ()
    assert [file.reason for file in index.skipped] == [
        SkipReason.NOT_CT,
        SkipReason.NOT_GRAYSCALE,
        SkipReason.NOT_AN_IMAGE,
        SkipReason.LOCALIZER,
    ]
    assert index.failures == ()


def test_a_file_of_the_series_that_says_another_modality_is_missed(tmp_path: Path) -> None:
    """A series has one modality (PS3.3 A.1.2.3)."""
    write_series(tmp_path, change=only(5, set_to(Modality="MR")))
    (warning,) = only_entry(index_folder(tmp_path)).warnings
    assert warning.code == WarningCode.FILES_SKIPPED
    assert warning.message.startswith("1 file(s) of this series could not be used (slice-005.dcm)")


def test_a_phantom_is_called_one_only_where_all_of_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "a", phantom=True)
    assert _codes(only_entry(index_folder(tmp_path / "a"))) == {WarningCode.PHANTOM}
    write_series(tmp_path / "b", phantom=True, change=only(2, delete("QualityControlSubject")))
    assert not only_entry(index_folder(tmp_path / "b")).is_phantom
