"""Tilted and uneven stacks made orthogonal and even: every voxel keeps its place."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

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
    grid,
    make_regular,
    reformat_plane,
)
from tests.reference import reference_data
from tests.synthetic import AXIAL, head_normal, only_entry, tilted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

from tests.reformats import (
    CENTRE,
    EVEN,
    GAPPED,
    PIXEL_MM,
    UNEVEN,
    UNEVEN_GAPPED,
    along_table,
    first_header,
    flipped,
    noise,
    require_frame,
    require_linear,
    require_linear_image,
    resampled,
    scan,
)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> SliceHeader:
    return first_header(tmp_path_factory)


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
        (expected,) = resampled(
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


def test_the_simpleitk_image_has_the_place_of_every_voxel(header: SliceHeader) -> None:
    volume = make_regular(scan(header, along_table(UNEVEN), flipped(tilted(18.5))))
    image = volume.to_simpleitk()
    for index in ((0, 0, 0), (3, 5, 7), tuple(size - 1 for size in volume.hu.shape)):
        itk = tuple(map(int, index[::-1]))
        place = image.TransformIndexToPhysicalPoint(itk)
        assert place == pytest.approx(volume.patient_mm(index), abs=1e-6)
        assert image.GetPixel(itk) == pytest.approx(float(volume.hu[index]))


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
