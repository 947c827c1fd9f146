"""MONOCHROME1 inverts a display, not Hounsfield units."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.synthetic import (
    encoded_hu,
    load,
    set_to,
    write_series,
)


def test_monochrome1_is_a_matter_of_display_not_of_hounsfield_units(tmp_path: Path) -> None:
    write_series(tmp_path, change=set_to(PhotometricInterpretation="MONOCHROME1"))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(6))
    assert all(header.inverted for header in volume.entry.slices)
