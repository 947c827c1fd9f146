"""Fitness from the pixels: Hounsfield units, a head, all of it, and not too noisy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.fitness.anatomy import StackAnatomy, look_at
from sadmil_core.fitness.verdict import Fitness, FitnessCode, FitnessLevel, FitnessReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sadmil_core.dicom import CTVolume, StackEntry

MIN_AIR_SHARE = 0.01
"""Around a head more than half of the field is air, and in a tight crop a few per cent still.
Where there is next to none, zero stands for something else than water."""
AIR_HU = (-1100.0, -850.0)
"""Median of the air: -974 to -1007 in ordinary scans."""
BRAIN_HU = (10.0, 60.0)
"""Median of the soft tissue in a brain slice: 23 to 42 in ordinary scans, less in newborns and in
swelling, more with contrast. Beyond, the scale is off, and with it every window of the network."""
MIN_BRAIN_MM = 20.0
MIN_BRAIN_SHARE = 0.25
LITTLE_BRAIN_MM = 40.0
"""Brain slices make 75 to 115 mm of an adult's scan, 45 of a newborn's."""
MOSTLY_BRAIN = 0.5
"""A stack with this share of brain slices is of a head, however short."""
MAX_CUT_MM = 60.0
"""The edge of the field cuts a chord of this length off a head where it reaches some 6 mm into it,
to the skull; a shorter one costs scalp only."""
MAX_NOISE_HU = 15.0
"""Twice that of the noisiest ordinary scans. With it, plus and minus one standard deviation fill
the narrowest window of the published network (30 HU)."""

_CAUTION, _UNFIT = FitnessLevel.CAUTION, FitnessLevel.UNFIT


def with_pixels(known: tuple[FitnessReason, ...], volume: CTVolume) -> Fitness:
    """The verdict of tags and geometry, completed by that of the pixels.

    Args:
        known: The reasons from tags and geometry.
        volume: The stack's pixels.
    """
    seen = look_at(volume)
    found = tuple(_pixel_reasons(seen, volume.entry))
    if not any(reason.code in _NO_HEAD for reason in found):
        known = tuple(_trusting_pixels(reason) for reason in known)
    share = len(seen.brain) / len(seen.slices)
    return Fitness(reasons=known + found, brain_slices=round(share * len(volume.hu)))


_NO_HEAD = {FitnessCode.NOT_HU, FitnessCode.NOT_A_HEAD, FitnessCode.LITTLE_BRAIN}


def _trusting_pixels(reason: FitnessReason) -> FitnessReason:
    """A tag that names another part of the body is doubted where the pixels show a head."""
    if reason.code is FitnessCode.OTHER_BODY_PART and reason.level is _UNFIT:
        return replace(reason, level=_CAUTION, message=f"{reason.message}; the pixels show one")
    return reason


def _pixel_reasons(seen: StackAnatomy, entry: StackEntry) -> Iterator[FitnessReason]:
    if seen.air < MIN_AIR_SHARE:
        # Whether it is a head cannot be told by the same scale.
        yield FitnessReason(
            FitnessCode.NOT_HU, _UNFIT, "no air in the picture: these are not Hounsfield units"
        )
        return
    count, spacing = len(entry.slices), entry.geometry.spacing_mm
    share = len(seen.brain) / len(seen.slices)
    height_mm = share * count * spacing if entry.geometry.has_positions and spacing else np.inf
    shown = f"{round(share * count)} of {count} slices show brain within a skull"
    if not seen.brain or (share < MOSTLY_BRAIN and height_mm < MIN_BRAIN_MM):
        # The network answers for anything, and has only ever seen heads.
        width = max(each.width_mm for each in seen.slices)
        yield FitnessReason(
            FitnessCode.NOT_A_HEAD, _UNFIT, f"not a head: {shown} (body {width:.0f} mm wide)"
        )
        return
    if share < MIN_BRAIN_SHARE or (share < MOSTLY_BRAIN and height_mm < LITTLE_BRAIN_MM):
        # Mostly neck or chest, a skull with much of it missing, or a part of a head.
        yield FitnessReason(FitnessCode.LITTLE_BRAIN, _CAUTION, f"only {shown}")
    yield from _of_brain(seen)
    yield from _of_edges(seen)


def _of_brain(seen: StackAnatomy) -> Iterator[FitnessReason]:
    """Scale and noise, in the brain."""
    tissue = float(np.median([each.tissue_hu for each in seen.brain]))
    for name, value, (low, high) in (("brain", tissue, BRAIN_HU), ("air", seen.air_hu, AIR_HU)):
        if not low <= value <= high:
            yield FitnessReason(
                FitnessCode.NOT_HU,
                _CAUTION,
                f"{name} is at {value:.0f} HU, not {low:.0f} to {high:.0f}: the scale may be wrong",
            )
    noise = float(np.median([each.noise_hu for each in seen.brain]))
    if noise > MAX_NOISE_HU:
        yield FitnessReason(
            FitnessCode.NOISY, _CAUTION, f"noise of {noise:.0f} HU hides faint bleeds"
        )


def _of_edges(seen: StackAnatomy) -> Iterator[FitnessReason]:
    """Whether the head goes on outside the stack or the field."""
    ends = []
    if seen.slices[-1].shows_brain:
        ends.append("above the last slice")
    if seen.slices[0].shows_brain:
        ends.append("below the first slice")
    if sum(each.cut_mm > MAX_CUT_MM for each in seen.brain) > 1:
        ends.append("outside the field of view")
    if ends:
        # What is not in the picture cannot be scored; the rest can.
        yield FitnessReason(
            FitnessCode.TRUNCATED_HEAD, _CAUTION, f"the head goes on {' and '.join(ends)}"
        )
