from __future__ import annotations

import numpy as np
import pytest

from sadmil_core.errors import ReformatError
from sadmil_core.progress import Cancelled
from sadmil_core.reformat import Projection, make_slab, slab_shares
from tests.reformats import (
    CENTRE,
    EVEN,
    GAPPED,
    PIXEL_MM,
    ROUNDED_AWAY_HU,
    SLOPE,
    along_table,
    first_header,
    linear,
    scan,
)
from tests.synthetic import AXIAL, tilted


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    return first_header(tmp_path_factory)


def shares_of(volume, index, thickness_mm):
    return dict(slab_shares(volume.entry.geometry, index, thickness_mm))


def test_a_slab_takes_half_of_the_slices_at_its_faces(header):
    volume = scan(header, along_table(EVEN))
    assert shares_of(volume, 3, 10.0) == pytest.approx({2: 2.5, 3: 5.0, 4: 2.5})
    assert shares_of(volume, 3, 3.0) == pytest.approx({3: 3.0})
    assert shares_of(volume, 0, 10.0) == pytest.approx({0: 5.0, 1: 2.5})


def test_a_slab_invents_nothing_where_slices_are_missing(header):
    volume = scan(header, along_table(GAPPED))
    assert shares_of(volume, 3, 20.0) == pytest.approx({2: 5.0, 3: 5.0, 1: 2.5})


def test_uneven_slices_count_by_what_they_stand_for(header):
    volume = scan(header, along_table([0.0, 2.0, 5.0, 9.0, 14.0]))
    shares = shares_of(volume, 2, 8.0)  # from 1 to 9 mm
    assert shares == pytest.approx({1: 2.5, 2: 3.5, 3: 2.0})
    assert sum(shares.values()) == pytest.approx(8.0)


@pytest.mark.parametrize("angle_deg", [0.0, 18.5, -12.0])
def test_a_mean_is_the_value_at_its_centre_wherever_the_table_went(header, angle_deg):
    volume = scan(header, along_table(EVEN), tilted(angle_deg))
    slab = make_slab(volume, 4, 20.0, Projection.MEAN)
    assert (slab.first, slab.last) == (2, 6)
    # Of a field that is linear in the patient a slab's mean is the value in its middle: only
    # at rows that some slice has drifted away from is its middle not the slice's own.
    drift = round(10.0 * abs(np.sin(np.deg2rad(angle_deg))) / PIXEL_MM[0]) + 1
    inner = slice(drift, 30 - drift)
    away = np.abs(slab.hu - volume.hu[4])[inner]
    assert away.max() <= ROUNDED_AWAY_HU


@pytest.mark.parametrize("angle_deg", [0.0, 18.5, -12.0])
def test_a_maximum_is_that_of_the_places_along_the_normal(header, angle_deg):
    volume = scan(header, along_table(EVEN), tilted(angle_deg))
    geometry = volume.entry.geometry
    slab = make_slab(volume, 3, 10.0, Projection.MAXIMUM)
    step = np.array(geometry.normal) * (geometry.position_at(4) - geometry.position_at(3))
    higher = max(float(step @ SLOPE), -float(step @ SLOPE))
    inner = slice(6, 24)
    assert np.abs(slab.hu - volume.hu[3] - higher)[inner].max() <= ROUNDED_AWAY_HU


def test_a_bright_point_stays_at_its_place_in_the_patient(header):
    """Of slices drifting by the tilt, the maximum shows it once and in the right row."""
    spot = CENTRE + np.array([0.0, 0.0, 3.0])

    def bright(places):
        return np.where(np.linalg.norm(places - spot, axis=-1) < 2.2, 1000.0, 0.0)

    volume = scan(header, along_table(EVEN), tilted(18.5), values=bright, dtype=np.int16)
    geometry = volume.entry.geometry
    index = int(np.argmin(np.abs(np.array(geometry.position_mm) - spot @ geometry.normal)))
    for around in (index - 1, index, index + 1):
        slab = make_slab(volume, around, 15.0, Projection.MAXIMUM)
        assert slab.hu.dtype == np.int16
        rows, columns = np.nonzero(slab.hu > 500)
        away = spot - np.array(geometry.origins_mm[around])
        assert rows.mean() == pytest.approx(away @ geometry.column_direction / PIXEL_MM[0], abs=1.5)
        assert columns.mean() == pytest.approx(away @ geometry.row_direction / PIXEL_MM[1], abs=1)


def test_the_maximum_of_one_slice_is_the_slice_and_a_copy(header):
    volume = scan(header, along_table(EVEN), dtype=np.int16)
    slab = make_slab(volume, 2, 1.0, Projection.MAXIMUM)
    assert np.array_equal(slab.hu, volume.hu[2])
    assert not np.shares_memory(slab.hu, volume.hu)
    assert linear(np.array(volume.entry.geometry.origins_mm[2])) == pytest.approx(
        slab.hu[0, 0], abs=0.6
    )


def test_slabs_can_be_stopped_and_need_positions(header, tmp_path):
    def stop(done, total, phase):
        raise Cancelled

    volume = scan(header, along_table(EVEN))
    with pytest.raises(Cancelled):
        make_slab(volume, 2, 20.0, Projection.MEAN, stop)
    flat = scan(header, along_table(EVEN[:1]), AXIAL)
    with pytest.raises(ReformatError):
        make_slab(flat, 0, 5.0, Projection.MEAN)
