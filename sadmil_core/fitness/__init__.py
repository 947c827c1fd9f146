"""Whether a stack is fit to be scored: what must be known before any probability.

The verdict comes from tags and geometry alone at once (:func:`fitness_of_entry`), and from the
pixels too once they are loaded (:func:`fitness_of_volume`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.fitness.headers import header_reasons
from sadmil_core.fitness.pixels import with_pixels
from sadmil_core.fitness.verdict import Fitness, FitnessCode, FitnessLevel, FitnessReason

if TYPE_CHECKING:
    from sadmil_core.dicom import CTVolume, StackEntry

__all__ = [
    "Fitness",
    "FitnessCode",
    "FitnessLevel",
    "FitnessReason",
    "fitness_of_entry",
    "fitness_of_volume",
]


def fitness_of_entry(entry: StackEntry) -> Fitness:
    """The verdict from tags and geometry, without pixels.

    Args:
        entry: From an index.
    """
    return Fitness(reasons=header_reasons(entry))


def fitness_of_volume(volume: CTVolume) -> Fitness:
    """The verdict from tags, geometry and pixels.

    It names everything :func:`fitness_of_entry` names. Pixels add reasons, and lower the one
    level that rests on a tag known to be often wrong (``OTHER_BODY_PART``) where they show
    a head.

    Args:
        volume: The loaded stack; about 34 of its slices are looked at, on a coarse grid.
    """
    return with_pixels(header_reasons(volume.entry), volume)
