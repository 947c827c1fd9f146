"""MONOCHROME1 inverts a display, not Hounsfield units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sadmil_core.display import DisplayWindow, to_gray
from tests.synthetic import (
    encoded_hu,
    load,
    set_to,
    write_series,
)

MONOCHROME1 = set_to(PhotometricInterpretation="MONOCHROME1")


def test_monochrome1_is_a_matter_of_display_not_of_hounsfield_units(tmp_path: Path) -> None:
    write_series(tmp_path, change=set_to(PhotometricInterpretation="MONOCHROME1"))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert all(header.inverted for header in volume.entry.slices)


def test_it_is_inverted_for_display_after_the_window(tmp_path: Path) -> None:
    write_series(tmp_path, hu=np.array([[[-40, 0, 40, 120]]]), change=MONOCHROME1)
    volume = load(tmp_path)
    (header,) = volume.entry.slices
    plain = to_gray(volume.hu[0], DisplayWindow(40, 80))
    shown = to_gray(volume.hu[0], DisplayWindow(40, 80), inverted=header.inverted)
    assert plain.tolist()[0][0] == 0
    np.testing.assert_array_equal(shown, 255 - plain)


@pytest.mark.parametrize("syntax", ["jpeg 2000", "jpeg-ls", "jpeg lossless sv1", "rle"])
def test_decoders_do_not_invert_it(tmp_path: Path, syntax: str) -> None:
    hu = encoded_hu(2, 32, 32)
    write_series(tmp_path, hu=hu, syntax=syntax, change=MONOCHROME1)
    np.testing.assert_array_equal(load(tmp_path).hu, hu)


def test_padding_is_air_in_it_as_well(tmp_path: Path) -> None:
    hu = encoded_hu(1)
    hu[0, 0] = -2000
    write_series(tmp_path, hu=hu, padding=-2000, change=MONOCHROME1)
    assert set(load(tmp_path).hu[0, 0].flat) == {-1000}
