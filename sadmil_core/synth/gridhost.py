"""Hosts on the very grid a network reads, so that what is inserted is never resampled again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.pixelgrid import Grid, GridConfig, lay_grid
from sadmil_core.synth.find_host import find_host
from sadmil_core.synth.host import Tissue
from sadmil_core.synth.texture import measure_noise, measure_psf_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.synth.host import Host

_FOUND_ON = 256


def host_on_grid(volume: CTVolume, config: GridConfig) -> Host:
    """A host whose pixels are those that a network with this grid would see.

    Args:
        volume: A head CT without a bleed.
        config: With a size and a pixel spacing.

    Raises:
        HostUnfit: As :func:`~sadmil_core.synth.find_host.find_host`.
    """
    if config.size is None or config.pixel_spacing_mm is None:
        raise ValueError("a host's grid needs a size and a pixel spacing")
    found = find_host(volume, size=_FOUND_ON)
    grid = lay_grid(volume, config)
    hu = np.stack([grid.resample(plane) for plane in volume.hu])
    factor = max(1, round(volume.hu.shape[1] / found.hu.shape[1]))
    coarse = Grid(
        size=grid.size,
        top=grid.top / factor,
        left=grid.left / factor,
        step=(grid.step[0] / factor, grid.step[1] / factor),
    )
    tissue = _nearest(found.tissue, coarse)
    depth = np.stack([coarse.resample(plane, 0.0) for plane in found.depth_mm])
    place = np.stack(
        [np.stack([coarse.resample(plane, 0.0) for plane in axis]) for axis in found.place]
    )
    pixel = (config.pixel_spacing_mm, config.pixel_spacing_mm)
    noise, grain = measure_noise(hu, tissue == Tissue.BRAIN)
    return replace(
        found,
        hu=hu,
        pixel_mm=pixel,
        tissue=tissue,
        depth_mm=np.where(tissue >= Tissue.CSF, depth, 0.0).astype(np.float32),
        place=place,
        noise_sd_hu=noise,
        psf_fwhm_mm=measure_psf_mm(hu, pixel),
        grain=grain,
    )


def _nearest(field: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    assert grid.size is not None
    rows, columns = (
        np.floor(start + (np.arange(count) + 0.5) * step).astype(int)
        for start, count, step in zip((grid.top, grid.left), grid.size, grid.step, strict=True)
    )
    inside = ((rows >= 0) & (rows < field.shape[1]))[:, None] & (
        (columns >= 0) & (columns < field.shape[2])
    )
    rows, columns = rows.clip(0, field.shape[1] - 1), columns.clip(0, field.shape[2] - 1)
    out: NDArray[np.uint8] = np.where(inside, field[:, rows[:, None], columns], Tissue.OUTSIDE)
    return out.astype(np.uint8)
