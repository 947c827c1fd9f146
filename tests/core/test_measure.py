from __future__ import annotations

import math

import numpy as np
import pytest

from sadmil_core.measure import (
    angle_deg,
    distance_mm,
    ellipse_mask,
    measure_region,
    rectangle_mask,
)

SQUARE, TALL = (0.5, 0.5), (2.0, 0.5)  # between rows, between columns


def test_a_distance_is_that_in_the_patient_however_the_pixels_are_shaped():
    assert distance_mm((0, 0), (3, 4), (1, 1)) == pytest.approx(5)
    assert distance_mm((10, 10), (10, 30), TALL) == pytest.approx(10)
    assert distance_mm((10, 10), (30, 10), TALL) == pytest.approx(40)
    assert distance_mm((0, 0), (1.5, 8), TALL) == pytest.approx(5)


@pytest.mark.parametrize(
    ("a", "b", "pixel_mm", "expected"),
    [
        ((0, 10), (10, 0), (1, 1), 90),
        ((0, 10), (0, 3), (1, 1), 0),
        ((0, 10), (0, -3), (1, 1), 180),
        ((0, 10), (10, 10), (1, 1), 45),
        ((0, 10), (10, 40), TALL, 45),  # 20 mm down and 20 mm across
        ((0, 10), (10, 10 * math.sqrt(3)), (1, 1), 30),
    ],
)
def test_an_angle_is_that_in_the_patient_whichever_leg_comes_first(a, b, pixel_mm, expected):
    assert angle_deg(a, (0, 0), b, pixel_mm) == pytest.approx(expected, abs=1e-6)
    assert angle_deg(b, (0, 0), a, pixel_mm) == pytest.approx(expected, abs=1e-6)


def test_an_angle_with_a_leg_of_no_length_is_none():
    assert math.isnan(angle_deg((5, 5), (5, 5), (9, 9), SQUARE))


def test_a_rectangle_holds_the_centres_in_it_from_whichever_corner_it_is_drawn():
    mask = rectangle_mask((6, 8), (1, 2), (3, 5))
    assert mask.sum() == 3 * 4
    assert mask[1:4, 2:6].all()
    for a, b in (((3, 5), (1, 2)), ((1, 5), (3, 2)), ((0.6, 1.6), (3.4, 5.4))):
        assert (rectangle_mask((6, 8), a, b) == mask).all()


def test_an_ellipse_has_its_area_and_keeps_to_its_box():
    mask = ellipse_mask((200, 300), (20, 30), (180, 270))
    assert mask.sum() == pytest.approx(math.pi * 80 * 120, rel=0.002)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 180, 30, 270)
    assert not mask[20:40, 30:60].any()  # the corner of the box


def test_regions_are_cut_off_at_the_edge_of_the_slice():
    assert rectangle_mask((4, 4), (-10, -10), (1, 1)).sum() == 4
    assert ellipse_mask((4, 4), (-3, -3), (3, 3))[0].sum() == 4


def test_an_ellipse_without_height_is_empty():
    assert not ellipse_mask((9, 9), (3, 1), (3, 7)).any()


def test_statistics_of_known_values():
    hu = np.zeros((10, 10), np.int16)
    hu[2:4, 3:5] = [[10, 20], [30, 60]]
    found = measure_region(hu, rectangle_mask(hu.shape, (2, 3), (3, 4)), TALL)
    assert (found.pixels, found.padded) == (4, 0)
    assert (found.min_hu, found.max_hu, found.mean_hu) == (10, 60, 30)
    assert found.sd_hu == pytest.approx(math.sqrt((400 + 100 + 0 + 900) / 4))
    assert found.area_mm2 == pytest.approx(4.0)


def test_statistics_of_large_values_do_not_overflow_int16():
    hu = np.full((50, 50), 30_000, np.int16)
    found = measure_region(hu, np.ones(hu.shape, bool), SQUARE)
    assert (found.mean_hu, found.sd_hu) == (30_000, 0)


def test_padding_is_left_out_of_values_and_area():
    hu = np.full((10, 10), 40, np.int16)
    hu[:, 5:] = -1000
    found = measure_region(hu, np.ones(hu.shape, bool), (1, 1), padding=hu == -1000)
    assert (found.mean_hu, found.sd_hu, found.min_hu) == (40, 0, 40)
    assert (found.pixels, found.padded, found.area_mm2) == (50, 50, 50.0)


def test_where_all_is_padding_there_is_nothing_to_measure():
    hu = np.full((4, 4), -1000, np.int16)
    assert measure_region(hu, np.ones(hu.shape, bool), SQUARE, padding=hu == -1000) is None
    assert measure_region(hu, np.zeros(hu.shape, bool), SQUARE) is None
