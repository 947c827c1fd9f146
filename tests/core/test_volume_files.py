"""NIfTI, NRRD and MetaImage: every voxel at its place in the patient, or a reason why not."""

from __future__ import annotations

import gzip
import itertools
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sadmil_core.dicom import (
    SkippedFile,
    SkipReason,
    WarningCode,
    decode_slice,
    index_folder,
    load_volume,
)
from sadmil_core.dicom.decode_pool import read_volume_file
from tests.synthetic import encoded_hu, only_entry, write_series

NAMES = ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"]
_IDENTITY = np.eye(3)


def _turned(x: float, y: float, z: float) -> NDArray[np.float64]:
    """A rotation by three angles in degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad((x, y, z))):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _image(
    directions: NDArray[np.float64] = _IDENTITY, hu: NDArray[Any] | None = None
) -> sitk.Image:
    image = sitk.GetImageFromArray(encoded_hu(5, 6, 7) if hu is None else hu)
    image.SetSpacing((0.5, 0.75, 5.0))
    image.SetOrigin((-12.0, 30.5, -100.25))
    image.SetDirection(directions.ravel().tolist())
    return image


def _write(
    path: Path,
    image: sitk.Image | None = None,
    *,
    compressed: bool = False,
    change: Callable[[bytearray], Any] | None = None,
) -> Path:
    sitk.WriteImage(_image() if image is None else image, str(path), useCompression=compressed)
    if change is not None:
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(bytes(content))
    return path


def _put(offset: int, kind: str, *values: float) -> Callable[[bytearray], None]:
    """A change of an uncompressed NIfTI header."""
    return lambda content: struct.pack_into(kind, content, offset, *values)


def _replace(old: bytes, new: bytes) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        assert old in content
        content[:] = content.replace(old, new, 1)

    return change


def _require_in_place(path: Path, image: sitk.Image) -> None:
    """Every voxel that was loaded stands where the image has it, in mm."""
    volume = load_volume(only_entry(index_folder(path)))
    geometry, hu = volume.entry.geometry, volume.hu
    assert sorted(hu.shape) == sorted(image.GetSize())
    stored = sitk.GetArrayViewFromImage(image)
    where = {int(stored[p]): p for p in np.ndindex(stored.shape)}
    row, column = np.array(geometry.row_direction), np.array(geometry.column_direction)
    for z, y, x in np.ndindex(hu.shape):
        found = (
            np.array(geometry.origins_mm[z])
            + x * geometry.column_spacing_mm * row
            + y * geometry.row_spacing_mm * column
        )
        k, j, i = where[int(hu[z, y, x])]
        expected = image.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(found, expected, atol=2e-3)
    # Slices from foot to head, rows to the left, columns to the back, as near as can be.
    assert all(a < b for a, b in itertools.pairwise(geometry.position_mm))
    assert abs(row[0]) == max(abs(row))
    assert row[0] > 0
    assert column[1] > 0


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_voxel_is_where_it_was_written(tmp_path: Path, name: str, compressed: bool) -> None:
    image = _image(_turned(18, -7, 4) @ np.diag([-1.0, 1.0, -1.0]))
    _write(tmp_path / name, image, compressed=compressed)
    _require_in_place(tmp_path / name, image)


@settings(
    max_examples=48, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    angles=st.tuples(*[st.floats(-25, 25)] * 3),
    name=st.sampled_from(NAMES),
    compressed=st.booleans(),
)
def test_any_order_and_sense_of_axes_is_put_right(
    tmp_path: Path,
    order: list[int],
    signs: tuple[float, ...],
    angles: tuple[float, ...],
    name: str,
    compressed: bool,
) -> None:
    image = _image(_turned(*angles) @ np.eye(3)[:, order] * np.array(signs))
    _write(tmp_path / name, image, compressed=compressed)
    _require_in_place(tmp_path / name, image)


@pytest.mark.parametrize("name", NAMES)
def test_headers_say_what_they_stand_for(tmp_path: Path, name: str) -> None:
    _write(tmp_path / name)
    entry = only_entry(index_folder(tmp_path / name))
    first = entry.slices[0]
    assert (
        first.transfer_syntax
        == {"ni": "NIfTI", "nr": "NRRD", "nh": "NRRD", "mh": "MetaImage"}[name[2:4]]
    )
    assert [h.frame_number for h in entry.slices] == [1, 2, 3, 4, 5]
    assert first.modality == ""
    assert first.has_valid_uids
    assert len({first.study_instance_uid, first.series_instance_uid, first.sop_instance_uid}) == 3
    assert first.study_instance_uid.startswith("2.25.")
    assert entry.warning_codes == ("VOLUME_FILE",)
    assert np.array_equal(decode_slice(entry.slices[2]), encoded_hu(5, 6, 7)[2])


def test_the_same_content_has_the_same_uids_and_another_has_others(tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii"):
        _write(tmp_path / name)
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    index = index_folder(tmp_path)
    assert len({h.sop_instance_uid for h in index.headers}) == 1
    assert WarningCode.DUPLICATES_DROPPED in only_entry(index).warning_codes
    _write(tmp_path / "b.nii", _image(hu=encoded_hu(5, 6, 7) + np.int16(1)))
    assert len(index_folder(tmp_path).entries) == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([-1000, 0, 40.0]), np.int16),
        (np.array([-1000, 0, 40.5]), np.float32),
        (np.array([-1000, 0, 40000.0]), np.float32),
        (np.array([-1000, 0, 40], np.int32), np.int16),
        (np.array([0, 40, 200], np.uint8), np.int16),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_whole_numbers_are_int16_and_others_float32(
    tmp_path: Path, name: str, values: NDArray[Any], kind: type
) -> None:
    hu = np.broadcast_to(values, (2, 3, 3)).copy()
    path = _write(tmp_path / name, _image(hu=hu))
    volume = load_volume(only_entry(index_folder(path)))
    assert volume.hu.dtype == kind
    assert np.array_equal(volume.hu, hu)


def test_what_does_not_fit_is_clipped_and_what_is_no_number_is_air(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mha", _image(hu=np.array([[[-99999, 0, 99999]]], np.int32)))
    assert load_volume(only_entry(index_folder(path))).hu.ravel().tolist() == [-32768, 0, 32767]
    odd = np.array([[[np.nan, np.inf, -np.inf, 1e300, 7.0]]])
    path = _write(tmp_path / "b.nrrd", _image(hu=odd))
    volume = load_volume(only_entry(index_folder(path)))
    assert volume.hu.ravel().tolist() == [-1000, -1000, -1000, -1000, 7]


def test_the_rescale_of_nifti_is_applied(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nii", change=_put(112, "<ff", 1.0, -24.0))
    hu = load_volume(only_entry(index_folder(path))).hu
    assert hu.dtype == np.int16
    assert np.array_equal(hu, encoded_hu(5, 6, 7) - 24)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a.nii", _put(252, "<hh", 0, 0)),
        ("a.nrrd", _replace(b"space: left-posterior-superior", b"space dimension: 3")),
        ("a.mha", _replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"")),
    ],
)
def test_a_file_that_does_not_say_how_it_lies_is_warned_of(
    tmp_path: Path, name: str, change: Callable[[bytearray], Any]
) -> None:
    entry = only_entry(index_folder(_write(tmp_path / name, change=change)))
    assert WarningCode.NO_ORIENTATION in entry.warning_codes
    assert entry.geometry.spacing_mm == pytest.approx(5)
    assert np.array_equal(load_volume(entry).hu, encoded_hu(5, 6, 7))


def test_sizes_that_are_not_given_are_not_made_up(tmp_path: Path) -> None:
    change = _replace(b"ElementSpacing = 0.5 0.75 5\n", b"")
    entry = only_entry(index_folder(_write(tmp_path / "a.mha", change=change)))
    assert {WarningCode.NO_PIXEL_SPACING, WarningCode.NO_POSITIONS} <= set(entry.warning_codes)


@pytest.mark.parametrize(
    ("codes", "x_mm"), [((1, 1), -99.0), ((1, 2), -12.0), ((2, 1), -99.0), ((1, 0), -12.0)]
)
def test_a_nifti_placed_twice_is_warned_of(
    tmp_path: Path, codes: tuple[int, int], x_mm: float
) -> None:
    def change(content: bytearray) -> None:
        struct.pack_into("<f", content, 280 + 12, 99.0)
        struct.pack_into("<hh", content, 252, *codes)

    entry = only_entry(index_folder(_write(tmp_path / "a.nii", change=change)))
    assert entry.geometry.origins_mm[0][0] == pytest.approx(x_mm)
    assert (WarningCode.NIFTI_PLACEMENT in entry.warning_codes) == (0 not in codes)


@pytest.mark.parametrize("angles", [(0, 0, 0), (18, 0, 0), (10, -20, 170)])
def test_a_nifti_placed_twice_alike_is_not(tmp_path: Path, angles: tuple[float, ...]) -> None:
    for signs in itertools.product((1.0, -1.0), repeat=3):
        path = _write(tmp_path / "a.nii", _image(_turned(*angles) * np.array(signs)))
        codes = only_entry(index_folder(path)).warning_codes
        assert WarningCode.NIFTI_PLACEMENT not in codes


def _reason(path: Path, capfd: pytest.CaptureFixture[str]) -> SkipReason:
    found = read_volume_file(path)
    assert isinstance(found, SkippedFile)
    assert found.path == path
    assert found.message
    assert capfd.readouterr() == ("", "")
    return found.reason


_ALIKE = np.zeros((2, 3, 4), np.int16)
_SHAPES: dict[str, tuple[sitk.Image, SkipReason]] = {
    "2-D": (sitk.GetImageFromArray(_ALIKE[0]), SkipReason.NOT_A_VOLUME),
    "4-D": (sitk.JoinSeries([_image(), _image()]), SkipReason.NOT_A_VOLUME),
    "colour": (
        sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True),
        SkipReason.NOT_GRAYSCALE,
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", _SHAPES)
def test_what_is_no_volume_is_refused(
    tmp_path: Path, name: str, shape: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image, reason = _SHAPES[shape]
    assert _reason(_write(tmp_path / name, image), capfd) is reason


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("a.nii", _put(88, "<f", 0.0), SkipReason.BAD_GEOMETRY),
        ("a.nii", _put(88, "<f", float("nan")), SkipReason.BAD_GEOMETRY),
        ("a.nii", _put(88, "<f", -5.0), SkipReason.BAD_GEOMETRY),
        ("a.mha", _replace(b"Spacing = 0.5 0.75 5", b"Spacing = 0.5 0.75 0"), None),
        ("a.mha", _replace(b"Spacing = 0.5 0.75 5", b"Spacing = 0.5 nan 5"), None),
        ("a.mha", _replace(b"1 0 0 0 1 0 0 0 1", b"1 0.2 0 0 1 0 0 0 1"), None),
        ("a.nrrd", _replace(b"(0,0.75,0)", b"(0.2,0.75,0)"), None),
        ("a.nrrd", _replace(b"encoding: raw", b"encoding: hex"), SkipReason.UNSUPPORTED_SYNTAX),
        ("a.nhdr", _replace(b"file: a.raw", b"file: ../a.raw"), SkipReason.UNSAFE_NAME),
        ("a.nhdr", _replace(b"file: a.raw", b"file: /etc/passwd"), SkipReason.UNSAFE_NAME),
        ("a.mhd", _replace(b"File = a.raw", b"File = C:/a.raw"), SkipReason.UNSAFE_NAME),
        ("a.mhd", _replace(b"File = a.raw", b"File = b.raw"), SkipReason.ABSENT),
        ("a.mhd", _replace(b"File = a.raw", b"File = LIST"), SkipReason.UNSUPPORTED_SYNTAX),
        ("a.nhdr", _replace(b"file: a.raw", b"file: b.raw"), SkipReason.ABSENT),
        ("a.nii", _put(0, "<16s", b"nothing of a kind"), SkipReason.DAMAGED),
        ("a.nrrd", _replace(b"NRRD", b"nrrd"), SkipReason.DAMAGED),
        ("a.mhd", _replace(b"DimSize = 7 6 5", b"DimSize = 7 0 5"), SkipReason.DAMAGED),
        ("a.mha", bytearray.clear, SkipReason.DAMAGED),
        ("a.nii.gz", bytearray.clear, SkipReason.DAMAGED),
    ],
)
def test_headers_that_cannot_be_true_are_refused(
    tmp_path: Path,
    name: str,
    change: Callable[[bytearray], Any],
    reason: SkipReason | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # ITK's own readers refuse some of these before they can be looked at.
    allowed = {reason} if reason else {SkipReason.BAD_GEOMETRY, SkipReason.DAMAGED}
    assert _reason(_write(tmp_path / name, change=change), capfd) in allowed


@pytest.mark.parametrize("lost", [1, 9, 60])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_file_is_never_filled_with_zeros(
    tmp_path: Path, name: str, lost: int, compressed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / name, compressed=compressed)
    (data,) = {p for p in tmp_path.iterdir() if p != path} or {path}
    data.write_bytes(data.read_bytes()[:-lost])
    assert _reason(path, capfd) in (SkipReason.TRUNCATED, SkipReason.DAMAGED)


def test_missing_data_beside_a_header_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    assert _reason(path, capfd) is SkipReason.ABSENT


def test_volumes_are_read_from_archives_and_beside_dicom(tmp_path: Path) -> None:
    write_series(tmp_path / "both")
    for name in ("a.mhd", "b.nii.gz"):
        _write(tmp_path / "both" / name)
    assert len(index_folder(tmp_path / "both").entries) == 3
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        for name in ("a.mhd", "a.raw", "b.nii.gz"):
            out.write(tmp_path / "both" / name, f"volumes/{name}")
    for entry in index_folder(tmp_path / "x.zip").entries:
        assert np.array_equal(load_volume(entry).hu, encoded_hu(5, 6, 7))


def test_broken_bytes_never_take_the_program_down(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(5)
    for number in range(120):
        name = NAMES[number % len(NAMES)]
        path = _write(tmp_path / name, compressed=rng.random() < 0.5)
        content = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(min(len(content), 400))] = rng.randrange(256)
        path.write_bytes(bytes(content))
        for entry in index_folder(path).entries:
            assert load_volume(entry).hu.shape == entry.shape
    assert capfd.readouterr() == ("", "")
