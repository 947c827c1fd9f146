"""Phantoms as hosts: nothing has to be found in a head that was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.progress import no_progress
from sadmil_core.synth import brain
from sadmil_core.synth.brain import CSF_HU, STRAIGHT_SINUS, membranes, ventricle_shapes
from sadmil_core.synth.find_host import BONE_ABOVE_HU, FLUID_BELOW, SCALP_ABOVE_HU
from sadmil_core.synth.host import Host, HostUnfit, Tissue
from sadmil_core.synth.phantom import make_phantom
from sadmil_core.synth.scanner import draw_clinical_scanner
from sadmil_core.synth.surface import HALF_WIDTH_MM
from sadmil_core.synth.texture import measure_noise, measure_psf_mm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sadmil_core.progress import Progress
    from sadmil_core.synth.anatomy import HeadTraits
    from sadmil_core.synth.fields import Floats, Shape, Slab
    from sadmil_core.synth.phantom import PhantomConfig

LOW_MM, VERTEX_MM = -34.0, 79.0
"""The floor of the posterior fossa and the vertex, in a phantom's own coordinates."""

_MIDDLE_Y_MM, _HALF_LENGTH_MM = 3.5, 80.5  # of the cavity, front to back
_NEAR_BONE_MM = 2.5  # what is as dense as bone within it of the inner table is the table
_CANAL_CM2 = 12.0  # below the foramen magnum the cavity is narrower
_SHARES = ("ventricle", "falx", "tentorium", "sinus")
_FIELDS = ("x", "y", "z", "depth", "hu", *_SHARES)


def make_phantom_host(
    rng: np.random.Generator,
    config: PhantomConfig,
    *,
    progress: Progress = no_progress,
    workers: int = 1,
) -> Host:
    """Makes a head without a bleed, as something that lesions can be put into.

    The tissues, the inner table and the head's coordinates are those it was painted from; the
    noise and the sharpness are measured in the image, as they are in a real head.

    Args:
        rng: Source of all randomness.
        config: Size and sampling.
        progress: Called after every slice; what it raises passes through.
        workers: Threads to use; the result does not depend on it.

    Raises:
        HostUnfit: The stack passes the brain by.
    """
    seen = _Seen.nothing(config)
    scan = draw_clinical_scanner(rng, config.pixel_mm)
    phantom = make_phantom(
        rng,
        config,
        bleed=None,
        progress=progress,
        workers=workers,
        witness=seen,
        scan=scan,
    )
    hu = phantom.hu.astype(np.float32)
    position = np.arange(config.slices, dtype=np.float64) * config.spacing_mm
    tissue = seen.tissue(hu)
    inside = tissue >= Tissue.CSF
    noise, grain = measure_noise(hu, tissue == Tissue.BRAIN)
    pixel = (config.pixel_mm, config.pixel_mm)
    return Host(
        hu=hu,
        position_mm=position,
        pixel_mm=pixel,
        thickness_mm=config.spacing_mm,
        tissue=tissue,
        depth_mm=_depth_mm(inside, phantom.spacing),
        place=seen.place(),
        noise_sd_hu=noise,
        psf_fwhm_mm=measure_psf_mm(hu, pixel),
        grain=grain,
    )


def _depth_mm(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Floats:
    # Below the stack the head goes on; above it is the vault, or the end of what is seen.
    padded = np.concatenate([inside[:1], inside, inside[-1:]])
    depth: Floats = ndimage.distance_transform_edt(padded, sampling=spacing)[1:-1]
    return depth.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a phantom shows of its anatomy, slice by slice, on the pixels.

    Attributes:
        fields: By name, (S, R, C): anatomical place in mm, distance into the cavity in mm, HU
            without noise, and shares of a pixel.
        pixel_mm: Side of a pixel.
    """

    pixel_mm: float
    fields: dict[str, NDArray[np.float32]]

    @classmethod
    def nothing(cls, config: PhantomConfig) -> _Seen:
        shape = (config.slices, config.size, config.size)
        fields = {name: np.zeros(shape, np.float32) for name in _FIELDS}
        fields["hu"][:] = -1000.0
        fields["depth"][:] = -1.0
        for name in "xyz":
            fields[name][:] = np.nan
        return cls(pixel_mm=config.pixel_mm, fields=fields)

    def see(
        self,
        index: int,
        slab: Slab,
        traits: HeadTraits,
        to_pixels: Callable[[Floats], tuple[slice, slice, Floats]],
    ) -> None:
        """Keeps what the thin samples of a slice show on average."""
        falx, tentorium, *sinuses = membranes(slab)
        sinus = np.maximum(_share(slab, [STRAIGHT_SINUS]), np.max(sinuses, axis=0))
        ventricle = _share(slab, [*ventricle_shapes(traits), *brain.FOURTH_VENTRICLE])
        thick = [slab.x, slab.y, slab.z, slab.extra["depth"], slab.hu]
        thick += [ventricle, falx, tentorium, sinus]
        rows, columns, fine = to_pixels(np.stack([each.mean(axis=0) for each in thick]))
        for name, values in zip(_FIELDS, fine, strict=True):
            self.fields[name][index, rows, columns] = values

    def tissue(self, hu: Floats) -> NDArray[np.uint8]:
        """What every voxel is, as :class:`~sadmil_core.synth.host.Tissue`."""
        shown, depth = self.fields["hu"], self.fields["depth"]
        body = np.stack([ndimage.binary_fill_holes(plane > SCALP_ABOVE_HU) for plane in shown])
        bone = shown > BONE_ABOVE_HU
        inside = (depth > 0) & ~(bone & (depth < _NEAR_BONE_MM))
        wide = inside.sum(axis=(1, 2)) * self.pixel_mm**2 / 100 >= _CANAL_CM2
        if not wide.any():
            raise HostUnfit("the stack passes the brain by")
        inside[: int(wide.argmax())] = False
        tissue = np.where(body, Tissue.SCALP, Tissue.OUTSIDE).astype(np.uint8)
        tissue[body & bone] = Tissue.SKULL
        tissue[inside] = Tissue.BRAIN
        deep = inside & (depth > 12) & (shown > 15) & (shown < 60)
        level = float(np.median(shown[deep])) if deep.any() else 30.0
        tissue[inside & (shown < CSF_HU + FLUID_BELOW * (level - CSF_HU))] = Tissue.CSF
        for name in _SHARES:
            tissue[inside & (self.fields[name] >= 0.5)] = Tissue[name.upper()]
        return tissue

    def place(self) -> NDArray[np.float32]:
        """(3, S, R, C) head coordinates; beyond what was painted they go on evenly."""
        x, y, z = (_continued(self.fields[name]) for name in "xyz")
        return np.stack(
            [
                x / np.float32(HALF_WIDTH_MM),
                (np.float32(_MIDDLE_Y_MM) - y) / np.float32(_HALF_LENGTH_MM),
                (z - np.float32(LOW_MM)) / np.float32(VERTEX_MM - LOW_MM),
            ]
        )


def _share(slab: Slab, shapes: Sequence[Shape]) -> Floats:
    """The share of every sample that lies in any of some shapes."""
    share: Floats = np.zeros_like(slab.hu)
    for shape in shapes:
        window = slab.window(*shape.bounds())
        if window is not None:
            np.maximum(share[window], slab.inside(shape, window), out=share[window])
    return share


def _continued(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """A nearly linear field, with what is missing (NaN) as a linear one would have it."""
    missing = np.isnan(field)
    if not missing.any():
        return field
    known = np.argwhere(~missing)[::97]
    design = np.column_stack([known, np.ones(len(known))])
    slope, *_ = np.linalg.lstsq(design, field[tuple(known.T)].astype(np.float64), rcond=None)
    places = np.column_stack([np.argwhere(missing), np.ones(int(missing.sum()))])
    out = field.copy()
    out[missing] = (places @ slope).astype(np.float32)
    return out
