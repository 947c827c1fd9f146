"""Enhanced and other multi-frame CT: each frame is a slice, with the place and rescale it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from sadmil_core.dicom import SkipReason, WarningCode, index_folder, load_volume
from tests.encoders import LOSSLESS, Encoding
from tests.enhanced import write_enhanced
from tests.synthetic import SERIES, encoded_hu, load, only_entry, set_to, tilted, write_series

HU = encoded_hu(6, 32, 32)
NATIVE = {"implicit", "explicit", "deflated", "big endian", "ge private"}
ENCAPSULATED = sorted(set(LOSSLESS) - NATIVE)


def _per_frame(keyword_of_group: str, **values: Any) -> Any:
    """A change of one functional group of every frame; callable values are given the frame."""

    def change(dataset: Dataset, _: int) -> None:
        for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            item = (groups.get(keyword_of_group) or [Dataset()])[0]
            for keyword, value in values.items():
                setattr(item, keyword, value(k) if callable(value) else value)
            setattr(groups, keyword_of_group, [item])

    return change


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_frames_are_slices_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    path = write_enhanced(tmp_path / "a.dcm", hu=HU, syntax=syntax, orientation=tilted(12))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, HU)
    assert [header.frame_number for header in volume.entry.slices] == [1, 2, 3, 4, 5, 6]
    assert {header.path for header in volume.entry.slices} == {path}
    assert volume.entry.geometry.spacing_mm == pytest.approx(5, abs=1e-5)
    assert volume.entry.geometry.row_spacing_mm == 0.5
    assert volume.entry.warning_codes == (WarningCode.TILTED,)


@pytest.mark.parametrize("offsets", ["basic", "extended"])
@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_the_offset_table_parts_the_frames(tmp_path: Path, syntax: str, offsets: str) -> None:
    encoding = Encoding(offsets=offsets)
    write_enhanced(tmp_path / "a.dcm", hu=HU, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu, HU)


@pytest.mark.parametrize("syntax", ["jpeg lossless sv1", "jpeg-ls", "jpeg 2000"])
def test_frames_in_several_fragments_need_the_table(tmp_path: Path, syntax: str) -> None:
    encoding = Encoding(fragments=3)
    path = write_enhanced(tmp_path / "a.dcm", hu=HU, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu, HU)
    encoding = Encoding(fragments=3, offsets="empty")
    write_enhanced(path, hu=HU, syntax=syntax, encoding=encoding)
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.reason is SkipReason.DAMAGED
    assert "18 fragment(s) cannot be dealt out to 6 frame(s)" in skipped.message


def test_frames_stand_by_their_positions_not_in_the_order_of_the_file(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a.dcm", frames=[3, 0, 5, 1, 4, 2])
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert [header.frame_number for header in volume.entry.slices] == [2, 4, 6, 1, 5, 3]
    assert volume.entry.warnings == ()


@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_each_frame_has_its_own_rescale(tmp_path: Path, syntax: str) -> None:
    intercepts = [-1024, -1000, 0, 10, 20, -5]
    write_enhanced(tmp_path / "a.dcm", hu=HU, syntax=syntax, intercepts=intercepts)
    np.testing.assert_array_equal(load(tmp_path).hu, HU)


def test_the_same_frame_twice_counts_once(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a.dcm", frames=[0, 1, 2, 2, 3, 4, 5])
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warning_codes == (WarningCode.DUPLICATES_DROPPED,)


@pytest.mark.parametrize("order", ["volume by volume", "place by place"])
def test_a_place_that_was_scanned_again_is_another_stack(tmp_path: Path, order: str) -> None:
    """Perfusion: each place at several times, told apart by the acquisition of the frame."""
    hu = np.concatenate([encoded_hu(4), encoded_hu(4) + 500, encoded_hu(4) + 900])
    frames = [(t, z) for t in range(3) for z in range(4)]
    if order == "place by place":
        frames.sort(key=lambda frame: frame[1])
    change = _per_frame("FrameContentSequence", FrameAcquisitionNumber=lambda k: frames[k][0] + 1)
    write_enhanced(
        tmp_path / "a.dcm",
        hu=hu,
        frames=[4 * t + z for t, z in frames],
        offsets_mm=[5.0 * z for z in range(4)] * 3,
        change=change,
    )
    entries = index_folder(tmp_path).entries
    found = sorted(load_volume(entry).hu.tobytes() for entry in entries)
    assert found == sorted(hu[4 * t : 4 * t + 4].astype(np.int16).tobytes() for t in range(3))
    assert all(entry.warning_codes == (WarningCode.SERIES_SPLIT,) for entry in entries)


def test_one_frame_of_its_own_file_takes_its_place_from_its_group(tmp_path: Path) -> None:
    """Some archives store a volume as Enhanced files of one frame each."""
    for k in range(6):
        path = tmp_path / f"{5 - k}.dcm"
        write_enhanced(path, frames=[k], sop_uid=f"{SERIES}.{k}", intercepts=[float(k)])
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warnings == ()


def test_enhanced_and_single_images_of_one_series_are_one_stack(tmp_path: Path) -> None:
    write_series(tmp_path, left_out=(1, 2, 3))
    write_enhanced(tmp_path / "rest.dcm", frames=[3, 1, 2])
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warnings == ()


def test_frames_without_a_position_are_not_all_put_where_the_file_says(tmp_path: Path) -> None:
    """What stands beside the groups can be the place of one frame alone."""

    def change(dataset: Dataset, _: int) -> None:
        dataset.ImagePositionPatient = [0, 0, 7]
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            del groups.PlanePositionSequence

    write_enhanced(tmp_path / "a.dcm", change=change)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warning_codes == (WarningCode.NO_POSITIONS,)


def test_frames_without_groups_are_read_in_order_and_said(tmp_path: Path) -> None:
    """A multi-frame file of the ordinary CT class, which the standard does not allow."""

    def change(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = CTImageStorage
        del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0

    write_enhanced(tmp_path / "a.dcm", change=change)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert {WarningCode.NO_POSITIONS, WarningCode.NO_ORIENTATION} <= set(volume.entry.warning_codes)


@pytest.mark.parametrize("frames", [5, 7])
def test_groups_that_are_not_as_many_as_the_frames_are_damage(tmp_path: Path, frames: int) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.NumberOfFrames = frames
        dataset.PixelData = bytes(6 * 8 * 2 * frames)

    write_enhanced(tmp_path / "a.dcm", change=change)
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.reason is SkipReason.DAMAGED
    assert f"{frames} frame(s), but functional groups for 6" in skipped.message


def test_frames_of_two_orientations_are_two_stacks(tmp_path: Path) -> None:
    cosines = [[1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]]

    def change(dataset: Dataset, z: int) -> None:
        _per_frame("PlaneOrientationSequence", ImageOrientationPatient=lambda k: cosines[k >= 4])(
            dataset, z
        )
        _per_frame("PlanePositionSequence", ImagePositionPatient=lambda k: [-120, 5 * k, 5 * k])(
            dataset, z
        )

    write_enhanced(tmp_path / "a.dcm", change=change)
    axial, coronal = index_folder(tmp_path).entries
    assert {len(axial.slices), len(coronal.slices)} == {4, 2}
    for entry in (axial, coronal):
        assert WarningCode.SERIES_SPLIT in entry.warning_codes
        assert entry.geometry.is_axial == (len(entry.slices) == 4)


def test_a_frame_that_says_no_hounsfield_units_is_said(tmp_path: Path) -> None:
    change = _per_frame(
        "PixelValueTransformationSequence",
        RescaleSlope="1",
        RescaleIntercept="0",
        RescaleType=lambda k: "HU" if k else "US",
    )
    write_enhanced(tmp_path / "a.dcm", change=change)
    entry = only_entry(index_folder(tmp_path))
    (warning,) = entry.warnings
    assert warning.code == WarningCode.NOT_HOUNSFIELD
    assert warning.message.startswith("1 slice(s): RescaleType is not HU")


def test_digits_under_a_binary_representation_are_digits(tmp_path: Path) -> None:
    """The two bytes of the text "0 " would be 8240 HU as a number of 16 bits."""
    path = write_enhanced(tmp_path / "a.dcm", hu=HU)
    content = path.read_bytes()
    text = b"\x28\x00\x52\x10DS\x02\x000 "
    assert content.count(text) == 1
    path.write_bytes(content.replace(text, text.replace(b"DS", b"SS")))
    np.testing.assert_array_equal(load(tmp_path).hu, HU)


def test_a_truncated_multi_frame_file_is_lost_as_a_whole(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-100])
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.reason is SkipReason.TRUNCATED
    assert "476 of 576 bytes of pixel data are there" in skipped.message


def test_nested_groups_of_undefined_length_are_followed(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        for element in dataset.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True

    for syntax in ("explicit", "implicit", "big endian"):
        write_enhanced(tmp_path / f"{syntax}.dcm", change=change, syntax=syntax, series_uid="1.2")
        np.testing.assert_array_equal(load(tmp_path / f"{syntax}.dcm").hu, encoded_hu(6))


def test_the_window_and_the_thickness_come_from_the_groups(tmp_path: Path) -> None:
    change = _per_frame("FrameVOILUTSequence", WindowCenter="40", WindowWidth="80")
    write_enhanced(tmp_path / "a.dcm", change=change)
    entry = only_entry(index_folder(tmp_path))
    assert {header.window_hu for header in entry.slices} == {(40, 80)}
    assert {header.slice_thickness_mm for header in entry.slices} == {5}


def test_frames_all_of_one_place_by_instance_alone_are_said_to_be_mixed(tmp_path: Path) -> None:
    """A repeated place and nothing that tells the times apart."""
    change = set_to(AcquisitionNumber=1)
    write_enhanced(tmp_path / "a.dcm", slices=3, offsets_mm=[0, 5, 5], change=change)
    entries = index_folder(tmp_path).entries
    assert sorted(len(entry.slices) for entry in entries) == [1, 2]
    assert all(WarningCode.MIXED_STACKS in entry.warning_codes for entry in entries)
