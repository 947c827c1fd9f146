"""One sign for a series: the worst of what is to be said of it, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sadmil_core.fitness import FitnessLevel

if TYPE_CHECKING:
    from sadmil_core.dicom import StackEntry
    from sadmil_core.fitness import Fitness


class BadgeKind(StrEnum):
    """From nothing to be said up to a series that is not scored."""

    NONE = "none"
    NOTE = "note"
    CAUTION = "caution"
    UNFIT = "unfit"


@dataclass(frozen=True, slots=True)
class Badge:
    """The sign of a series.

    Attributes:
        kind: The worst there is.
        count: How many remarks there are of that kind.
        sentences: All remarks, the worst first.
    """

    kind: BadgeKind
    count: int
    sentences: tuple[str, ...]


def badge_of(entry: StackEntry, fitness: Fitness) -> Badge:
    """The badge of a series, from its warnings and its verdict.

    What a warning and the verdict both name is counted once.

    Args:
        entry: The stack.
        fitness: Its verdict, as far as it is known.
    """
    named = {str(reason.code) for reason in fitness.reasons}
    unfit = [r.message for r in fitness.reasons if r.level is FitnessLevel.UNFIT]
    doubts = [r.message for r in fitness.reasons if r.level is FitnessLevel.CAUTION]
    warnings = [w for w in entry.warnings if str(w.code) not in named]
    doubts += [w.message for w in warnings if w.code.is_caution]
    notes = [w.message for w in warnings if not w.code.is_caution]
    sentences = (*unfit, *doubts, *notes)
    for kind, found in (
        (BadgeKind.UNFIT, unfit),
        (BadgeKind.CAUTION, doubts),
        (BadgeKind.NOTE, notes),
    ):
        if found:
            return Badge(kind, len(found), sentences)
    return Badge(BadgeKind.NONE, 0, ())
