from __future__ import annotations

import numpy as np
import pytest

from sadmil_core.dicom import read_headers
from sadmil_core.dicom.decode import decode_hu
from tests.synthetic import write_series
from viewer.model.annotations import MeasureKind
from viewer.model.measuring import measure_texts


def slice_of(folder, hu, **options):
    (path,) = write_series(folder, hu=hu[None], **options)
    (header,) = read_headers(path)
    return header, decode_hu(header)


def padded(folder):
    """Half padding, a quarter air of the value that padding is given, a quarter 40 HU."""
    hu = np.full((8, 8), 40)
    hu[:, :4] = -3024
    hu[:4, 4:] = -1000
    return slice_of(folder, hu, intercept=-1024, padding=-2000)


def test_a_region_leaves_padding_out_but_not_air(tmp_path):
    header, hu = padded(tmp_path)
    texts = measure_texts(MeasureKind.RECTANGLE, ((0, 0), (7, 7)), hu, header)
    assert texts[0] == f"mean {(-1000 + 40) / 2:.1f}  SD 520.0 HU"
    assert texts[1] == "min -1000  max 40 HU"
    row_mm, column_mm = header.pixel_spacing_mm
    assert texts[2] == f"area {32 * row_mm * column_mm:.1f} mm²"
    assert texts[3] == "32 px of padding left out"
    only = measure_texts(MeasureKind.RECTANGLE, ((0, 0), (7, 3)), hu, header)
    assert only == ("only padding",)


def test_where_the_file_is_gone_what_may_be_padding_does_not_count(tmp_path):
    header, hu = padded(tmp_path)
    header.path.unlink()
    texts = measure_texts(MeasureKind.RECTANGLE, ((0, 0), (7, 7)), hu, header)
    assert texts[0] == "mean 40.0  SD 0.0 HU"
    assert texts[-1] == "-1000 HU left out as padding"


def test_the_file_is_not_asked_where_there_is_no_air(tmp_path):
    header, hu = padded(tmp_path)
    header.path.unlink()
    texts = measure_texts(MeasureKind.RECTANGLE, ((5, 5), (7, 7)), hu, header)
    assert texts[0] == "mean 40.0  SD 0.0 HU"
    assert len(texts) == 3


def test_without_a_pixel_size_lengths_are_in_pixels_and_say_so(tmp_path):
    def drop(dataset, _z):
        del dataset.PixelSpacing

    header, hu = slice_of(tmp_path, np.full((8, 8), 40), change=drop)
    assert measure_texts(MeasureKind.DISTANCE, ((0, 0), (3, 4)), hu, header) == ("5.0 px",)
    assert measure_texts(MeasureKind.RECTANGLE, ((0, 0), (1, 2)), hu, header)[2] == "area 6.0 px²"


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        (MeasureKind.ANGLE, ((0, 0), (0, 0), (5, 5)), "no angle"),
        (MeasureKind.ELLIPSE, ((2, 2), (2, 6)), "no pixel inside"),
        (MeasureKind.RECTANGLE, ((2.2, 2.2), (2.8, 2.8)), "no pixel inside"),
    ],
)
def test_what_measures_nothing_says_so(tmp_path, kind, points, expected):
    header, hu = slice_of(tmp_path, np.full((8, 8), 40))
    assert measure_texts(kind, points, hu, header) == (expected,)
