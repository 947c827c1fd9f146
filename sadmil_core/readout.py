"""The study-level read-out: which series of a study speaks for it, and why.

A study holds several series of one head: thick and thin, soft and sharp, reformats. Their
highest probability would be a maximum over repeated looks, and positive too often; so one
series is chosen before its number is looked at: the one a manifest names, else the fittest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sadmil_core.dicom import StackEntry
    from sadmil_core.fitness import Fitness
    from sadmil_core.named_series import NamedSeries

ORDINARY_SPACING_MM = 5.0
"""How far apart the slices of most head protocols lie, and those the published network knows."""
ORDINARY_THICKNESS_MM = (2.5, 5.0)


class ReadoutReason(StrEnum):
    """Why a series is its study's read-out, or why the study has none."""

    NAMED = "NAMED"
    ONLY_SERIES = "ONLY_SERIES"
    ONLY_SCORABLE = "ONLY_SCORABLE"
    FITTER = "FITTER"
    FEWER_REASONS = "FEWER_REASONS"
    PROTOCOL = "PROTOCOL"
    MORE_BRAIN = "MORE_BRAIN"
    UID_ORDER = "UID_ORDER"
    # The study has no number.
    NAMED_ABSENT = "NAMED_ABSENT"
    NAMED_NOT_SCORED = "NAMED_NOT_SCORED"
    NONE_SCORABLE = "NONE_SCORABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stack that may speak for its study.

    Attributes:
        entry: The stack.
        fitness: Its verdict, as far as it is known.
        scorable: Whether it has been scored or, where it has not been tried, may be.
    """

    entry: StackEntry
    fitness: Fitness
    scorable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReadout:
    """The choice for one study.

    Attributes:
        scan_id: Its StudyInstanceUID.
        reason: Why, as a code.
        message: Why, for people.
        series_instance_uid: The chosen series; None where there is none.
        stack_index: The chosen stack of it.
        series_count: Among how many stacks of the study the choice was made.
    """

    scan_id: str
    reason: ReadoutReason
    message: str
    series_instance_uid: str | None = None
    stack_index: int | None = None
    series_count: int

    @property
    def has_answer(self) -> bool:
        """Whether there is a series to speak for the study, and it has or may get a number."""
        return self.reason not in _WITHOUT_ANSWER

    def is_of(self, entry: StackEntry) -> bool:
        """Whether a stack is the chosen one."""
        return (self.scan_id, self.series_instance_uid, self.stack_index) == (
            entry.study_instance_uid,
            entry.series_instance_uid,
            entry.stack_index,
        )


_WITHOUT_ANSWER = {
    ReadoutReason.NAMED_ABSENT,
    ReadoutReason.NAMED_NOT_SCORED,
    ReadoutReason.NONE_SCORABLE,
}


def choose_readouts(
    candidates: Iterable[Candidate], named: Mapping[str, NamedSeries] | None = None
) -> tuple[StudyReadout, ...]:
    """Chooses one stack for each study.

    A series that a manifest names is taken, scored or not, and never replaced. Else, among the
    scorable stacks, the one that comes first in a total order: by level of fitness; by number
    of reasons; by nearness to an ordinary head protocol (5 mm from slice to slice, 2.5 to 5 mm
    thick); by slices that show brain; by SeriesInstanceUID; by stack index.

    Args:
        candidates: The stacks of any number of studies, in any order.
        named: The series to take, by StudyInstanceUID; studies not in it choose for themselves.

    Returns:
        The choices, by StudyInstanceUID.
    """
    studies: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        studies[candidate.entry.study_instance_uid].append(candidate)
    named = named or {}
    return tuple(
        _named(scan_id, members, named[scan_id]) if scan_id in named else _fittest(scan_id, members)
        for scan_id, members in sorted(studies.items())
    )


def _named(scan_id: str, members: list[Candidate], name: NamedSeries) -> StudyReadout:
    found = [each for each in members if name.fits(each.entry)]
    if not found:
        return StudyReadout(
            scan_id=scan_id,
            reason=ReadoutReason.NAMED_ABSENT,
            message=f"the manifest names {name}, which is not here; nothing takes its place",
            series_count=len(members),
        )
    chosen = min(found, key=lambda each: (not each.scorable, *_order(each).values()))
    if chosen.scorable:
        reason, message = ReadoutReason.NAMED, "named by the manifest"
    else:
        reason = ReadoutReason.NAMED_NOT_SCORED
        message = "named by the manifest, but not scored; nothing takes its place"
    return _readout(chosen, reason, message, len(members))


def _fittest(scan_id: str, members: list[Candidate]) -> StudyReadout:
    ranked = sorted(
        (each for each in members if each.scorable), key=lambda each: tuple(_order(each).values())
    )
    count = len(members)
    if not ranked:
        return StudyReadout(
            scan_id=scan_id,
            reason=ReadoutReason.NONE_SCORABLE,
            message="no series of the study could be scored",
            series_count=count,
        )
    if len(ranked) == 1:
        reason = ReadoutReason.ONLY_SERIES if count == 1 else ReadoutReason.ONLY_SCORABLE
        only = "the only series" if count == 1 else f"the only one of {count} that can be scored"
        return _readout(ranked[0], reason, only, count)
    first, second = _order(ranked[0]), _order(ranked[1])
    reason = next((code for code in first if first[code] != second[code]), ReadoutReason.UID_ORDER)
    message = f"{_WHY[reason]} the next of {len(ranked)} that can be scored"
    return _readout(ranked[0], reason, message, count)


_WHY = {
    ReadoutReason.FITTER: "fitter than",
    ReadoutReason.FEWER_REASONS: "less speaks against it than against",
    ReadoutReason.PROTOCOL: "nearer to an ordinary head protocol (5 mm slices) than",
    ReadoutReason.MORE_BRAIN: "shows brain in more slices than",
    ReadoutReason.UID_ORDER: "as fit as, and before by UID and stack,",
}


def _order(candidate: Candidate) -> dict[ReadoutReason, tuple[float | str, ...]]:
    """What the order compares, first things first; smaller is better."""
    entry, fitness = candidate.entry, candidate.fitness
    return {
        ReadoutReason.FITTER: (fitness.level.severity,),
        ReadoutReason.FEWER_REASONS: (len(fitness.reasons),),
        ReadoutReason.PROTOCOL: (_distance_from_protocol(entry),),
        ReadoutReason.MORE_BRAIN: (-(fitness.brain_slices or 0),),
        ReadoutReason.UID_ORDER: (entry.series_instance_uid, entry.stack_index),
    }


def _distance_from_protocol(entry: StackEntry) -> float:
    """How far spacing and thickness are from ordinary, in logarithms; infinite where unknown.

    Rounded, so that the decimals of positions decide nothing.
    """
    spacing_mm = entry.geometry.spacing_mm if entry.geometry.has_positions else 0.0
    if spacing_mm <= 0:
        return math.inf
    distance = abs(math.log(spacing_mm / ORDINARY_SPACING_MM))
    thickness_mm = max(header.slice_thickness_mm or 0.0 for header in entry.slices)
    if thickness_mm > 0:
        thinnest, thickest = ORDINARY_THICKNESS_MM
        distance += max(0.0, math.log(thinnest / thickness_mm), math.log(thickness_mm / thickest))
    return round(distance, 2)


def _readout(chosen: Candidate, reason: ReadoutReason, message: str, count: int) -> StudyReadout:
    entry = chosen.entry
    return StudyReadout(
        scan_id=entry.study_instance_uid,
        reason=reason,
        message=message,
        series_instance_uid=entry.series_instance_uid,
        stack_index=entry.stack_index,
        series_count=count,
    )
