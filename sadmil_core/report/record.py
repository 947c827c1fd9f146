"""One stack as a report sees it: read or not, scored or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.dicom import CodedWarning, WarningCode
from sadmil_core.fitness import FitnessLevel
from sadmil_core.readout import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sadmil_core.dicom import SkippedFile, StackEntry
    from sadmil_core.errors import SadmilError
    from sadmil_core.fitness import Fitness
    from sadmil_core.result import ModelIdentity, ScanResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRecord:
    """A stack, and what became of it.

    Attributes:
        entry: The stack as read; as indexed, where reading failed.
        model: The model that was asked, or was to be.
        fitness: The verdict on the stack; without its pixels, where they could not be read.
        result: Its answer; None where the stack could not or must not be scored.
        failure: Why there is no result; None where there is one.
        read_at: When an earlier run of the program read it; None where it was this one.
    """

    entry: StackEntry
    model: ModelIdentity
    fitness: Fitness
    result: ScanResult | None = None
    failure: CodedWarning | None = None
    read_at: datetime | None = None

    @property
    def scored_though_unfit(self) -> bool:
        """Whether there is a result only because the user insisted."""
        return self.result is not None and self.fitness.is_unfit

    @property
    def passed_over(self) -> bool:
        """Whether it was rightly not scored, rather than in vain."""
        codes = (WarningCode.UNFIT, WarningCode.TOO_FEW_SLICES)
        return self.failure is not None and self.failure.code in codes

    @property
    def candidate(self) -> Candidate:
        """The stack as a candidate for its study's read-out."""
        scorable = self.result is not None
        return Candidate(entry=self.entry, fitness=self.fitness, scorable=scorable)

    @property
    def warnings(self) -> tuple[CodedWarning, ...]:
        """Everything to be said of the stack: reading, prediction, failure."""
        predicted = self.result.warnings if self.result else ()
        if self.scored_though_unfit:
            reasons = self.fitness.messages(FitnessLevel.UNFIT)
            insisted = CodedWarning(
                WarningCode.SCORED_THOUGH_UNFIT, f"scored on request, though unfit: {reasons}"
            )
            predicted = (insisted, *predicted)
        failed = (self.failure,) if self.failure else ()
        return (*self.entry.warnings, *predicted, *failed)

    @property
    def warning_codes(self) -> tuple[str, ...]:
        """The distinct codes of :attr:`warnings`, sorted."""
        return tuple(sorted({str(warning.code) for warning in self.warnings}))


def scored(result: ScanResult, fitness: Fitness) -> ScanRecord:
    """The record of a stack the model has read."""
    return ScanRecord(entry=result.entry, model=result.model, fitness=fitness, result=result)


def unscored(
    entry: StackEntry,
    model: ModelIdentity,
    fitness: Fitness,
    code: WarningCode,
    error: SadmilError,
) -> ScanRecord:
    """The record of a stack without a result, and why."""
    failure = CodedWarning(code, str(error))
    return ScanRecord(entry=entry, model=model, fitness=fitness, failure=failure)


def all_skipped(skipped: Iterable[SkippedFile], records: Iterable[ScanRecord]) -> list[SkippedFile]:
    """The files passed over while indexing, and those whose pixels could not be decoded."""
    found = {file.path: file for file in skipped}
    for record in records:
        found.update({file.path: file for file in record.entry.skipped})
    return [found[path] for path in sorted(found)]
