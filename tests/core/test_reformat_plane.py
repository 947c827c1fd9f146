"""Axial, coronal and sagittal images and slabs: every pixel has its place and its side."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sadmil_core.dicom import SliceHeader
from sadmil_core.progress import Cancelled
from sadmil_core.reformat import (
    Plane,
    PlaneImage,
    Projection,
    make_regular,
    reformat_plane,
    sampling,
)
from tests.synthetic import tilted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.progress import Progress
from tests.reformats import (
    CENTRE,
    EVEN,
    GAPPED,
    PIXEL_MM,
    SLOPE,
    UNEVEN,
    along_table,
    first_header,
    flipped,
    noise,
    require_linear_image,
    resampled,
    scan,
)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> SliceHeader:
    return first_header(tmp_path_factory)


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
    (expected,) = resampled(
        volume.to_simpleitk(),
        (image.hu.shape[1], image.hu.shape[0], 1),
        image.origin_mm,
        (across, down, np.cross(across, down)),
        (0.61,) * 3,
    )
    seen = ~image.outside
    assert seen.mean() > 0.2
    assert image.hu[seen] == pytest.approx(expected[seen], abs=0.2)


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
