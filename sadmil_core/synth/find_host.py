"""Finds in a real scan what lesions must know of it: skull, brain, fluid, midline, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage

from sadmil_core.fitness import fitness_of_volume
from sadmil_core.headbox import pixel_spacing_of
from sadmil_core.synth.host import Host, HostUnfit, Tissue
from sadmil_core.synth.midline import find_midplane
from sadmil_core.synth.texture import measure_noise, measure_psf_mm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.synth.midline import Midplane

    Floats = NDArray[np.float32]
    Bools = NDArray[np.bool_]

_T = TypeVar("_T", bound=np.generic)

SCALP_ABOVE_HU, BONE_ABOVE_HU = -300.0, 150.0
FLUID_BELOW = 0.5
"""Of the way from fluid to brain, below which a smoothed voxel counts as fluid."""
WORK_MM = 0.8
"""The tissue is looked for on pixels at least this large; what is finer is interpolated."""

_FLUID_HU = 6.0
_CORE_MM = 5.0  # the neck of what joins the brain to orbits and foramina is thinner
_ENCLOSED = 13  # of 16 directions in which bone must lie around brain
_CANAL_CM2 = 12.0  # the spinal canal and the foramen magnum are narrower
_LEAST_ML, _LEAST_SLICES = 300.0, 6  # a newborn's brain; fewer slices are no volume
_BLOOD_ABOVE_BRAIN_HU, _BLOOD_BELOW_HU, _BLOOD_ML, _BLOOD_DEPTH_MM = 21.0, 110.0, 1.5, 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The grid on which a host is worked out."""

    position_mm: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    drift_mm: NDArray[np.float64]
    left: float
    """+1 where columns run to the patient's left, -1 where to the right."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return float(np.median(np.diff(self.position_mm))), *self.pixel_mm


def find_host(volume: CTVolume, *, size: int | None = None, may_bleed: bool = False) -> Host:
    """Segments a head CT.

    Args:
        volume: A head CT without a bleed, of any slice thickness, tilted or not.
        size: The host has at most this many rows and columns: pixels are averaged in blocks.
        may_bleed: Whether it is only to be measured, so that a bleed in it is no reason to refuse
            it.

    Raises:
        HostUnfit: It is no head CT, has too little brain in it, or looks as if it bled already;
            the message says which.
    """
    fitness = fitness_of_volume(volume)
    if fitness.is_unfit:
        raise HostUnfit(f"unfit: {fitness.messages(fitness.level)}")
    if len(volume.hu) < _LEAST_SLICES:
        raise HostUnfit(f"only {len(volume.hu)} slices, of at least {_LEAST_SLICES}")
    hu, frame = _reduce(volume, size)
    factor = max(1, int(np.ceil(WORK_MM / min(frame.pixel_mm) - 1e-6)))
    coarse = _shrink(hu, factor)
    work = _Frame(
        position_mm=frame.position_mm,
        pixel_mm=(frame.pixel_mm[0] * factor, frame.pixel_mm[1] * factor),
        drift_mm=frame.drift_mm,
        left=frame.left,
    )
    tissue, depth, place = _work_out(coarse, work, may_bleed=may_bleed)
    noise, grain = measure_noise(hu, _enlarge(tissue, factor, hu.shape) == Tissue.BRAIN)
    fine = _enlarge(tissue, factor, hu.shape)
    if factor > 1:
        fine = _refine(fine, hu)
    thickness = volume.entry.slices[0].slice_thickness_mm
    return Host(
        hu=hu,
        position_mm=frame.position_mm,
        pixel_mm=frame.pixel_mm,
        thickness_mm=float(thickness or frame.spacing_mm[0]),
        tissue=fine,
        depth_mm=np.where(fine >= Tissue.CSF, _enlarge(depth, factor, hu.shape), 0.0).astype(
            np.float32
        ),
        place=place.on(hu.shape, frame),
        noise_sd_hu=noise,
        psf_fwhm_mm=measure_psf_mm(hu, frame.pixel_mm),
        drift_mm=frame.drift_mm if np.abs(frame.drift_mm).max() > 0.05 else None,
        grain=grain,
    )


def _reduce(volume: CTVolume, size: int | None) -> tuple[Floats, _Frame]:
    """The stack's pixels, averaged in blocks where it has more of them, and its frame."""
    geometry = volume.entry.geometry
    factor = 1 if size is None else max(1, int(np.ceil(max(volume.hu.shape[1:]) / size)))
    hu = _shrink(np.maximum(volume.hu, -1024).astype(np.float32), factor)
    spacing = pixel_spacing_of(volume)
    origins = np.asarray(geometry.origins_mm)
    position = np.asarray(geometry.position_mm)
    if not geometry.has_positions or (np.diff(position) <= 0).any():
        raise HostUnfit("the files do not say where the slices lie")
    # In a sheared stack the next slice's origin does not lie straight above.
    along = np.stack([np.asarray(geometry.column_direction), np.asarray(geometry.row_direction)])
    drift = -((origins - origins[len(origins) // 2]) @ along.T)
    return hu, _Frame(
        position_mm=position,
        pixel_mm=(spacing[0] * factor, spacing[1] * factor),
        drift_mm=drift,
        left=1.0 if geometry.row_direction[0] >= 0 else -1.0,
    )


def _shrink(hu: Floats, factor: int) -> Floats:
    if factor == 1:
        return hu
    count, rows, columns = hu.shape
    rows, columns = rows // factor, columns // factor
    cut = hu[:, : rows * factor, : columns * factor]
    blocks = cut.reshape(count, rows, factor, columns, factor)
    out: Floats = blocks.mean(axis=(2, 4), dtype=np.float32)
    return out


def _enlarge(field: NDArray[_T], factor: int, shape: tuple[int, ...]) -> NDArray[_T]:
    """Repeats pixels, and those at the edge where blocks did not come out even."""
    if factor == 1:
        return field
    grown = field.repeat(factor, axis=1).repeat(factor, axis=2)
    short = [(0, 0), *((0, shape[axis] - grown.shape[axis]) for axis in (1, 2))]
    return np.pad(grown, short, mode="edge")


def _refine(tissue: NDArray[np.uint8], hu: Floats) -> NDArray[np.uint8]:
    """The inner table and the scalp to the pixel, where the tissue was found on larger ones."""
    inside = tissue >= Tissue.CSF
    bone = hu > BONE_ABOVE_HU
    edge = inside ^ ndimage.binary_erosion(inside, np.ones((1, 3, 3)))
    out = tissue.copy()
    out[edge & bone] = Tissue.SKULL
    out[(tissue == Tissue.SKULL) & (hu < BONE_ABOVE_HU * 2 / 3)] = Tissue.SCALP
    return out


def _work_out(
    hu: Floats, frame: _Frame, *, may_bleed: bool
) -> tuple[NDArray[np.uint8], Floats, Midplane]:
    spacing = frame.spacing_mm
    body = _body(hu, spacing)
    inside = _intracranial(hu, body, spacing)
    slices = inside.any(axis=(1, 2))
    volume_ml = float(inside.sum() * np.prod(spacing) / 1000)
    if slices.sum() < _LEAST_SLICES or volume_ml < _LEAST_ML:
        raise HostUnfit(f"only {volume_ml:.0f} mL inside the skull in {slices.sum()} slices")
    depth = _depth_mm(inside, frame)
    smooth = ndimage.gaussian_filter(hu, (0, *(1.1 / p for p in frame.pixel_mm)))
    brain_hu = float(np.median(smooth[(depth > 12) & (smooth > 15) & (smooth < 60)]))
    if not may_bleed:
        _refuse_blood(smooth, depth, brain_hu, spacing)
    place = find_midplane(
        smooth,
        inside,
        position_mm=frame.position_mm,
        pixel_mm=frame.pixel_mm,
        drift_mm=frame.drift_mm,
        left=frame.left,
    )
    tissue = np.zeros(hu.shape, np.uint8)
    tissue[body] = Tissue.SCALP
    tissue[body & (hu > BONE_ABOVE_HU)] = Tissue.SKULL
    tissue[inside] = Tissue.BRAIN
    fluid = inside & (smooth < _FLUID_HU + FLUID_BELOW * (brain_hu - _FLUID_HU))
    tissue[fluid] = Tissue.CSF
    tissue[_ventricles(fluid, depth, place.on(hu.shape, frame), spacing)] = Tissue.VENTRICLE
    return tissue, depth, place


def _body(hu: Floats, spacing: tuple[float, float, float]) -> Bools:
    """The head without table and head-rest, sinuses and mouth filled."""
    block = np.ones((1, 3, 3), np.bool_)
    margin = max(1, round(4.0 / spacing[1]))
    above = hu > SCALP_ABOVE_HU
    core = ndimage.binary_erosion(above, block, iterations=margin, border_value=1)
    labels, count = ndimage.label(core)
    if not count:
        raise HostUnfit("nothing in the stack is as large as a head")
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    grown = ndimage.binary_dilation(largest, block, iterations=margin) & above
    return np.stack([ndimage.binary_fill_holes(plane) for plane in grown])


def _intracranial(hu: Floats, body: Bools, spacing: tuple[float, float, float]) -> Bools:
    """What lies inside the inner table: soft, with bone around it, in one piece."""
    bone = hu > BONE_ABOVE_HU
    soft = body & (hu > -40) & ~bone & _enclosed(bone & body)
    radius = _CORE_MM / spacing[1]
    core = np.stack([ndimage.distance_transform_edt(plane) > radius for plane in soft])
    labels, count = ndimage.label(core)
    if not count:
        raise HostUnfit("no brain within a skull is found")
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    grown = np.stack([_near(plane, radius + 1.5) for plane in largest]) & soft
    # What is dense inside (calcification, clips) is brain space too.
    opened = (ndimage.binary_opening(plane, np.ones((3, 3))) for plane in grown)
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in opened])
    wide = inside.sum(axis=(1, 2)) * spacing[1] * spacing[2] / 100 >= _CANAL_CM2
    inside[: int(wide.argmax()) if wide.any() else len(inside)] = False
    return inside


def _near(plane: Bools, radius: float) -> Bools:
    if not plane.any():
        return plane
    near: Bools = ndimage.distance_transform_edt(~plane) <= radius
    return near


def _enclosed(bone: Bools) -> Bools:
    """Where bone lies in nearly all of 16 directions within the slice."""
    rows, columns = bone.shape[1:]
    # The largest of each block: a step across a thin table must not miss it.
    even = np.pad(bone, ((0, 0), (0, rows % 2), (0, columns % 2)))
    coarse = even[:, ::2, ::2] | even[:, 1::2, ::2] | even[:, ::2, 1::2] | even[:, 1::2, 1::2]
    hits = np.zeros(coarse.shape, np.uint8)
    for step in (
        (0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1),
    ):  # fmt: skip
        for sign in (1, -1):
            hits += _seen_along(coarse, sign * step[0], sign * step[1])
    inside = (hits >= _ENCLOSED).repeat(2, axis=1).repeat(2, axis=2)
    out: Bools = inside[:, :rows, :columns]
    return out


def _seen_along(bone: Bools, down: int, right: int) -> Bools:
    """Whether bone lies somewhere along a direction, by doubling steps."""
    seen, reach = bone.copy(), 1
    rows, columns = bone.shape[1:]
    while reach * max(abs(down), abs(right)) < max(rows, columns):
        dy, dx = down * reach, right * reach
        moved = np.zeros_like(seen)
        target = slice(max(0, -dy), rows - max(0, dy)), slice(max(0, -dx), columns - max(0, dx))
        source = slice(max(0, dy), rows + min(0, dy)), slice(max(0, dx), columns + min(0, dx))
        if abs(dy) < rows and abs(dx) < columns:
            moved[:, target[0], target[1]] = seen[:, source[0], source[1]]
        seen |= moved
        reach *= 2
    return seen


def _depth_mm(inside: Bools, frame: _Frame) -> Floats:
    """Distance to the inner table in three dimensions; a tilted stack is straightened for it."""
    steps = np.rint(frame.drift_mm / np.asarray(frame.pixel_mm)).astype(int)
    straight = np.stack([np.roll(p, -s, (0, 1)) for p, s in zip(inside, steps, strict=True)])
    # The stack's ends are no inner table: the head goes on below it.
    padded = np.concatenate([straight[:1], straight, straight[-1:] & False])
    depth = ndimage.distance_transform_edt(padded, sampling=frame.spacing_mm)[1:-1]
    back = [np.roll(p, s, (0, 1)) for p, s in zip(depth, steps, strict=True)]
    return np.stack(back).astype(np.float32)


def _refuse_blood(
    smooth: Floats, depth: Floats, brain_hu: float, spacing: tuple[float, float, float]
) -> None:
    """Refuses a head with something large in it that is as dense as a clot.

    Thin sheets (falx, tentorium, sinuses) and calcifications do not count.
    """
    dense = (smooth > brain_hu + _BLOOD_ABOVE_BRAIN_HU) & (smooth < _BLOOD_BELOW_HU)
    dense &= depth > _BLOOD_DEPTH_MM
    block = np.ones((1, 3, 3), np.bool_)
    core = ndimage.binary_opening(dense, block, iterations=max(1, round(2.5 / spacing[1])))
    labels, count = ndimage.label(core)
    if count:
        largest = np.bincount(labels.ravel())[1:].max() * float(np.prod(spacing)) / 1000
        if largest > _BLOOD_ML:
            raise HostUnfit(f"looks as if it bled already: {largest:.1f} mL as dense as a clot")


def _ventricles(
    fluid: Bools, depth: Floats, place: Floats, spacing: tuple[float, float, float]
) -> Bools:
    """The fluid deep in the head that hangs together, without what lies towards the surface."""
    x, y, z = place
    middle = (np.abs(x) < 0.5) & (y > -0.78) & (y < 0.6) & (z > 0.12) & (z < 0.82)
    deep = fluid & middle & (depth > 17)
    # Towards the back the horns come near the surface; sulci of the midline are thin.
    opened = ndimage.binary_opening(deep, np.ones((1, 2, 2)))
    # Cisterns around the midbrain and above the sella are not part of the ventricles.
    cistern = (z < 0.42) & (np.abs(x) < 0.45) & ~((np.abs(x) < 0.12) & (y > -0.6) & (y < -0.25))
    seeds = opened & ~cistern
    labels, count = ndimage.label(seeds, np.ones((3, 3, 3)))
    if not count:
        return np.zeros_like(fluid)
    sizes = np.bincount(labels.ravel()) * float(np.prod(spacing))
    sizes[0] = 0
    kept = (sizes > 250.0)[labels]
    grown: Bools = ndimage.binary_dilation(kept, np.ones((1, 3, 3))) & deep & ~cistern
    out: Bools = grown | kept
    return out
