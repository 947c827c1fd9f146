"""What is measured of one scan, real or synthetic alike, to compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import DecodeError
from sadmil_core.synth.find_host import find_host
from sadmil_core.synth.host import HostUnfit, Tissue
from sadmil_core.synth.insert_cohort import host_name
from sadmil_core.synth.insertion import visible_slices
from sadmil_core.synth.pool import stopped
from sadmil_core.synth.texture import measure_power, smooth_keeping_edges
from sadmil_core.synth.traces import FEATURES, PATCH_SIDE, patch_features

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.dicom import StackEntry
    from sadmil_core.synth.host import Host

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

TISSUES: Mapping[str, Tissue] = {
    "scalp": Tissue.SCALP,
    "skull": Tissue.SKULL,
    "brain": Tissue.BRAIN,
    "sulci and cisterns": Tissue.CSF,
    "ventricles": Tissue.VENTRICLE,
}
BIN_HU, LOW_HU, HIGH_HU = 2.0, -1024.0, 3072.0
EDGES_HU = np.arange(LOW_HU, HIGH_HU + BIN_HU, BIN_HU)
FREQUENCIES_MM = np.linspace(0.05, 0.5, 10)
"""Cycles per mm at which the noise's power is given."""
PATCHES, NEAR_PATCHES = 240, 120
LEVELS = (0.3, 0.42, 0.54, 0.66, 0.8)
"""Heights in the head, 0 at the base, at which pictures are taken."""
PICTURE_SIDE = 320

_NEAR_MM = 14.0
_RING_MM = (3.0, 8.0)
_LEAST_MM2 = 40.0  # of a bleed in a slice, for its contrast
_SHOWN_HU = (0.0, 80.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A scan to be measured.

    Attributes:
        entry: Its stack.
        owner: Whose anatomy it is, where that is known before it is read.
        mask_path: Of its bleed, or None where none is known.
        real: Whether it is.
    """

    entry: StackEntry
    owner: str = ""
    mask_path: Path | None = None
    real: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture8:
    """A slice in the brain window, cut to the head.

    Attributes:
        level: Its height in the head, 0 at the base, 1 at the vertex.
        grey: (side, side) uint8.
        bleed: (side, side) bool: where blood is known to be.
    """

    level: float
    grey: NDArray[np.uint8]
    bleed: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is measured of a scan.

    Attributes:
        owner: Whose anatomy it is.
        real: Whether it is real.
        histograms: By tissue, the share of its voxels in each bin of :data:`EDGES_HU`, bleeds
            left out.
        numbers: By name, one number each; those that cannot be measured are left out.
        power: At :data:`FREQUENCIES_MM`, of unit sum; NaN beyond what the pixels show.
        patches: (N, features) of patches anywhere inside the skull, clear of bleeds.
        places: (N, 3) where those lie in the head.
        near: (M, features) of patches near bleeds and clear of them.
        near_places: (M, 3).
        pictures: At :data:`LEVELS`, where the stack has them, then of the largest bleed.
    """

    owner: str
    real: bool
    histograms: Mapping[str, Floats]
    numbers: Mapping[str, float]
    power: Floats
    patches: Floats
    places: Floats
    near: Floats
    near_places: Floats
    pictures: tuple[Picture8, ...]


def measure_scan(source: Source, seed: int, size: int) -> Measured | str:
    """Measures a scan.

    Args:
        source: The scan.
        seed: Of the patches that are looked at.
        size: Rows and columns are averaged to at most these.

    Returns:
        What was measured, or why nothing was.
    """
    if stopped():
        return "stopped"
    try:
        volume = load_volume(source.entry)
        host = find_host(volume, size=size, may_bleed=True)
        bleed = _read_mask(source.mask_path, host, volume.hu.shape)
    except (HostUnfit, DecodeError) as error:
        return str(error)
    rng = np.random.default_rng(seed)
    # As they would be if they had been written: whole numbers.
    hu = np.rint(host.hu)
    clear = ~ndimage.binary_dilation(bleed, np.ones((1, 3, 3)), iterations=2)
    anywhere = _draw_patches(host, hu, clear, np.ones_like(clear), rng, PATCHES)
    near = _draw_patches(host, hu, clear, _near(host, bleed), rng, NEAR_PATCHES)
    numbers, power = _numbers(host, hu, clear)
    return Measured(
        owner=source.owner or host_name(volume),
        real=source.real,
        histograms=_histograms(host, hu, clear),
        numbers=numbers | _contrast(host, hu, bleed),
        power=power,
        patches=anywhere[0],
        places=anywhere[1],
        near=near[0],
        near_places=near[1],
        pictures=_pictures(host, bleed),
    )


def _read_mask(path: Path | None, host: Host, shape: tuple[int, ...]) -> Bools:
    bleed: Bools = np.zeros(host.hu.shape, np.bool_)
    if path is None:
        return bleed
    entries = index_folder(path).entries
    if not entries:
        raise HostUnfit(f"{path} is no volume")
    mask = load_volume(entries[0]).hu > 0
    if mask.shape != tuple(shape):
        raise HostUnfit(f"the mask has {mask.shape} voxels, the scan {tuple(shape)}")
    factor = max(1, shape[1] // host.hu.shape[1])
    _, rows, columns = bleed.shape
    cut = mask[:, : rows * factor, : columns * factor]
    blocks = cut.reshape(len(cut), rows, factor, columns, factor)
    some: Bools = np.logical_or.reduce(blocks, axis=(2, 4))
    return some


def _histograms(host: Host, hu: NDArray[np.float32], clear: Bools) -> dict[str, Floats]:
    found = {}
    for name, tissue in TISSUES.items():
        values = hu[(host.tissue == tissue) & clear]
        if values.size > 200:
            found[name] = np.histogram(values, EDGES_HU)[0] / values.size
    return found


def _numbers(host: Host, hu: NDArray[np.float32], clear: Bools) -> tuple[dict[str, float], Floats]:
    brain = (host.tissue == Tissue.BRAIN) & clear
    numbers = {
        "noise SD, HU": host.noise_sd_hu,
        "skin's edge, FWHM in mm": host.psf_fwhm_mm,
        "brain, median HU": float(np.median(hu[brain])),
    }
    smooth = smooth_keeping_edges(hu, host.noise_sd_hu)
    slope = np.hypot(
        np.gradient(smooth, host.pixel_mm[0], axis=1), np.gradient(smooth, host.pixel_mm[1], axis=2)
    )
    deep = host.intracranial & clear & (host.depth_mm > 5.0)
    for share in (50, 90, 99):
        numbers[f"edges inside the skull, {share} % below, HU/mm"] = float(
            np.percentile(slope[deep], share)
        )
    table = (host.depth_mm > 0) & (host.depth_mm < 2 * max(host.pixel_mm))
    numbers["inner table, median slope, HU/mm"] = float(np.median(slope[table]))
    return numbers, _power(host, hu, brain)


def _power(host: Host, hu: NDArray[np.float32], brain: Bools) -> Floats:
    """The noise's power over frequency, of unit sum."""
    power, _ = measure_power(hu, brain)
    if power is None:
        return np.full(len(FREQUENCIES_MM), np.nan)
    rows, columns = (np.fft.fftfreq(len(power), pixel) for pixel in host.pixel_mm)
    radius = np.hypot(rows[:, None], columns)
    highest = 0.5 / max(host.pixel_mm)
    half = 0.5 * (FREQUENCIES_MM[1] - FREQUENCIES_MM[0])
    out = np.full(len(FREQUENCIES_MM), np.nan)
    for at, frequency in enumerate(FREQUENCIES_MM):
        ring = np.abs(radius - frequency) <= half
        if ring.any() and frequency <= highest:
            out[at] = power[ring].mean()
    normed: Floats = out / np.nansum(out)
    return normed


def _contrast(host: Host, hu: NDArray[np.float32], bleed: Bools) -> dict[str, float]:
    """How bleeds stand out, on average over the slices that show them."""
    contrast, spread = [], []
    pixel = float(np.mean(host.pixel_mm))
    for index in np.flatnonzero(visible_slices(host, bleed)):
        inner = ndimage.binary_erosion(bleed[index])
        if inner.sum() * pixel**2 < _LEAST_MM2:
            continue
        away = ndimage.distance_transform_edt(~bleed[index]) * pixel
        ring = (away > _RING_MM[0]) & (away < _RING_MM[1]) & (host.tissue[index] == Tissue.BRAIN)
        if ring.sum() > 20:
            contrast.append(np.median(hu[index][inner]) - np.median(hu[index][ring]))
            spread.append(hu[index][inner].std())
    if not contrast:
        return {}
    return {
        "bleed above its surroundings, HU": float(np.mean(contrast)),
        "bleed, SD inside, HU": float(np.mean(spread)),
    }


def _near(host: Host, bleed: Bools) -> Bools:
    near = np.zeros_like(bleed)
    for index in np.flatnonzero(bleed.any(axis=(1, 2))):
        away = ndimage.distance_transform_edt(~bleed[index], sampling=host.pixel_mm)
        near[index] = away <= _NEAR_MM
    return near


def _draw_patches(
    host: Host,
    hu: NDArray[np.float32],
    clear: Bools,
    where: Bools,
    rng: np.random.Generator,
    most: int,
) -> tuple[Floats, Floats]:
    """Features and places of patches inside the skull that show no bleed."""
    nothing = np.zeros((0, len(FEATURES) + 1)), np.zeros((0, 3))
    fit = host.intracranial & clear
    if not (fit & where).any():
        return nothing
    block = np.ones((PATCH_SIDE, PATCH_SIDE))
    fit = np.stack([ndimage.binary_erosion(plane, block) for plane in fit]) & where
    fit[[0, -1]] = False
    places = np.argwhere(fit)
    if not len(places):
        return nothing
    drawn = places[rng.choice(len(places), min(most, len(places)), replace=False)]
    features = []
    for index in np.unique(drawn[:, 0]):
        three = hu[index - 1 : index + 2]
        rest = three - smooth_keeping_edges(three, host.noise_sd_hu)
        for place in drawn[drawn[:, 0] == index][:, 1:]:
            # In HU: how strong the noise is may give a scan away.
            found = patch_features(hu, rest, int(index), place, 1.0)
            half = PATCH_SIDE // 2
            row, column = place
            level = hu[index, row - half : row + half + 1, column - half : column + half + 1]
            features.append(np.append(found, level.mean()))
    order = np.argsort(drawn[:, 0], kind="stable")
    at = tuple(drawn[order].T)
    return np.array(features), np.stack([axis[at] for axis in host.place], axis=1).astype(float)


def _pictures(host: Host, bleed: Bools) -> tuple[Picture8, ...]:
    level = np.array([np.median(plane) for plane in host.place[2]])
    body = host.tissue != Tissue.OUTSIDE
    inside = set(np.flatnonzero(host.intracranial.any(axis=(1, 2))).tolist())
    chosen = []
    for wanted in LEVELS:
        index = int(np.abs(level - wanted).argmin())
        if index in inside and abs(level[index] - wanted) < 0.06:
            chosen.append(index)
    if bleed.any():
        chosen.append(int(bleed.sum(axis=(1, 2)).argmax()))
    return tuple(
        _picture(host.hu[index], body[index], bleed[index], float(level[index])) for index in chosen
    )


def _picture(plane: NDArray[np.float32], body: Bools, bleed: Bools, level: float) -> Picture8:
    """A square about the head, without what lies around it, so that only the head is compared."""
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    middle = 0.5 * (rows[0] + rows[-1]), 0.5 * (columns[0] + columns[-1])
    side = 1.04 * max(rows[-1] - rows[0], columns[-1] - columns[0]) + 4
    steps = (np.arange(PICTURE_SIDE) - 0.5 * (PICTURE_SIDE - 1)) * side / PICTURE_SIDE
    at = np.stack(np.meshgrid(middle[0] + steps, middle[1] + steps, indexing="ij"))
    low, high = _SHOWN_HU
    shown = np.where(body, np.clip(plane, low, high), low)
    grey = ndimage.map_coordinates(shown, at, order=1, cval=low)
    blood = ndimage.map_coordinates(bleed.astype(np.float32), at, order=1)
    return Picture8(
        level=level,
        grey=np.rint((grey - low) * 255 / (high - low)).astype(np.uint8),
        bleed=np.asarray(blood) > 0.5,
    )
