"""Padding is found in stored values, before the rescale, and becomes air."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sadmil_core.dicom import (
    SliceHeader,
    read_headers,
)
from sadmil_core.dicom.decode import decode_hu, read_padding
from tests.synthetic import (
    encoded_hu,
    write_series,
)


def _header(path: Path) -> SliceHeader:
    (header,) = read_headers(path)
    assert isinstance(header, SliceHeader), header
    return header


def _decoded(folder: Path, **options: Any) -> NDArray[Any]:
    (path,) = write_series(folder, **options)
    return decode_hu(_header(path))


@pytest.mark.parametrize("syntax", ["explicit", "big endian", "rle"])
def test_padding_is_found_in_stored_values_and_becomes_air(tmp_path: Path, syntax: str) -> None:
    hu = encoded_hu(1, 32, 32)
    hu[0, :2] = -3024  # stored as -2000
    decoded = _decoded(tmp_path, hu=hu, intercept=-1024, padding=-2000, syntax=syntax)
    assert set(decoded[:2].flat) == {-1000}
    np.testing.assert_array_equal(decoded[2:], hu[0, 2:])


@pytest.mark.parametrize("limits", [(-2000, -1990), (-1990, -2000)])
def test_a_padding_range_is_taken_whole_whichever_end_comes_first(
    tmp_path: Path, limits: tuple[int, int]
) -> None:
    hu = np.array([[-2001, -2000, -1995, -1990, -1989, 0]], np.int16)[None]

    def with_limit(dataset: Dataset, z: int) -> None:
        dataset.add_new("PixelPaddingRangeLimit", "SS", limits[1])

    decoded = _decoded(tmp_path, hu=hu, padding=limits[0], change=with_limit)
    assert decoded.tolist() == [[-2001, -1000, -1000, -1000, -1989, 0]]


def test_unsigned_padding_above_the_signed_range(tmp_path: Path) -> None:
    hu = np.array([[63536 - 1024, -1024, 40, 80]])[None]
    decoded = _decoded(tmp_path, hu=hu, signed=False, intercept=-1024, padding=63536)
    assert decoded.tolist() == [[-1000, -1024, 40, 80]]


def _pad_corner(dataset: Dataset, z: int) -> None:
    words = np.frombuffer(dataset.PixelData, np.uint16).copy()
    words[:3] = 63536
    dataset.PixelData = words.tobytes()


def test_padding_that_needs_more_bits_than_are_stored_is_still_padding(tmp_path: Path) -> None:
    """Some scanners pad 12-bit images with 63536: cut to 12 bits that would be dense bone."""
    decoded = _decoded(
        tmp_path,
        hu=np.full((1, 6, 8), 40),
        signed=False,
        bits_stored=12,
        intercept=-1024,
        padding=63536,
        change=_pad_corner,
    )
    assert decoded[0].tolist() == [-1000] * 3 + [40] * 5


def test_padding_and_the_rsna_defect_together(tmp_path: Path) -> None:
    hu = np.full((1, 6, 8), 40)
    hu[0, 0, 0] = 4095 - 4096  # stored as 4095
    decoded = _decoded(tmp_path, hu=hu, rsna_quirk=True, padding=4095)
    assert decoded[0, :2].tolist() == [-1000, 40]


def test_padding_under_a_slope_is_compared_before_the_slope_is_applied(tmp_path: Path) -> None:
    hu = np.array([[-2000, -1000, 40, 80]])[None]  # stored as -1000, -500, 20, 40
    decoded = _decoded(tmp_path, hu=hu, slope=2, padding=-500)
    assert decoded.tolist() == [[-2000, -1000, 40, 80]]
    (path,) = write_series(tmp_path / "b", hu=hu, slope=2, padding=-1000)
    assert decode_hu(_header(path)).tolist() == [[-1000, -1000, 40, 80]]


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_the_sign_of_padding_is_that_of_the_pixels_not_of_its_representation(
    tmp_path: Path, vr: str
) -> None:
    """PS3.3 C.7.5.1.1.2; unsigned 63536 and signed -2000 are the same 16 bits."""

    def pad(dataset: Dataset, z: int) -> None:
        dataset.add_new("PixelPaddingValue", vr, 63536 if vr == "US" else -2000)

    hu = np.array([[-2000, 0, 40, 80]])[None]
    assert _decoded(tmp_path, hu=hu, change=pad).tolist() == [[-1000, 0, 40, 80]]


def test_values_that_happen_to_be_the_paddings_neighbours_stay(tmp_path: Path) -> None:
    hu = np.array([[-2001, -2000, -1999, 0]])[None]
    assert _decoded(tmp_path, hu=hu, padding=-2000).tolist() == [[-2001, -1000, -1999, 0]]


def test_padding_in_a_fractional_rescale_is_air_too(tmp_path: Path) -> None:
    hu = np.array([[-1000, 0, 40, 80]])[None] + 0.5
    decoded = _decoded(tmp_path, hu=hu, intercept=0.5, padding=-1000)
    assert decoded.tolist() == [[-1000, 0.5, 40.5, 80.5]]
    decoded = _decoded(tmp_path, hu=hu, intercept=0.5, padding=0)
    assert decoded.tolist() == [[-999.5, -1000, 40.5, 80.5]]


def test_padding_can_be_told_from_air_of_the_same_value(tmp_path: Path) -> None:
    hu = np.full((1, 4, 4), -1000)
    hu[0, 0] = -3024
    (path,) = write_series(tmp_path, hu=hu, intercept=-1024, padding=-2000)
    header = _header(path)
    assert (decode_hu(header) == -1000).all()
    assert read_padding(header).tolist() == [[True] * 4] + [[False] * 4] * 3


def test_padding_of_more_bits_than_are_stored_can_be_told_too(tmp_path: Path) -> None:
    hu = np.full((1, 2, 4), 40)
    (path,) = write_series(
        tmp_path,
        hu=hu,
        signed=False,
        intercept=-1024,
        padding=63536,
        bits_stored=12,
        change=_pad_corner,
    )
    assert read_padding(_header(path)).ravel().tolist() == [True] * 3 + [False] * 5


def test_without_a_padding_value_nothing_is_padding(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, hu=np.full((1, 4, 4), -1000))
    assert not read_padding(_header(path)).any()
