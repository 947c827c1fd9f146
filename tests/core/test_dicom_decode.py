"""Stored values to Hounsfield units: encodings, rescale, bits, sizes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from sadmil_core.dicom import SliceHeader, WarningCode, index_folder, read_headers
from sadmil_core.dicom.decode import decode_hu
from sadmil_core.errors import DecodeError
from tests.synthetic import (
    SYNTAXES,
    delete,
    encoded_hu,
    load,
    only_entry,
    set_to,
    write_series,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HU_32 = encoded_hu(3, 32, 32)


def _header(path: Path) -> SliceHeader:
    (header,) = read_headers(path)
    assert isinstance(header, SliceHeader), header
    return header


def _decoded(folder: Path, **options: Any) -> NDArray[Any]:
    (path,) = write_series(folder, **options)
    return decode_hu(_header(path))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "stored",
    [
        {"signed": True},
        {"signed": True, "intercept": -1024},
        {"signed": False, "bits_stored": 12, "intercept": -1024},
        {"signed": False, "intercept": -1024},
        {"signed": True, "bits_stored": 13},
    ],
    ids=str,
)
def test_every_encoding_gives_the_same_hounsfield_units(
    tmp_path: Path, syntax: str, stored: dict[str, Any]
) -> None:
    hu = np.clip(HU_32, -1000, 1071)
    write_series(tmp_path, hu=hu, syntax=syntax, **stored)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.hu.dtype == np.int16
    assert volume.entry.warnings == ()


@pytest.mark.parametrize("syntax", ["explicit", "jpeg 2000", "rle"])
def test_negative_stored_values_of_few_bits_keep_their_sign(tmp_path: Path, syntax: str) -> None:
    hu = np.linspace(-2048, 2047, 1024).round().astype(np.int16).reshape(1, 32, 32)
    decoded = _decoded(tmp_path, hu=hu, bits_stored=12, syntax=syntax)
    np.testing.assert_array_equal(decoded, hu[0])


def test_overlay_bits_above_the_stored_ones_are_ignored(tmp_path: Path) -> None:
    def with_overlay(dataset: Dataset, z: int) -> None:
        words = np.frombuffer(dataset.PixelData, np.uint16) | 0xA000
        dataset.PixelData = words.tobytes()

    options = {"signed": False, "bits_stored": 12, "intercept": -1024}
    decoded = _decoded(tmp_path, slices=1, change=with_overlay, **options)
    np.testing.assert_array_equal(decoded, encoded_hu(1)[0])


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.5, -1024.0), (1.0, -1000.5), (0.25, 0.25)], ids=str
)
def test_a_fractional_rescale_is_not_rounded_to_whole_units(
    tmp_path: Path, slope: float, intercept: float
) -> None:
    hu = intercept + slope * np.arange(96).reshape(2, 6, 8)
    write_series(tmp_path, hu=hu, slope=slope, intercept=intercept)
    volume = load(tmp_path)
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, hu.astype(np.float32))


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    intercepts = [-1024.0, -1000.0, -1024.5]
    write_series(tmp_path, slices=3, change=set_to(RescaleIntercept=lambda z: intercepts[z]))
    hu = load(tmp_path).hu
    for z in range(3):
        np.testing.assert_array_equal(hu[z], encoded_hu(3)[z] + np.float32(intercepts[z]))


def test_a_slope_of_two_and_a_slope_below_zero(tmp_path: Path) -> None:
    hu = (2 * np.arange(48) - 1024).reshape(1, 6, 8)
    np.testing.assert_array_equal(_decoded(tmp_path / "a", hu=hu, slope=2, intercept=-1024), hu[0])
    np.testing.assert_array_equal(_decoded(tmp_path / "b", hu=hu, slope=-1), hu[0])


def test_values_beyond_int16_are_clipped_not_wrapped(tmp_path: Path) -> None:
    hu = np.full((1, 6, 8), 65535 - 1024)
    hu[0, 0, 0] = -1024
    decoded = _decoded(tmp_path, hu=hu, signed=False, intercept=-1024)
    assert (decoded[0, 0], decoded[0, 1]) == (-1024, 32767)
    low = _decoded(
        tmp_path / "b", hu=np.full((1, 6, 8), -32768 - 1024), intercept=-1024, uid_start=2
    )
    assert set(low.flat) == {-32768}


@pytest.mark.parametrize("value", ["1e30", "-1e300", "1e308", "9999999999"])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_an_absurd_rescale_is_none_and_stops_nothing(
    tmp_path: Path, keyword: str, value: str
) -> None:
    write_series(tmp_path, slices=2, change=set_to(**{keyword: value}))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(2))
    assert volume.entry.warning_codes == (WarningCode.NO_RESCALE,)


@pytest.mark.parametrize(
    "change",
    [
        delete("RescaleSlope", "RescaleIntercept"),
        delete("RescaleIntercept"),
        set_to(RescaleSlope="0"),
        set_to(RescaleSlope=""),
    ],
)
def test_a_missing_rescale_leaves_stored_values_and_is_said(tmp_path: Path, change: Any) -> None:
    write_series(tmp_path, change=change)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warning_codes == (WarningCode.NO_RESCALE,)


def test_eight_bit_pixels_are_read(tmp_path: Path) -> None:
    def to_8_bits(dataset: Dataset, z: int) -> None:
        values = np.frombuffer(dataset.PixelData, np.uint16)
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PixelData = values.astype(np.uint8).tobytes()

    hu = np.arange(48).reshape(1, 6, 8) - 24
    decoded = _decoded(tmp_path, hu=hu, signed=False, intercept=-24, change=to_8_bits)
    np.testing.assert_array_equal(decoded, hu[0])


def test_an_odd_number_of_rows_and_columns(tmp_path: Path) -> None:
    hu = encoded_hu(1, 7, 5)
    np.testing.assert_array_equal(_decoded(tmp_path, hu=hu), hu[0])


def test_a_file_that_changed_after_indexing_is_refused(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1)
    header = _header(path)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    with pytest.raises(DecodeError, match=r"has changed.*Open the folder again"):
        decode_hu(header)


def test_a_file_that_vanished_after_indexing_is_a_decode_error(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1)
    header = _header(path)
    path.unlink()
    with pytest.raises(DecodeError, match=path.name):
        decode_hu(header)


@pytest.mark.parametrize("high_bit", [12, 14, 15])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_bits_that_stand_higher_in_the_word_are_read_and_said(
    tmp_path: Path, high_bit: int, signed: bool
) -> None:
    """Old images have their twelve bits at the top of the word; junk may lie beside them."""

    def shift(dataset: Dataset, z: int) -> None:
        low = high_bit - 11
        words = np.frombuffer(dataset.PixelData, np.uint16).astype(np.uint32) & 0xFFF
        junk = (1 << low) - 1 | (0xFFFF << high_bit + 1)
        dataset.PixelData = ((words << low | junk) & 0xFFFF).astype(np.uint16).tobytes()
        dataset.HighBit = high_bit

    hu = np.linspace(-1024, 1023, 96).round().astype(np.int16).reshape(2, 6, 8)
    write_series(
        tmp_path,
        hu=hu,
        bits_stored=12,
        signed=signed,
        intercept=0 if signed else -1024,
        change=shift,
    )
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    (warning,) = volume.entry.warnings
    assert warning.code == WarningCode.ODD_HIGH_BIT


@pytest.mark.parametrize("high_bit", [3, 40, None])
def test_a_high_bit_that_cannot_be_is_taken_from_bits_stored(
    tmp_path: Path, high_bit: int | None
) -> None:
    write_series(tmp_path, change=set_to(HighBit=high_bit))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    expected = () if high_bit is None else (WarningCode.ODD_HIGH_BIT,)
    assert volume.entry.warning_codes == expected


@pytest.mark.parametrize("change", [delete("PixelRepresentation"), set_to(PixelRepresentation=7)])
def test_values_without_a_sign_are_taken_as_unsigned_and_said(tmp_path: Path, change: Any) -> None:
    write_series(tmp_path, signed=False, intercept=-1024, change=change)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warning_codes == (WarningCode.NO_SIGN,)


@pytest.mark.parametrize("keyword", ["BitsAllocated", "BitsStored"])
def test_missing_bits_come_from_what_else_the_file_says(tmp_path: Path, keyword: str) -> None:
    write_series(tmp_path, change=delete(keyword))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warning_codes == (WarningCode.NO_BITS,)


@pytest.mark.parametrize("kind", ["US", "OD", "mgml"])
def test_a_rescale_to_something_else_than_hounsfield_units_is_applied_and_said(
    tmp_path: Path, kind: str
) -> None:
    write_series(tmp_path, intercept=-1024, change=set_to(RescaleType=kind))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert volume.entry.warning_codes == (WarningCode.NOT_HOUNSFIELD,)


@pytest.mark.parametrize("kind", ["HU", "hu ", "", None])
def test_hounsfield_units_however_spelt_are_no_departure(tmp_path: Path, kind: str | None) -> None:
    write_series(tmp_path, change=set_to(RescaleType=kind))
    assert only_entry(index_folder(tmp_path)).warnings == ()


def _with_table(dataset: Dataset, z: int) -> None:
    """A Modality LUT (PS3.3 C.11.1) from stored values 0, 1, 2... to 10, 12, 14..."""
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [48, 0, 16], "HU"
    table.add_new("LUTData", "OW", (2 * np.arange(48) + 10).astype("<u2").tobytes())
    dataset.ModalityLUTSequence = [table]


@pytest.mark.parametrize("syntax", ["explicit", "rle", "deflated"])
def test_a_modality_table_in_place_of_the_rescale_is_applied_and_said(
    tmp_path: Path, syntax: str
) -> None:
    def change(dataset: Dataset, z: int) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept
        _with_table(dataset, z)

    stored = np.arange(48).reshape(1, 6, 8)
    write_series(tmp_path, hu=stored, signed=False, syntax=syntax, change=change)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, 2 * stored + 10)
    assert WarningCode.MODALITY_LUT in volume.entry.warning_codes


def test_slope_and_intercept_go_before_a_stray_table(tmp_path: Path) -> None:
    """CT has them (PS3.3 C.8.2.1); the standard allows no table beside them."""
    write_series(tmp_path, change=_with_table)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert WarningCode.MODALITY_LUT not in volume.entry.warning_codes
