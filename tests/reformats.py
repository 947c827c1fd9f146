"""Stacks whose every value tells its place in the patient, for tests of reformats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its customary name

from sadmil_core.dicom import CTVolume, SliceHeader, index_folder
from sadmil_core.dicom.stacks import make_stack
from sadmil_core.reformat import (
    PlaneImage,
    RegularVolume,
    grid,
)
from tests.synthetic import AXIAL, only_entry, write_series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray


SLOPE = np.array([3.0, -2.0, 1.5])
"""HU per mm towards the left, the back and the head: every coordinate shows."""
CENTRE = np.array([-20.0, 15.0, 60.0])
PIXEL_MM = (0.7, 0.45)
ROUNDED_AWAY_HU = grid.TOLERANCE_MM * float(np.abs(SLOPE).sum()) + 0.01
EVEN = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
GAPPED = [0.0, 5.0, 10.0, 15.0, 30.0, 35.0, 40.0, 45.0]
UNEVEN = [0.0, 1.08, 3.0, 6.5, 8.0, 14.99, 18.0, 20.2]
UNEVEN_GAPPED = [0.0, 2.0, 4.0, 7.0, 9.0, 29.0, 31.0, 34.0, 36.0]


def first_header(tmp_path_factory: pytest.TempPathFactory) -> SliceHeader:
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


def resampled(image: Any, size: Sequence[int], origin: Any, axes: Any, spacing: Any) -> Any:
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
