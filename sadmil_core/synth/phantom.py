"""Head-CT phantoms: whole scans with a mask of the bleed."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from sadmil_core.progress import no_progress
from sadmil_core.synth import brain, face, scanner, skull
from sadmil_core.synth.anatomy import (
    CROWN_MM,
    Head,
    build_head,
    draw_traits,
    place_head,
)
from sadmil_core.synth.bleeds import Bleed, BleedKind, draw_bleed, paint_bleed
from sadmil_core.synth.fields import Floats, resample

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sadmil_core.progress import Progress
    from sadmil_core.synth.anatomy import HeadTraits
    from sadmil_core.synth.fields import Grid, Slab

    Placed = tuple[slice, slice, Floats]

__all__ = [
    "TRAINING_CONFIG",
    "Bleed",
    "BleedKind",
    "Phantom",
    "PhantomConfig",
    "Witness",
    "make_phantom",
]


_PHASE = "Building the phantom"
_CAVITY_MM = 64.0  # about half the width of the cranial cavity, mm


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomConfig:
    """Size and sampling of a phantom.

    Attributes:
        slices: Number of slices.
        size: Rows and columns of a slice, pixels.
        pixel_mm: Side of a pixel, mm.
        spacing_mm: Distance between slices, which is also their thickness, mm.
        supersampling: Thin samples averaged through each slice.
        anatomy_mm: Coarsest in-plane distance at which the anatomy is computed, mm; finer
            pixels are interpolated from it.
        air_above_mm: Air between the crown and the top slice, mm.

    Raises:
        ValueError: A number is not positive, or the field of view is below 180 mm.
    """

    slices: int = 32
    size: int = 512
    pixel_mm: float = 0.46
    spacing_mm: float = 4.5
    supersampling: int = 3
    anatomy_mm: float = 0.75
    air_above_mm: float = 4.0

    def __post_init__(self) -> None:
        if min(self.slices, self.size, self.supersampling) < 1:
            raise ValueError("slices, size and supersampling must be at least 1")
        if min(self.pixel_mm, self.spacing_mm, self.anatomy_mm) <= 0:
            raise ValueError("pixel_mm, spacing_mm and anatomy_mm must be positive")
        if self.size * self.pixel_mm < 180.0:
            raise ValueError(
                f"a field of view of {self.size * self.pixel_mm:.0f} mm cuts the head off; "
                "size times pixel_mm must be at least 180 mm"
            )


TRAINING_CONFIG = PhantomConfig(size=256, pixel_mm=0.92, supersampling=2, anatomy_mm=1.3)
"""Coarse enough to make hundreds of phantoms: below a second each on one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A synthetic head CT.

    Attributes:
        hu: int16 (slices, rows, columns), HU; slice 0 is at the foot end, row 0 at the face,
            column 0 at the patient's right.
        lesion: bool, same shape: where at least half of a voxel is blood.
        spacing: Distance between slices, rows and columns, mm.
        bleed: The bleed, or None.
        visible_mm2: Least area of blood for a slice to count as positive, mm².
    """

    hu: NDArray[np.int16]
    lesion: NDArray[np.bool_]
    spacing: tuple[float, float, float]
    bleed: Bleed | None = None
    visible_mm2: float = field(default=20.0)

    @property
    def lesion_mm2(self) -> NDArray[np.float64]:
        """Area of blood in every slice, mm², (slices,)."""
        area = self.spacing[1] * self.spacing[2]
        out: NDArray[np.float64] = self.lesion.sum(axis=(1, 2)).astype(np.float64) * area
        return out

    @property
    def slice_positive(self) -> NDArray[np.bool_]:
        """Whether a slice shows at least ``visible_mm2`` of blood, (slices,)."""
        return self.lesion_mm2 >= self.visible_mm2


class Witness(Protocol):
    """Whoever wants to know what a phantom is made of."""

    def see(
        self, index: int, slab: Slab, traits: HeadTraits, to_pixels: Callable[[Floats], Placed]
    ) -> None:
        """Is shown a slice when its healthy anatomy is painted and nothing else.

        Args:
            index: Of the slice; they come in any order, and from several threads.
            slab: Its thin samples.
            traits: The head.
            to_pixels: Brings (K, rows, columns) of the anatomy's grid onto the pixels it covers:
                the rows, the columns, and (K, rows, columns) there.
        """


def make_phantom(
    rng: np.random.Generator,
    config: PhantomConfig,
    *,
    bleed: BleedKind | Bleed | None,
    progress: Progress = no_progress,
    workers: int = 1,
    witness: Witness | None = None,
    scan: scanner.ScannerTraits | None = None,
) -> Phantom:
    """Makes a head CT, the same one for the same state of the generator.

    Args:
        rng: Source of all randomness: anatomy, placement, bleed and noise.
        config: Size and sampling.
        bleed: The kind of bleed to draw, a bleed to use as it is, or None for a clean head.
        progress: Called after every slice; what it raises passes through.
        workers: Threads to use; the result does not depend on it.
        witness: Is shown every slice's anatomy.
        scan: What the scanner adds; drawn where it is not given.
    """
    traits = draw_traits(rng)
    scan = scan or scanner.draw_scanner(rng)
    wanted = draw_bleed(rng, bleed) if isinstance(bleed, BleedKind) else bleed
    step = max(config.pixel_mm, config.anatomy_mm)
    field_of_view = config.size * config.pixel_mm
    grid = place_head(rng, traits, step_mm=step, field_of_view_mm=field_of_view)
    top = CROWN_MM * traits.scale[2] + config.air_above_mm
    bottom = top - config.slices * config.spacing_mm
    head = build_head(rng, traits, grid, low_mm=bottom, high_mm=top)
    canvas = _Canvas.empty(config, head, scan)
    # One generator a slice: the noise is the same in whatever order the slices are drawn.
    streams = rng.spawn(config.slices)

    def draw(index: int) -> None:
        middle = bottom + (index + 0.5) * config.spacing_mm
        canvas.draw(streams[index], index, middle, wanted, witness)

    if workers <= 1:
        for index in range(config.slices):
            draw(index)
            progress(index + 1, config.slices, _PHASE)
    else:
        _draw_threaded(draw, config.slices, workers, progress)
    return Phantom(
        hu=canvas.hu,
        lesion=canvas.lesion,
        spacing=(config.spacing_mm, config.pixel_mm, config.pixel_mm),
        bleed=wanted,
    )


def _draw_threaded(
    draw: Callable[[int], None], slices: int, workers: int, progress: Progress
) -> None:
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(draw, index) for index in range(slices)]
        try:
            for done, future in enumerate(futures, start=1):
                future.result()
                progress(done, slices, _PHASE)
        finally:
            # After a failure or a cancellation nothing that has not begun is begun.
            for future in futures:
                future.cancel()


@dataclass(slots=True, kw_only=True)
class _Canvas:
    """The image stack under construction."""

    config: PhantomConfig
    head: Head
    scan: scanner.ScannerTraits
    axis_mm: NDArray[np.float64]
    rest: Floats
    hu: NDArray[np.int16]
    lesion: NDArray[np.bool_]

    @classmethod
    def empty(cls, config: PhantomConfig, head: Head, scan: scanner.ScannerTraits) -> _Canvas:
        shape = (config.slices, config.size, config.size)
        pixel = config.pixel_mm
        axis = (np.arange(config.size, dtype=np.float64) - 0.5 * (config.size - 1)) * pixel
        back = float(head.grid.centre[1]) + 91.0 * head.traits.scale[1]
        return cls(
            config=config,
            head=head,
            scan=scan,
            axis_mm=axis,
            rest=scanner.head_rest(scan, axis, back, config.pixel_mm),
            hu=np.empty(shape, dtype=np.int16),
            lesion=np.zeros(shape, dtype=np.bool_),
        )

    def draw(
        self,
        rng: np.random.Generator,
        index: int,
        middle_mm: float,
        bleed: Bleed | None,
        witness: Witness | None,
    ) -> None:
        """Draws one slice whose middle lies at scanner z ``middle_mm``."""
        slab = _thin_samples(self.head, self.config, middle_mm)
        if witness is not None:
            witness.see(index, slab, self.head.traits, partial(self._to_pixels, slab.grid))
        blood, radius = _add_findings(slab, self.head.traits, bleed)
        thin: Floats = slab.hu.mean(axis=0)
        # The petrous bones lie some 10 mm below the origin.
        base = max(0.0, 1.0 - abs(float(slab.z.mean()) + 10.0) / 24.0)
        scanner.add_physics(rng, self.scan, thin, radius, base)
        if self.scan.blur_mm:
            thin = ndimage.gaussian_filter(thin, self.scan.blur_mm / slab.grid.step)
        image = np.full((self.config.size, self.config.size), -1000.0, dtype=np.float32)
        beyond = np.clip((self.scan.rest_end_mm - middle_mm) / self.config.spacing_mm, 0.0, 1.0)
        image += self.rest * np.float32((self.scan.rest_hu + 1000.0) * beyond)
        rows, cols, fine = self._enlarge(slab.grid, thin)
        np.maximum(image[rows, cols], fine, out=image[rows, cols])
        image += scanner.noise_slice(rng, self.scan, self.config.size, self.config.pixel_mm)
        self.hu[index] = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
        if blood.any():
            rows, cols, fine = self._enlarge(slab.grid, blood)
            self.lesion[index, rows, cols] = fine >= 0.5

    def _enlarge(self, grid: Grid, image: Floats) -> Placed:
        """Brings an image of the anatomy grid onto the pixels it covers."""
        rows, cols, fine = self._to_pixels(grid, image[None])
        return rows, cols, fine[0]

    def _to_pixels(self, grid: Grid, images: Floats) -> Placed:
        axis, slack = self.axis_mm, 1e-6
        lows = np.searchsorted(axis, (grid.y_mm[0] - slack, grid.x_mm[0] - slack))
        highs = np.searchsorted(axis, (grid.y_mm[-1] + slack, grid.x_mm[-1] + slack))
        rows, cols = (slice(int(a), int(b)) for a, b in zip(lows, highs, strict=True))
        if math.isclose(grid.step, self.config.pixel_mm):
            # Same pitch: a touch of blur stands for the point spread.
            blur = 0.25 / grid.step
            return rows, cols, ndimage.gaussian_filter(images, (0.0, blur, blur))
        at_y = (axis[rows] - grid.y_mm[0]) / grid.step
        at_x = (axis[cols] - grid.x_mm[0]) / grid.step
        # Linear: a sharper kernel would undershoot into a dark rim along the skull.
        fine = resample(images, 1, at_y)
        return rows, cols, resample(fine, 2, at_x)


def _thin_samples(head: Head, config: PhantomConfig, middle_mm: float) -> Slab:
    """Draws the healthy anatomy of the thin samples of a slice."""
    count = config.supersampling
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * config.spacing_mm
    slab = head.slab(middle_mm + offsets)
    traits = head.traits
    skull.add_floor(slab)
    brain.prepare_cavity(slab, traits)
    face.paint_soft_tissue(slab, traits)
    if float(slab.z.min()) < face.FACE_TOP_MM:
        face.paint_orbits(slab)
        face.paint_face_bones(slab)
    skull.paint_vault(slab, traits)
    skull.paint_base(slab)
    face.paint_air(slab, traits)
    brain.paint_brain(slab, traits)
    brain.paint_ventricles(slab, traits)
    brain.paint_membranes(slab, traits)
    return slab


def _add_findings(slab: Slab, traits: HeadTraits, bleed: Bleed | None) -> tuple[Floats, Floats]:
    """Adds what only some heads have.

    Returns:
        The share of blood, averaged over the thin samples; and the normalised radius in the
        cranial cavity (1 at the inner table).
    """
    brain.paint_mimics(slab, traits)
    blood: Floats = np.zeros(slab.hu.shape[1:], dtype=np.float32)
    if bleed is not None:
        blood = paint_bleed(slab, bleed, traits).mean(axis=0)
    radius = 1.0 + slab.extra["vault"][len(slab.hu) // 2] / _CAVITY_MM
    return blood, radius
