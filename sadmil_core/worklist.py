"""The studies of a folder tree, to be read one after another while somebody waits for the answers.

The parts of :mod:`sadmil_core.batch` without its folder of results: the same index, the same
studies, the same rule for which series speaks for one.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.batch.folder import BatchFolder
from sadmil_core.batch.index import ArchiveIndex
from sadmil_core.batch.plan import make_units
from sadmil_core.dicom import SeriesIndex
from sadmil_core.progress import Progress, no_progress
from sadmil_core.readout import choose_readouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sadmil_core.batch.plan import StudyUnit
    from sadmil_core.dicom import StackEntry
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report import ScanRecord

PREFIX = "sadmil-worklist-"


class StudyQueue:
    """The studies below some folders, as they were found.

    Headers lie in a temporary folder that goes with this object: a tree of any size needs no
    more memory than its list of studies. Zip archives are not looked into.

    Args:
        roots: Files and folders.
        progress: Called while headers are read.

    Attributes:
        roots: As given.
        units: What is read in one go, by StudyInstanceUID.
        lost: How many files were passed over that may have held CT.

    Raises:
        InputError: A folder is not there or cannot be listed, or none of them holds CT.
        WriteError: There is no room for the headers.
        Cancelled: From ``progress``.
    """

    def __init__(self, roots: Sequence[Path], progress: Progress = no_progress) -> None:
        scratch = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._finalizer = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self.roots = tuple(roots)
        folder = BatchFolder(scratch)
        folder.make()
        self._index = ArchiveIndex(folder)
        problems = self._index.bring_up_to_date(self.roots, progress)
        self.units = make_units(self._index.planned_files())
        if problems and not self.units:
            raise problems[0]
        self.lost = sum(file.reason.is_failure for file in self._index.skipped())

    def stacks(self, unit: StudyUnit) -> tuple[StackEntry, ...]:
        """The stacks of a unit, with all their headers.

        Raises:
            BatchError: The headers are no longer there.
        """
        return self._index.stacks(unit.series)

    def index(self, unit: StudyUnit) -> SeriesIndex:
        """A unit as an index of its own, rooted where the tree was."""
        entries = self.stacks(unit)
        skipped = {file.path: file for entry in entries for file in entry.skipped}
        return SeriesIndex(root=self.roots[0], entries=entries, skipped=tuple(skipped.values()))

    def close(self) -> None:
        """Removes the headers now."""
        self._finalizer()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReading:
    """What became of one study.

    Attributes:
        readout: Which of its series speaks for it.
        records: Of all its stacks.
    """

    readout: StudyReadout
    records: tuple[ScanRecord, ...]

    @property
    def record(self) -> ScanRecord:
        """That of the series that speaks; of the largest, where none does."""
        chosen = [record for record in self.records if self.readout.is_of(record.entry)]
        return chosen[0] if chosen else max(self.records, key=lambda r: len(r.entry.slices))

    @property
    def probability(self) -> float | None:
        """The scan probability of the study; None where there is none."""
        result = self.record.result
        return result.scan_probability if self.readout.has_answer and result else None

    @property
    def reason(self) -> str:
        """Why it has no probability, for people; empty where it has one."""
        if self.probability is not None:
            return ""
        failures = (record.failure.message for record in self.records if record.failure)
        return "; ".join(dict.fromkeys(failures)) or self.readout.message


def read_studies(
    entries: Sequence[StackEntry], read_stack: Callable[[StackEntry], ScanRecord]
) -> tuple[StudyReading, ...]:
    """Reads all stacks of one or several studies, and chooses which speaks for each.

    Args:
        entries: All the stacks of the studies.
        read_stack: Reads one.
    """
    records = [read_stack(entry) for entry in entries]
    return tuple(
        StudyReading(
            readout=readout,
            records=tuple(r for r in records if r.entry.study_instance_uid == readout.scan_id),
        )
        for readout in choose_readouts(record.candidate for record in records)
    )
