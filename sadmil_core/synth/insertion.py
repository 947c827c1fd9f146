"""Puts lesions into a head: moves tissue, replaces it, and keeps noise and sharpness alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage

from sadmil_core.synth.texture import draw_noise, smooth_keeping_edges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.lesions import Edit

    Floats = NDArray[np.float32]
    Box = tuple[slice, slice, slice]

_T = TypeVar("_T", bound=np.generic)

VISIBLE_MM2 = 20.0
"""A slice shows a bleed from this area of blood on: 0.1 mL in a slice of 5 mm."""
BLOOD_SHARE = 0.5
"""A voxel counts as blood from this share on."""

BENEATH = ("oedema", "effacement", "retouch")
"""What lies under all other edits, in whatever order they are given."""

_BONE_HU = 110.0
_MARGIN = 8  # pixels around an edit that are worked on with it
_EVEN = 2.5  # residuals beyond this many SDs are anatomy, and noise is drawn in their place


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """A head with lesions in it.

    Attributes:
        hu: (S, R, C) float32, Hounsfield units.
        truth: (S, R, C) bool: where at least half of a voxel is blood.
        kinds: By kind of bleed, (S,) bool: the slices that show it.
    """

    hu: Floats
    truth: NDArray[np.bool_]
    kinds: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def slices(self) -> NDArray[np.bool_]:
        """(S,) bool: the slices that show any bleed."""
        shown = np.zeros(len(self.hu), np.bool_)
        for each in self.kinds.values():
            shown |= each
        return shown


def apply_edits(host: Host, edits: Sequence[Edit], rng: np.random.Generator) -> Insertion:
    """Puts edits into a host.

    Tissue is moved first, by all displacements together; then the edits are laid over it, those
    :data:`BENEATH` first, else in their order, each with its border softened as the host's own
    edges are. Noise is the host's own where it shows through, and drawn from the host's noise
    where tissue was replaced.

    Args:
        host: The head; it is not changed.
        edits: In the order in which they are laid over each other.
        rng: Source of randomness.
    """
    hu = host.hu.copy()
    edits = [*(e for e in edits if e.kind in BENEATH), *(e for e in edits if e.kind not in BENEATH)]
    for box in _joined([_grown(edit.box, host.hu.shape) for edit in edits]):
        inside = [edit for edit in edits if _meets(edit.box, box)]
        hu[box] = _edited(host, box, inside, rng)
    truth, kinds = _truth(host, edits)
    return Insertion(hu=hu, truth=truth, kinds=kinds)


def visible_slices(host: Host, blood: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(S,) bool: where a mask covers at least :data:`VISIBLE_MM2`."""
    area = blood.sum(axis=(1, 2)) * (host.pixel_mm[0] * host.pixel_mm[1])
    shown: NDArray[np.bool_] = area >= VISIBLE_MM2
    return shown


def _truth(
    host: Host, edits: Iterable[Edit]
) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for edit in edits:
        if edit.bleed:
            mask = masks.setdefault(edit.kind, np.zeros(host.hu.shape, np.bool_))
            mask[edit.box] |= edit.occupancy >= BLOOD_SHARE
    truth = np.zeros(host.hu.shape, np.bool_)
    for mask in masks.values():
        truth |= mask
    return truth, {kind: visible_slices(host, mask) for kind, mask in masks.items()}


def _edited(host: Host, box: Box, edits: Sequence[Edit], rng: np.random.Generator) -> Floats:
    hu = host.hu[box]
    smooth = smooth_keeping_edges(hu, host.noise_sd_hu)
    rest = hu - smooth
    shifts = [edit for edit in edits if edit.shift_mm is not None]
    moved = _moved(host, box, smooth, shifts) if shifts else smooth
    drawn = draw_noise(rng, _shape(box), host.noise_sd_hu, host.grain)
    # What is left of edges after smoothing belongs to the tissue that was there.
    stray = np.clip(np.abs(rest) / (host.noise_sd_hu * _EVEN) - 0.8, 0.0, 1.0)
    stray = np.where(smooth > _BONE_HU * 1.5, 0.0, stray)
    replaced = np.zeros_like(hu)
    for edit in edits:
        share = _softened(host, box, edit, moved)
        target = _placed(edit.target_hu, edit.box, box)
        moved = moved + share * (target - moved)
        replaced = np.maximum(replaced, share)
    touched = np.clip(np.maximum(replaced, np.abs(moved - smooth) / 15.0), 0.0, 1.0)
    weight = touched * stray
    # Independent noises are mixed so that their variances add up.
    noise = (1.0 - weight) * rest + np.sqrt(1.0 - (1.0 - weight) ** 2) * drawn
    out: Floats = (moved + noise).astype(np.float32)
    untouched = touched == 0
    out[untouched] = hu[untouched]
    return out


def _softened(host: Host, box: Box, edit: Edit, now: Floats) -> Floats:
    """An edit's occupancy on a box, as blurred as the host's own edges; never into bone."""
    share = np.zeros(_shape(box), np.float32)
    where, part = _overlap(edit.box, box)
    share[where] = edit.occupancy[part]
    sigma = [0.0, *(host.psf_fwhm_mm / 2.355 / pixel for pixel in host.pixel_mm)]
    soft = ndimage.gaussian_filter(share, sigma, mode="nearest", truncate=3.0)
    out: Floats = np.where(now > _BONE_HU, np.minimum(soft, share), soft)
    return out


def _placed(target: Floats | float, source: Box, box: Box) -> Floats | float:
    if not isinstance(target, np.ndarray):
        return target
    where, part = _overlap(source, box)
    field_ = target[part].astype(np.float32)
    # Beyond its own box a target goes on as it ends, under the softened border.
    pads = [(w.start, n - w.stop) for w, n in zip(where, _shape(box), strict=True)]
    return np.pad(field_, pads, mode="edge")


def _moved(host: Host, box: Box, smooth: Floats, edits: Sequence[Edit]) -> Floats:
    """The tissue after all displacements, without noise."""
    shift = np.zeros((3, *_shape(box)), np.float32)
    for edit in edits:
        assert edit.shift_mm is not None
        where, part = _overlap(edit.box, box)
        shift[(slice(None), *where)] += edit.shift_mm[(slice(None), *part)]
    return displaced(host, smooth, shift)


def displaced(host: Host, field: NDArray[_T], shift_mm: Floats, *, order: int = 1) -> NDArray[_T]:
    """A field of a box after its tissue has moved.

    Args:
        host: The head.
        field: (box) what moves.
        shift_mm: (3, box) by how much what arrives in a voxel has moved; along slice, row, column.
        order: 1 to interpolate linearly, 0 for labels.
    """
    index = np.indices(field.shape, dtype=np.float32)
    for axis, step in enumerate(host.spacing_mm):
        index[axis] -= shift_mm[axis] / np.float32(step)
    moving = np.abs(shift_mm).max(axis=0) > 0.02
    out = field.copy()
    if moving.any():
        out[moving] = ndimage.map_coordinates(
            field, index[:, moving], order=order, mode="nearest", prefilter=False
        )
    return out


def _shape(box: Box) -> tuple[int, int, int]:
    z, y, x = (each.stop - each.start for each in box)
    return z, y, x


def _grown(box: Box, shape: tuple[int, ...]) -> Box:
    z, y, x = box
    return (
        slice(z.start, z.stop),
        slice(max(0, y.start - _MARGIN), min(shape[1], y.stop + _MARGIN)),
        slice(max(0, x.start - _MARGIN), min(shape[2], x.stop + _MARGIN)),
    )


def _meets(one: Box, other: Box) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _overlap(source: Box, box: Box) -> tuple[Box, Box]:
    """What two boxes share, as slices of the second and of the first."""
    shared = [
        (max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(source, box, strict=True)
    ]
    inner = tuple(
        slice(lo - b.start, hi - b.start) for (lo, hi), b in zip(shared, box, strict=True)
    )
    part = tuple(
        slice(lo - a.start, hi - a.start) for (lo, hi), a in zip(shared, source, strict=True)
    )
    return inner, part  # type: ignore[return-value]


def _joined(boxes: list[Box]) -> list[Box]:
    """Boxes that meet become one, so that every voxel is worked on once."""
    done: list[Box] = []
    for box in boxes:
        while True:
            met = [each for each in done if _meets(each, box)]
            if not met:
                break
            done = [each for each in done if not _meets(each, box)]
            z, y, x = (
                slice(
                    min(each[axis].start for each in [*met, box]),
                    max(each[axis].stop for each in [*met, box]),
                )
                for axis in range(3)
            )
            box = (z, y, x)
        done.append(box)
    return done
