"""Volumes whose values are a known function of the patient, scanned in every crooked way."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name
from hypothesis import given
from hypothesis import strategies as st

from sadmil_core.dicom import CTVolume, SliceHeader, index_folder, load_volume
from sadmil_core.dicom.stacks import make_stack
from sadmil_core.errors import ReformatError
from sadmil_core.progress import Cancelled
from sadmil_core.reformat import (
    Plane,
    PlaneImage,
    Projection,
    RegularVolume,
    grid,
    make_regular,
    reformat_plane,
    sampling,
)
from tests.reference import reference_data
from tests.synthetic import AXIAL, head_normal, only_entry, tilted, write_series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from sadmil_core.progress import Progress

SLOPE = np.array([3.0, -2.0, 1.5])
"""HU per mm towards the left, the back and the head: every coordinate shows."""
CENTRE = np.array([-20.0, 15.0, 60.0])
PIXEL_MM = (0.7, 0.45)
ROUNDED_AWAY_HU = grid.TOLERANCE_MM * float(np.abs(SLOPE).sum()) + 0.01
EVEN = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
GAPPED = [0.0, 5.0, 10.0, 15.0, 30.0, 35.0, 40.0, 45.0]
UNEVEN = [0.0, 1.08, 3.0, 6.5, 8.0, 14.99, 18.0, 20.2]
UNEVEN_GAPPED = [0.0, 2.0, 4.0, 7.0, 9.0, 29.0, 31.0, 34.0, 36.0]


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> SliceHeader:
    """A header as read from a file; the tests change where it lies."""
    folder = tmp_path_factory.mktemp("template")
    write_series(folder, slices=1)
    return only_entry(index_folder(folder)).slices[0]


def linear(patient_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """What linear interpolation reproduces exactly, whatever the grid."""
    return 40.0 + (patient_mm - CENTRE) @ SLOPE


def flipped(orientation: Sequence[float]) -> tuple[float, ...]:
    """Rows that run to the patient's right: the same slices, mirrored in the file."""
    return (*(-value for value in orientation[:3]), *orientation[3:])


def along_table(offsets_mm: Sequence[float]) -> NDArray[np.float64]:
    """Origins as a moving table makes them, whatever the tilt: only z changes."""
    return CENTRE - [10, 10, 15] + np.outer(offsets_mm, [0.0, 0.0, 1.0])


def scan(
    header: SliceHeader,
    origins_mm: ArrayLike,
    orientation: Sequence[float] = AXIAL,
    *,
    shape: tuple[int, int] = (30, 44),
    pixel_mm: tuple[float, float] = PIXEL_MM,
    values: Callable[[NDArray[np.float64]], NDArray[np.float64]] = linear,
    dtype: type = np.float32,
) -> CTVolume:
    """A volume that shows ``values`` of the patient on slices with these origins."""
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    headers = [
        replace(
            header,
            position_mm=tuple(map(float, origin)),
            orientation=(tuple(map(float, across)), tuple(map(float, down))),
            pixel_spacing_mm=pixel_mm,
            rows=shape[0],
            columns=shape[1],
            sop_instance_uid=f"1.2.{number}",
        )
        for number, origin in enumerate(np.asarray(origins_mm, float))
    ]
    entry = make_stack(headers)
    rows, columns = np.mgrid[: shape[0], : shape[1]][..., None] * 1.0
    hu = np.stack(
        [
            values(origin + rows * pixel_mm[0] * down + columns * pixel_mm[1] * across)
            for origin in np.array(entry.geometry.origins_mm)
        ]
    )
    hu = (np.rint(hu) if dtype is np.int16 else hu).astype(dtype)
    hu.flags.writeable = False
    return CTVolume(entry=entry, hu=hu)


def noise(
    header: SliceHeader, origins_mm: ArrayLike, orientation: Sequence[float] = AXIAL
) -> CTVolume:
    """A volume of values that agree nowhere by chance."""
    volume = scan(header, origins_mm, orientation)
    return replace(volume, hu=np.random.default_rng(5).normal(0, 300, volume.hu.shape).astype("f4"))


def scanned_mask(volume: RegularVolume) -> NDArray[np.bool_]:
    mask = np.zeros(volume.hu.shape, np.bool_)
    for plane, (top, bottom, left, right) in zip(mask, volume.scanned, strict=True):
        plane[top:bottom, left:right] = True
    return mask


def require_linear(volume: RegularVolume, rounding_hu: float = 0.0) -> None:
    """Every scanned voxel has the value of its place, every other one that of air."""
    slices, rows, columns = volume.hu.shape
    places = volume.patient_mm(np.moveaxis(np.mgrid[:slices, :rows, :columns], 0, -1))
    away = np.abs(volume.hu - linear(places))
    along = np.abs(SLOPE @ np.array(volume.directions[0])) * volume.spacing_mm[0] / 2
    gaps = np.pad(volume.in_gap, 1)
    # Beside a gap a slice stands for the half plane around it.
    allowed = ROUNDED_AWAY_HU + rounding_hu + along * (gaps[:-2] | gaps[2:])
    mask = scanned_mask(volume)
    assert mask.any()
    worst = np.where(mask, away, 0).max(axis=(1, 2))
    assert (worst <= allowed).all(), (worst, allowed)
    assert (volume.hu[~mask] == -1000).all()
    assert not mask[volume.in_gap].any()


def require_frame(native: CTVolume, volume: RegularVolume) -> None:
    """Orthonormal, towards the head, on the stack's own axes, from its first slice to its last."""
    geometry = native.entry.geometry
    directions = np.array(volume.directions)
    assert directions @ directions.T == pytest.approx(np.eye(3), abs=1e-9)
    assert directions[0] == pytest.approx(geometry.normal, abs=1e-6)
    assert directions[1] == pytest.approx(geometry.column_direction, abs=1e-6)
    assert directions[2] == pytest.approx(geometry.row_direction, abs=1e-6)
    ends = volume.patient_mm([[0, 0, 0], [len(volume.hu) - 1, 0, 0]]) @ directions[0]
    assert ends == pytest.approx([geometry.position_mm[0], geometry.position_mm[-1]], abs=1e-4)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("offsets", [EVEN, GAPPED, UNEVEN, UNEVEN_GAPPED])
@pytest.mark.parametrize("angle", [0.0, 18.5, -24.0])
def test_every_voxel_has_the_value_of_its_place(
    header: SliceHeader, angle: float, offsets: list[float], mirror: bool, dtype: type
) -> None:
    orientation = flipped(tilted(angle)) if mirror else tilted(angle)
    native = scan(header, along_table(offsets), orientation, dtype=dtype)
    volume = make_regular(native)
    assert volume.hu.dtype == dtype
    assert not volume.hu.flags.writeable
    # Whole numbers are rounded when they are scanned, and again when they are mixed: each by half
    # at most.
    require_linear(volume, rounding_hu=1.0 if dtype is np.int16 else 0.0)
    require_frame(native, volume)


@pytest.mark.parametrize("offsets", [EVEN, GAPPED])
@pytest.mark.parametrize("angle", [18.5, -24.0])
def test_shear_cuts_nothing_off_but_part_of_a_pixel(
    header: SliceHeader, angle: float, offsets: list[float]
) -> None:
    native = scan(header, along_table(offsets), tilted(angle))
    volume = make_regular(native)
    missing = sum(native.entry.geometry.missing_after)
    assert len(volume.hu) == len(offsets) + missing
    assert volume.in_gap.sum() == missing
    top, bottom, left, right = volume.scanned[~volume.in_gap].T
    assert set(bottom - top) <= {29, 30}
    assert set(right - left) == {44}
    # Each slice lies where the file says, to the pixel.
    corner = volume.index_of(native.entry.geometry.origins_mm)
    assert np.abs(corner[:, 0] - np.flatnonzero(~volume.in_gap)).max() < 1e-4
    assert (np.abs(top - corner[:, 1]) <= 1).all()


def test_slices_that_drift_both_ways_under_an_orientation_that_denies_it_are_straightened(
    header: SliceHeader,
) -> None:
    origins = along_table(EVEN) + np.outer(np.arange(8), [1.3, -0.9, 0.0])
    native = scan(header, origins)
    assert "SHEARED" in native.entry.warning_codes
    volume = make_regular(native)
    require_linear(volume)
    require_frame(native, volume)
    assert volume.hu.shape > native.hu.shape


def test_drift_under_the_tolerance_is_left_and_above_it_is_not(header: SliceHeader) -> None:
    jitter = np.outer([0, 1, 0, -1, 0, 1, 0, -1], [1.0, 1.0, 0.0])
    left = scan(header, along_table(EVEN) + 0.9 * grid.TOLERANCE_MM * jitter)
    assert make_regular(left).hu is left.hu
    moved = scan(header, along_table(EVEN) + 3 * grid.TOLERANCE_MM * jitter)
    volume = make_regular(moved)
    require_linear(volume)
    still = volume.scanned[0]
    origin = volume.index_of(moved.entry.geometry.origins_mm[0])
    # The many that agree stay as they are; the few that stray are interpolated.
    assert origin == pytest.approx(np.rint(origin), abs=1e-6)
    assert np.array_equal(volume.hu[0, still[0] : still[1], still[2] : still[3]], moved.hu[0])


@pytest.mark.parametrize("orientation", [AXIAL, flipped(AXIAL), (1, 0, 0, 0, 0, -1)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_regular_stack_is_the_same_memory(
    header: SliceHeader, orientation: Sequence[float], dtype: type
) -> None:
    origins = CENTRE + np.outer(EVEN, head_normal(orientation))
    native = scan(header, origins, orientation, dtype=dtype)
    volume = make_regular(native)
    assert volume.hu is native.hu
    assert volume.origin_mm == pytest.approx(native.entry.geometry.origins_mm[0])
    assert volume.spacing_mm == pytest.approx((5.0, *PIXEL_MM))
    assert volume.outside_fraction == 0
    require_frame(native, volume)


def test_a_stack_reformatted_oblique_by_the_scanner_is_regular(header: SliceHeader) -> None:
    """Tilt alone is no shear: the slices of such a stack lie behind one another."""
    orientation = tilted(18.5)
    native = scan(header, CENTRE + np.outer(EVEN, head_normal(orientation)), orientation)
    assert native.entry.geometry.shear_deg == pytest.approx(0, abs=1e-6)
    assert make_regular(native).hu is native.hu


def test_missing_slices_are_air_that_is_marked(header: SliceHeader) -> None:
    native = scan(header, along_table(GAPPED))
    volume = make_regular(native)
    assert volume.in_gap.tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert np.array_equal(volume.hu[~volume.in_gap], native.hu)
    assert (volume.hu[volume.in_gap] == -1000).all()


def test_no_slice_beside_a_gap_is_lost_where_the_grid_does_not_hit_it(header: SliceHeader) -> None:
    native = scan(header, along_table(UNEVEN_GAPPED))
    assert native.entry.geometry.missing_after.count(0) == 7
    volume = make_regular(native)
    beside = volume.index_of(native.entry.geometry.origins_mm)[[4, 5], 0]
    shown = np.rint(beside).astype(int)
    assert not volume.in_gap[shown].any()
    assert np.array_equal(volume.hu[shown], native.hu[[4, 5]])
    assert volume.in_gap[shown[0] + 1 : shown[1]].all()


def test_an_uneven_stack_is_resampled_no_finer_than_memory_allows(
    header: SliceHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = scan(header, along_table(UNEVEN))
    fine = make_regular(native)
    assert fine.spacing_mm[0] <= 1.08 / 2
    monkeypatch.setattr(grid, "FINE_BYTES", 20 * native.hu[0].nbytes)
    coarse = make_regular(native)
    assert len(coarse.hu) == 20
    require_linear(coarse)
    monkeypatch.setattr(grid, "FINE_BYTES", 1)
    assert len(make_regular(native).hu) == len(native.hu)


def test_one_odd_overlap_does_not_set_the_spacing_of_the_whole_volume(header: SliceHeader) -> None:
    offsets = np.cumsum([0, 1.08, *[4.5, 5.5] * 6]).tolist()
    volume = make_regular(scan(header, along_table(offsets)))
    assert 2.1 < volume.spacing_mm[0] <= 4.5 / 2
    require_linear(volume)


def test_memory_taken_is_that_of_the_result(header: SliceHeader) -> None:
    native = scan(header, along_table(UNEVEN), tilted(20), shape=(256, 256), dtype=np.int16)
    tracemalloc.start()
    try:
        volume = make_regular(native)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert volume.hu.nbytes < peak < volume.hu.nbytes + (1 << 20)


def test_progress_is_told_and_may_cancel(header: SliceHeader) -> None:
    native = scan(header, along_table(EVEN), tilted(20))
    calls: list[tuple[int, int, str]] = []
    make_regular(native, lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == list(range(9))
    assert {total for _, total, _ in calls} == {8}

    def cancel(done: int, total: int, phase: str) -> None:
        calls.append((done, total, phase))
        if done == 3:
            raise Cancelled

    calls.clear()
    with pytest.raises(Cancelled):
        make_regular(native, cancel)
    assert calls[-1][0] == 3


def test_a_slab_tells_its_progress_and_may_be_cancelled(
    header: SliceHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = make_regular(scan(header, along_table(EVEN), tilted(20)))
    calls: list[tuple[int, int, str]] = []
    layers: list[int] = []
    asked = threading.Event()
    fill, values = sampling.Sampler._fill, sampling.Sampler._values

    def sagittal(progress: Progress) -> PlaneImage:
        through = tuple(CENTRE.tolist())
        return reformat_plane(volume, Plane.SAGITTAL, through, thickness_mm=200, progress=progress)

    def count(*args: Any) -> Any:
        layers.append(1)
        return values(*args)

    def fill_rest_once_asked(
        sampler: Any, samples: Any, lattice: Any, band: slice, *rest: Any
    ) -> None:
        if band.start:
            asked.wait(10)
        fill(sampler, samples, lattice, band, *rest)

    def cancel(*_: object) -> None:
        asked.set()
        raise Cancelled

    monkeypatch.setattr(sampling.Sampler, "_values", count)
    monkeypatch.setattr(sampling, "_BAND_POINTS", 1000)
    image = sagittal(lambda *call: calls.append(call))
    bands, whole = calls[-1][1], len(layers)
    assert 1 < bands < len(image.hu)
    assert [call[:2] for call in calls] == [(done, bands) for done in range(1, bands + 1)]
    layers.clear()
    monkeypatch.setattr(sampling.Sampler, "_fill", fill_rest_once_asked)
    with pytest.raises(Cancelled):
        sagittal(cancel)
    assert len(layers) < 1.5 * whole / bands  # the first band, and little of those under way


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """An orientation leant and turned any way, and origins with drift, jitter and gaps."""
    lean, turn, nod = (np.deg2rad(draw(st.floats(-35, 35))) for _ in range(3))
    rotate = np.array(
        [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]
    )
    yaw = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    roll = np.array([[np.cos(nod), 0, np.sin(nod)], [0, 1, 0], [-np.sin(nod), 0, np.cos(nod)]])
    across, down, normal = (yaw @ roll @ rotate).T * [
        [draw(st.sampled_from([1, -1]))],
        [draw(st.sampled_from([1, -1]))],
        [1],
    ]
    steps = draw(
        st.one_of(
            st.lists(st.floats(0.3, 9), min_size=1, max_size=7),
            st.lists(st.sampled_from([5.0, 5.0, 5.0, 10.0, 20.0]), min_size=1, max_size=7),
        )
    )
    places = np.concatenate([[0.0], np.cumsum(steps)])
    slant = [draw(st.floats(-0.6, 0.6)), draw(st.floats(-0.6, 0.6))]
    origins = CENTRE + np.outer(places, normal + slant[0] * across + slant[1] * down)
    return (*across, *down), origins


@given(geometry=geometries(), pixel_mm=st.tuples(*[st.floats(0.3, 1.5)] * 2), data=st.data())
def test_any_geometry_keeps_every_place(
    header: SliceHeader,
    geometry: tuple[tuple[float, ...], NDArray[np.float64]],
    pixel_mm: tuple[float, float],
    data: st.DataObject,
) -> None:
    orientation, origins = geometry
    shape = data.draw(st.tuples(st.integers(8, 20), st.integers(8, 20)))
    native = scan(header, origins, orientation, shape=shape, pixel_mm=pixel_mm)
    volume = make_regular(native)
    require_linear(volume)
    require_frame(native, volume)
    index = np.random.default_rng(1).uniform(-5, 30, (20, 3))
    assert volume.index_of(volume.patient_mm(index)) == pytest.approx(index, abs=1e-6)
    plane = data.draw(st.sampled_from(Plane))
    middle = volume.patient_mm((np.array(volume.hu.shape) - 1) / 2)
    require_linear_image(reformat_plane(volume, plane, tuple(middle.tolist())), volume)


def require_linear_image(image: PlaneImage, volume: RegularVolume) -> None:
    """Every pixel that is not outside has the value of its place, unmixed with air."""
    rows, columns = image.hu.shape
    places = image.patient_mm(np.moveaxis(np.mgrid[:rows, :columns], 0, -1))
    allowed = ROUNDED_AWAY_HU
    if volume.in_gap.any():
        # Within half a slice of a gap a slice stands for the half plane around it, and in a
        # resampled stack it may itself be a half plane off.
        allowed += np.abs(SLOPE @ np.array(volume.directions[0])) * volume.spacing_mm[0]
    away = np.abs(image.hu - linear(places))[~image.outside]
    assert away.size == 0 or away.max() <= allowed
    assert (image.hu[image.outside] == -1000).all()
    assert not (image.in_gap & ~image.outside).any()


@pytest.mark.parametrize("plane", Plane)
@pytest.mark.parametrize("offsets", [EVEN, GAPPED, UNEVEN])
@pytest.mark.parametrize("angle", [0.0, 18.5, -24.0])
def test_every_pixel_of_a_plane_has_the_value_of_its_place(
    header: SliceHeader, angle: float, offsets: list[float], plane: Plane
) -> None:
    volume = make_regular(scan(header, along_table(offsets), tilted(angle)))
    planes = np.flatnonzero(~volume.in_gap)
    middle = volume.patient_mm([planes[len(planes) // 2 - 1], *np.array(volume.hu.shape[1:]) / 2])
    image = reformat_plane(volume, plane, tuple(middle.tolist()))
    require_linear_image(image, volume)
    assert (~image.outside).mean() > 0.2
    assert image.pixel_mm == min(PIXEL_MM)
    assert image.pixel_of(middle) == pytest.approx(
        image.pixel_of(image.patient_mm(image.pixel_of(middle)))
    )
    assert np.array(plane.normal) @ image.origin_mm == pytest.approx(plane.normal @ middle)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("angle", [0.0, 20.0])
def test_images_are_held_as_a_radiologist_does(
    header: SliceHeader, angle: float, mirror: bool
) -> None:
    """One bright ball in the patient's left, front, head corner."""
    orientation = flipped(tilted(angle)) if mirror else tilted(angle)
    start = np.array([30.0 if mirror else -30.0, -30.0, 0.0])
    ball = np.array([14.0, -12.0, 28.0])

    def values(places: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1000 * np.exp(-((places - ball) ** 2).sum(axis=-1) / 50))

    native = scan(
        header,
        start + np.outer(np.arange(17) * 2.5, [0, 0, 1]),
        orientation,
        shape=(60, 80),
        pixel_mm=(1.0, 0.75),
        values=values,
    )
    volume = make_regular(native)
    for plane, down, right in (
        (Plane.AXIAL, 1, 0),
        (Plane.CORONAL, 2, 0),
        (Plane.SAGITTAL, 2, 1),
    ):
        image = reformat_plane(volume, plane, tuple(ball.tolist()))
        row, column = np.unravel_index(image.hu.argmax(), image.hu.shape)
        found = image.patient_mm([row, column])
        assert np.abs(found - ball).max() <= 1.5
        # Left of the patient on the right of the image; front, or head, on top; the face on the
        # left of a sagittal image.
        corner = image.patient_mm([0, 0])
        opposite = image.patient_mm(np.array(image.hu.shape) - 1)
        assert (opposite[down] > corner[down]) == (plane is Plane.AXIAL)
        assert opposite[right] > corner[right]
        assert row < image.hu.shape[0] / 2
        assert (column > image.hu.shape[1] / 2) == (plane is not Plane.SAGITTAL)


@pytest.mark.parametrize("angle", [18.5, -24.0])
def test_a_rod_along_the_table_stays_straight_and_upright(
    header: SliceHeader, angle: float
) -> None:
    x, y = 3.3, -4.7

    def values(places: NDArray[np.float64]) -> NDArray[np.float64]:
        aside = (places[..., 0] - x) ** 2 + (places[..., 1] - y) ** 2
        return np.asarray(1000 * np.exp(-aside / (2 * 3.0**2)))

    native = scan(
        header,
        np.array([-40.0, -40.0, 0.0]) + np.outer(np.arange(20) * 4, [0, 0, 1]),
        tilted(angle),
        shape=(100, 100),
        pixel_mm=(0.8, 0.8),
        values=values,
    )
    volume = make_regular(native)
    for plane, axis, place in ((Plane.SAGITTAL, 1, y), (Plane.CORONAL, 0, x)):
        image = reformat_plane(volume, plane, (x, y, 40.0))
        rows = np.flatnonzero(image.hu.max(axis=1) > 500)
        assert len(rows) * image.pixel_mm > 60
        weights = np.where(image.outside[rows], 0, image.hu[rows]).clip(0)
        # Rows where the rod runs out of the stack at an angle show a part of it alone.
        whole = ~image.outside[rows][:, np.abs(_column_mm(image, axis) - place) < 9].any(axis=1)
        assert whole.sum() * image.pixel_mm > 45
        centres = (weights * _column_mm(image, axis)).sum(axis=1) / weights.sum(axis=1)
        assert np.abs(centres[whole] - place).max() < 0.2
    # The stack as it lies in the files would let the rod lean by its tilt: 76 mm of table.
    native_rows = native.hu[:, :, round((x + 40) / 0.8)].argmax(axis=1)
    leant = (native_rows - native_rows[0]) * 0.8
    assert np.abs(leant).max() < 1
    assert np.ptp(volume.hu.max(axis=2).argmax(axis=1)) * 0.8 > 60 * np.sin(np.deg2rad(abs(angle)))


def _column_mm(image: PlaneImage, axis: int) -> NDArray[np.float64]:
    """The coordinate of each image column along a patient axis."""
    columns = np.arange(image.hu.shape[1])
    return image.patient_mm(np.stack([np.zeros_like(columns), columns], axis=-1))[:, axis]


def _resampled(image: Any, size: Sequence[int], origin: Any, axes: Any, spacing: Any) -> Any:
    """SimpleITK's linear interpolation at a lattice; axes are those of column, row and slice."""
    done = sitk.Resample(
        image,
        list(map(int, size)),
        sitk.Transform(),
        sitk.sitkLinear,
        [float(value) for value in origin],
        [float(value) for value in spacing],
        np.array(axes).T.ravel().tolist(),
        -1000.0,
    )
    return sitk.GetArrayFromImage(done)


@pytest.mark.parametrize("angle", [18.5, -24.0])
def test_simpleitk_moves_each_slice_to_the_same_place(header: SliceHeader, angle: float) -> None:
    """Each native slice as an image of its own, at its own position, of values without order."""
    native = noise(header, along_table(EVEN), tilted(angle))
    geometry = native.entry.geometry
    volume = make_regular(native)
    axes = (geometry.row_direction, geometry.column_direction, geometry.normal)
    columns, rows = volume.hu.shape[2], volume.hu.shape[1]
    for index, origin in enumerate(geometry.origins_mm):
        image = sitk.GetImageFromArray(native.hu[index : index + 1])
        image.SetOrigin(origin)
        image.SetSpacing((PIXEL_MM[1], PIXEL_MM[0], 1.0))
        image.SetDirection(np.array(axes).T.ravel().tolist())
        (expected,) = _resampled(
            image,
            (columns, rows, 1),
            volume.patient_mm([index, 0, 0]),
            axes,
            (PIXEL_MM[1], PIXEL_MM[0], 1.0),
        )
        top, bottom, left, right = volume.scanned[index]
        box = np.s_[top:bottom, left:right]
        # Anything within the tolerance is not moved: by this much noise differs at most.
        assert np.abs(volume.hu[index][box] - expected[box]).max() < 2500 * 0.05 / 0.45
        assert np.corrcoef(volume.hu[index][box].ravel(), expected[box].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("plane", Plane)
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("angle", [0.0, -24.0])
def test_simpleitk_sees_the_same_plane(
    header: SliceHeader, angle: float, mirror: bool, plane: Plane
) -> None:
    orientation = flipped(tilted(angle)) if mirror else tilted(angle)
    volume = make_regular(noise(header, along_table(EVEN), orientation))
    middle = volume.patient_mm((np.array(volume.hu.shape) - 1) / 2 + 0.3)
    image = reformat_plane(volume, plane, tuple(middle.tolist()), pixel_mm=0.61)
    across, down = np.array(image.row_direction), np.array(image.column_direction)
    (expected,) = _resampled(
        volume.to_simpleitk(),
        (image.hu.shape[1], image.hu.shape[0], 1),
        image.origin_mm,
        (across, down, np.cross(across, down)),
        (0.61,) * 3,
    )
    seen = ~image.outside
    assert seen.mean() > 0.2
    assert image.hu[seen] == pytest.approx(expected[seen], abs=0.2)


def test_the_simpleitk_image_has_the_place_of_every_voxel(header: SliceHeader) -> None:
    volume = make_regular(scan(header, along_table(UNEVEN), flipped(tilted(18.5))))
    image = volume.to_simpleitk()
    for index in ((0, 0, 0), (3, 5, 7), tuple(size - 1 for size in volume.hu.shape)):
        itk = tuple(map(int, index[::-1]))
        place = image.TransformIndexToPhysicalPoint(itk)
        assert place == pytest.approx(volume.patient_mm(index), abs=1e-6)
        assert image.GetPixel(itk) == pytest.approx(float(volume.hu[index]))


def test_a_slab_is_the_mean_or_the_maximum_of_its_depths(header: SliceHeader) -> None:
    native = scan(header, along_table(EVEN))
    volume = make_regular(native)
    through = (-20.0, 15.0, 61.0)
    plane = reformat_plane(volume, Plane.AXIAL, through)
    mean = reformat_plane(volume, Plane.AXIAL, through, thickness_mm=10.0)
    most = reformat_plane(
        volume, Plane.AXIAL, through, thickness_mm=10.0, projection=Projection.MAXIMUM
    )
    inside = ~plane.outside
    assert inside[:-1, :-1].all()  # the last pixels may reach beyond what was scanned
    for slab, more_hu in ((mean, 0.0), (most, 5 * SLOPE[2])):
        assert np.array_equal(slab.outside, plane.outside)
        assert slab.hu[inside] == pytest.approx(plane.hu[inside] + more_hu, abs=0.01)


def test_a_slab_takes_only_what_was_scanned_and_says_where_slices_are_missing(
    header: SliceHeader,
) -> None:
    native = scan(header, along_table(GAPPED))
    volume = make_regular(native)
    edge = native.entry.geometry.origins_mm[3][2]
    for projection in Projection:
        slab = reformat_plane(
            volume, Plane.AXIAL, (0, 0, edge), thickness_mm=10.0, projection=projection
        )
        assert slab.in_gap[:-1, :-1].all()
        assert not slab.outside[:-1, :-1].any()
        assert slab.hu[:-1, :-1].min() >= native.hu.min()
    gap = reformat_plane(volume, Plane.AXIAL, (0, 0, edge + 7.5))
    assert gap.in_gap[:-1, :-1].all()
    assert gap.outside.all()
    sagittal = reformat_plane(volume, Plane.SAGITTAL, tuple(CENTRE.tolist()))
    hidden = sagittal.in_gap[:, :-1].all(axis=1).sum() * sagittal.pixel_mm
    assert hidden == pytest.approx(10.0, abs=1.0)  # 15 mm, less half a slice on either side


def test_a_gap_is_seen_no_farther_than_the_slices_beside_it_reach(header: SliceHeader) -> None:
    turned = (0.8, 0.6, 0, -0.6, 0.8, 0)
    volume = make_regular(scan(header, along_table(GAPPED), turned))
    middle = tuple(volume.patient_mm((np.array(volume.hu.shape) - 1) / 2).tolist())
    for plane in (Plane.CORONAL, Plane.SAGITTAL):
        image = reformat_plane(volume, plane, middle)
        rows, columns = image.hu.shape
        places = image.patient_mm(np.moveaxis(np.mgrid[:rows, :columns], 0, -1))
        index = volume.index_of(places)
        within = ((index >= 0) & (index <= np.array(volume.hu.shape) - 1)).all(axis=-1)
        in_gap = np.abs(index[..., 0] - 4.5) < 1
        assert not within[in_gap].all()
        assert np.array_equal(image.in_gap, within & in_gap)


@pytest.mark.parametrize("start_mm", [0.1, 33.3, -1234.56789])
def test_a_plane_through_a_slice_of_an_upright_series_is_that_slice(
    header: SliceHeader, start_mm: float
) -> None:
    """The last bits of computed indices cost no pixel of an edge."""
    origins = along_table(start_mm + 0.7 * np.arange(7))
    native = scan(header, origins, pixel_mm=(0.3, 0.3))
    volume = make_regular(native)
    for hu, origin in zip(native.hu, native.entry.geometry.origins_mm, strict=True):
        image = reformat_plane(volume, Plane.AXIAL, origin)
        assert not image.outside.any()
        assert image.hu == pytest.approx(hu, abs=0.01)


def test_a_plane_beside_the_patient_is_all_outside(header: SliceHeader) -> None:
    volume = make_regular(scan(header, along_table(EVEN), tilted(18.5)))
    image = reformat_plane(volume, Plane.SAGITTAL, (500.0, 0.0, 0.0))
    assert image.outside.all()
    assert (image.hu == -1000).all()
    assert not image.in_gap.any()


@pytest.mark.parametrize(
    "options", [{"pixel_mm": 0.0}, {"pixel_mm": float("nan")}, {"thickness_mm": -1.0}]
)
def test_a_plane_of_impossible_size_is_refused(
    header: SliceHeader, options: dict[str, float]
) -> None:
    volume = make_regular(scan(header, along_table(EVEN)))
    with pytest.raises(ValueError, match="mm"):
        reformat_plane(volume, Plane.AXIAL, (0.0, 0.0, 0.0), **options)


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ({"position_mm": None}, "positions"),
        ({"orientation": None}, "orientation"),
        ({"pixel_spacing_mm": None}, "size of its pixels"),
    ],
)
def test_a_series_that_does_not_say_where_it_lies_is_refused(
    header: SliceHeader, lacks: dict[str, None], says: str
) -> None:
    native = scan(header, along_table(EVEN))
    entry = make_stack([replace(each, **lacks) for each in native.entry.slices])
    with pytest.raises(ReformatError, match=says):
        make_regular(CTVolume(entry=entry, hu=native.hu))


def test_one_slice_is_refused(header: SliceHeader) -> None:
    with pytest.raises(ReformatError, match="no volume"):
        make_regular(scan(header, along_table([0.0])))


@pytest.mark.parametrize("far", [(0.0, 0.0, 9000.0), (9000.0, 0.0, 0.0)])
def test_positions_that_no_table_reaches_are_refused(
    header: SliceHeader, far: tuple[float, float, float]
) -> None:
    origins = along_table(EVEN)
    origins[-1] += far
    with pytest.raises(ReformatError, match="spread"):
        make_regular(scan(header, origins))


def test_a_volume_swollen_by_wrong_positions_is_refused(
    header: SliceHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = along_table(EVEN) + np.outer(np.arange(8), [100.0, 0.0, 0.0])
    native = scan(header, origins)
    make_regular(native)
    monkeypatch.setattr(grid, "MOST_BYTES", 1)
    with pytest.raises(ReformatError, match="sideways"):
        make_regular(native)


def test_reformats_wait_for_neither_simpleitk_nor_torch() -> None:
    code = "import sadmil_core.reformat, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"SimpleITK", "torch", "PySide6"} & set(done.stdout.split())


def test_want_of_memory_is_told(header: SliceHeader, monkeypatch: pytest.MonkeyPatch) -> None:
    native = scan(header, along_table(EVEN), tilted(18.5))

    def empty(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(ReformatError, match="GiB of memory"):
        make_regular(native)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("folder", "tilt_deg"), [("dcm_qa_ct_GE_tilt", 18.5), ("rsna_pos_ID_b026766696", 24.0)]
)
def test_real_tilted_heads_keep_every_place(folder: str, tilt_deg: float) -> None:
    """Native voxels, found again at their DICOM position in sagittal images."""
    native = load_volume(only_entry(index_folder(reference_data() / "ct" / folder)))
    geometry = native.entry.geometry
    assert geometry.tilt_deg == pytest.approx(tilt_deg, abs=0.05)
    assert geometry.shear_deg == pytest.approx(tilt_deg, abs=0.05)
    assert "SHEARED" not in native.entry.warning_codes
    volume = make_regular(native)
    origins = np.array(geometry.origins_mm)
    down = geometry.row_spacing_mm * np.array(geometry.column_direction)
    across = geometry.column_spacing_mm * np.array(geometry.row_direction)
    rows = np.arange(20, 492)
    for column in (200, 256, 300):
        places = origins[:, None] + rows[:, None] * down + column * across
        image = reformat_plane(volume, Plane.SAGITTAL, tuple(places[0, 0].tolist()))
        pixels = np.rint(image.pixel_of(places)).astype(int)
        found = image.hu[pixels[..., 0], pixels[..., 1]]
        seen = ~image.outside[pixels[..., 0], pixels[..., 1]]
        assert seen.mean() > 0.95
        there = native.hu[:, rows, column]
        assert np.corrcoef(found[seen], there[seen])[0, 1] > 0.97


@pytest.mark.reference
@pytest.mark.parametrize("folder", ["dcm_qa_ct_GE_tilt", "rsna_pos_ID_b026766696"])
def test_the_skull_of_real_tilted_heads_agrees_best_where_positions_put_it(folder: str) -> None:
    """Not stacked straight, nor sheared twice as far: anatomy decides, not the header again."""
    native = load_volume(only_entry(index_folder(reference_data() / "ct" / folder)))
    agreement = [_skull_agreement(_drifting(native, share)) for share in (0.0, 1.0, 2.0)]
    assert np.argmax(agreement) == 1


def _drifting(native: CTVolume, share: float) -> CTVolume:
    """The same slices with this share of the drift they were scanned with."""
    geometry = native.entry.geometry
    steps = np.subtract(geometry.position_mm, geometry.position_mm[0])
    straight = geometry.origins_mm[0] + np.outer(steps, geometry.normal)
    origins = straight + share * (np.array(geometry.origins_mm) - straight)
    moved = replace(geometry, origins_mm=tuple(map(tuple, origins.tolist())))
    return replace(native, entry=replace(native.entry, geometry=moved))


def _skull_agreement(native: CTVolume) -> float:
    """How much of the bone of neighbouring planes lies in both, 0 to 1."""
    bone = make_regular(native).hu > 300
    return float(2 * (bone[1:] & bone[:-1]).sum() / (bone[1:].sum() + bone[:-1].sum()))
