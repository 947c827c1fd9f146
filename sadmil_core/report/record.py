"""One stack as a report sees it: read or not, scored or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.dicom import CodedWarning, WarningCode

if TYPE_CHECKING:
    from sadmil_core.dicom import StackEntry
    from sadmil_core.errors import SadmilError
    from sadmil_core.result import ModelIdentity, ScanResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRecord:
    """A stack, and what became of it.

    Attributes:
        entry: The stack as read; as indexed, where reading failed.
        model: The model that was asked, or was to be.
        result: Its answer; None where the stack could not or must not be scored.
        failure: Why there is no result; None where there is one.
    """

    entry: StackEntry
    model: ModelIdentity
    result: ScanResult | None = None
    failure: CodedWarning | None = None

    @property
    def warnings(self) -> tuple[CodedWarning, ...]:
        """Everything to be said of the stack: reading, prediction, failure."""
        predicted = self.result.warnings if self.result else ()
        failed = (self.failure,) if self.failure else ()
        return (*self.entry.warnings, *predicted, *failed)

    @property
    def warning_codes(self) -> tuple[str, ...]:
        """The distinct codes of :attr:`warnings`, sorted."""
        return tuple(sorted({str(warning.code) for warning in self.warnings}))


def scored(result: ScanResult) -> ScanRecord:
    """The record of a stack the model has read."""
    return ScanRecord(entry=result.entry, model=result.model, result=result)


def unscored(
    entry: StackEntry, model: ModelIdentity, code: WarningCode, error: SadmilError
) -> ScanRecord:
    """The record of a stack without a result, and why."""
    return ScanRecord(entry=entry, model=model, failure=CodedWarning(code, str(error)))
