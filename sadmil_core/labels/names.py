"""What scans and slices are called in the database: hashes of their UIDs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sadmil_core.dicom import StackEntry
    from sadmil_core.report.pseudonyms import Pseudonyms


@dataclass(frozen=True, slots=True, order=True)
class ScanName:
    """A stack of slices.

    Attributes:
        study: Hash of the StudyInstanceUID.
        series: Hash of the SeriesInstanceUID.
        stack: Which stack of the series, from 0.
    """

    study: str
    series: str
    stack: int


@dataclass(frozen=True, slots=True, order=True)
class SliceName:
    """A slice of a stack.

    Attributes:
        instance: Hash of the SOPInstanceUID.
        frame: Its frame, counted from 1; 0 where the file has a single one.
    """

    instance: str
    frame: int = 0


def scan_name(entry: StackEntry, hashes: Pseudonyms) -> ScanName:
    """The name of a stack.

    Args:
        entry: The stack, as indexed or as loaded.
        hashes: With the user's key.
    """
    study, series = entry.study_instance_uid, entry.series_instance_uid
    return ScanName(hashes.of(study), hashes.of(series), entry.stack_index)


def slice_names(entry: StackEntry, hashes: Pseudonyms) -> tuple[SliceName, ...]:
    """The names of a stack's slices, foot to head.

    Instances are numbered among each other where UIDs stand twice, as in some archives: names
    are distinct whatever the files say.
    """
    uids = [(header.sop_instance_uid, header.frame_number or 0) for header in entry.slices]
    counts = Counter(uids)
    names = []
    for index, (uid, frame) in enumerate(uids):
        told = uid if counts[uid, frame] == 1 and uid else f"{uid}#{index}"
        names.append(SliceName(hashes.of(told), frame))
    return tuple(names)
