"""What the window shows, as one frozen value; every change makes a new one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sadmil_core.display import PRESETS, DisplayWindow
from sadmil_core.labels import ScanMarks
from viewer.model.inquiry import NOTHING_ASKED, AttentionOptions, Inquiry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.dicom import (
        CTVolume,
        Identity,
        SkippedFile,
        SliceHeader,
        StackEntry,
        VolumeLoad,
    )
    from sadmil_core.explain import Explanation
    from sadmil_core.fitness import Fitness
    from sadmil_core.report import ScanRecord
    from sadmil_core.result import ScanResult
    from viewer.model.jobs import JobProgress

MODEL_PRESET = "What the model saw"
"""The preset that is no window: it shows the model's own input."""
RecordKey = tuple[str, str, int, str]
StackKey = tuple[str, str, int]


def stack_key(entry: StackEntry) -> StackKey:
    """Study, series and stack index: what a stack is known by within an index."""
    return entry.study_instance_uid, entry.series_instance_uid, entry.stack_index


def record_key(entry: StackEntry, model_sha256: str) -> RecordKey:
    """The same and the model: what a record is known by within an index."""
    return (*stack_key(entry), model_sha256)


def same_slices(a: StackEntry, b: StackEntry) -> bool:
    """Whether two readings of a stack are of the same slices, from unchanged files."""
    return a is b or [(h.path, h.file_stamp, h.sop_instance_uid) for h in a.slices] == [
        (h.path, h.file_stamp, h.sop_instance_uid) for h in b.slices
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A slice shown while the headers of its folder are still being read."""

    header: SliceHeader
    hu: NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelItem:
    """A model that can be chosen: what to call it, its file, and its name if it is installed."""

    label: str
    path: Path
    name: str = ""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The chosen model: where it lies, and its header (readable without torch)."""

    path: Path
    header: CheckpointHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderMarks:
    """What the reader has said of a stack.

    Attributes:
        stack: Which one.
        marks: What is said now.
        is_released: The reader has marked the scan, if only once, and may see what models say.
    """

    stack: StackKey
    marks: ScanMarks
    is_released: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewOptions:
    """How things are shown, whatever is shown.

    Attributes:
        is_inverted: Black and white change places, over what the file asks for.
        is_flipped_across: The picture is turned left to right.
        is_flipped_down: The picture is turned top to bottom.
        shows_texts: The corners have their texts.
        hides_identifiers: Nothing on screen names a patient.
        reads_first: What models say of a scan is hidden until the reader has marked it.
        cine_hz: Slices a second while cine plays, else 0.
    """

    is_inverted: bool = False
    is_flipped_across: bool = False
    is_flipped_down: bool = False
    shows_texts: bool = True
    hides_identifiers: bool = False
    reads_first: bool = False
    cine_hz: float = 0.0

    def upright(self) -> ViewOptions:
        """The same, but the picture as the file has it."""
        return replace(self, is_inverted=False, is_flipped_across=False, is_flipped_down=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewState:
    """Everything the widgets draw. Compare fields by identity to find what changed.

    Attributes:
        root: What was opened; None before anything is.
        entries: Its stacks; those that have been loaded as they were read.
        identities: Texts for people, one per entry.
        verdicts: The fitness of each entry: by its headers, by its pixels once it was complete.
        thumbnails: Small pictures, by index into ``entries``, as they come.
        skipped: Files that were passed over.
        selected: Index into ``entries``, or None.
        preview: A first slice while headers are still being read.
        load: The selected stack on its way; None once it is complete.
        arrived: How many of its slices are there.
        volume: The selected stack, complete.
        slice_index: The current slice, 0 at the foot end.
        window: The display window.
        preset: Its name, or None after a drag.
        options: How things are shown.
        records: What became of the stacks that models were asked about.
        model: The chosen model, or None where none could be found.
        models: Those that can be chosen.
        opening: Progress of reading headers or slices; None when nothing is being read.
        scoring: Progress of the model; None when it is not running.
        asked: What was asked about a result; :attr:`inquiry` is what still holds.
        attention: How attention and explanations are shown.
        labels: What the reader has said of the selected stack, once it has been looked up.
        asking: Progress of such a question; None when nothing is asked.
        notice: What the reader must know of this series, such as why it was not scored.
        message: What has just been done; gone with the next move.
    """

    root: Path | None = None
    entries: tuple[StackEntry, ...] = ()
    identities: tuple[Identity, ...] = ()
    verdicts: tuple[Fitness, ...] = ()
    thumbnails: Mapping[int, NDArray[np.uint8]]
    skipped: tuple[SkippedFile, ...] = ()
    selected: int | None = None
    preview: Preview | None = None
    load: VolumeLoad | None = None
    arrived: int = 0
    volume: CTVolume | None = None
    slice_index: int = 0
    window: DisplayWindow = PRESETS["Brain"]
    preset: str | None = "Brain"
    options: ViewOptions = ViewOptions()
    records: dict[RecordKey, ScanRecord]
    model: ModelChoice | None = None
    models: tuple[ModelItem, ...] = ()
    opening: JobProgress | None = None
    scoring: JobProgress | None = None
    asked: Inquiry = NOTHING_ASKED
    attention: AttentionOptions = field(default_factory=AttentionOptions)
    labels: ReaderMarks | None = None
    asking: JobProgress | None = None
    notice: str = ""
    message: str = ""

    @property
    def entry(self) -> StackEntry | None:
        """The selected stack."""
        return None if self.selected is None else self.entries[self.selected]

    @property
    def fitness(self) -> Fitness | None:
        """The verdict on the selected stack, as far as it is known."""
        return None if self.selected is None else self.verdicts[self.selected]

    @property
    def identity(self) -> Identity | None:
        """The selected stack's texts."""
        return None if self.selected is None else self.identities[self.selected]

    @property
    def marks(self) -> ScanMarks:
        """What the reader says of the selected stack; blank while it is not known."""
        return self._own_labels.marks if self._own_labels else ScanMarks()

    @property
    def _own_labels(self) -> ReaderMarks | None:
        labels, entry = self.labels, self.entry
        return labels if labels and entry and labels.stack == stack_key(entry) else None

    @property
    def withholds(self) -> bool:
        """Whether what models say is hidden, for the reader has not marked the scan yet."""
        labels = self._own_labels
        return self.options.reads_first and not (labels and labels.is_released)

    @property
    def known_record(self) -> ScanRecord | None:
        """What became of the selected stack, if the chosen model was asked about it.

        For what goes on unseen: widgets and exports take :attr:`record`. Never one of other
        slices: it belongs to the very slices that are shown.
        """
        return self._record_of(self.model)

    @property
    def record(self) -> ScanRecord | None:
        """The same, as far as the reader may see it."""
        return None if self.withholds else self.known_record

    @property
    def other_record(self) -> ScanRecord | None:
        """What became of the selected stack with the model it is compared with."""
        return None if self.withholds else self._record_of(self.attention.other)

    def _record_of(self, model: ModelChoice | None) -> ScanRecord | None:
        if self.entry is None or model is None:
            return None
        found = self.records.get(record_key(self.entry, model.header.model_sha256))
        return found if found and same_slices(found.entry, self.entry) else None

    @property
    def other_result(self) -> ScanResult | None:
        """The other model's result; None where it is the chosen one itself."""
        found = self.other_record.result if self.other_record else None
        return None if found is self.result else found

    @property
    def inquiry(self) -> Inquiry:
        """What was asked about the result that is shown."""
        return self.asked if self.asked.result is self.result else Inquiry(result=self.result)

    @property
    def explanation(self) -> Explanation | None:
        """What is to be laid over the current slice."""
        if not self.attention.shows_explanation:
            return None
        return self.inquiry.explanations.get(self.slice_index)

    @property
    def result(self) -> ScanResult | None:
        """The chosen model's result for the selected stack."""
        return self.record.result if self.record else None

    @property
    def slice_count(self) -> int:
        """Slices of the selected stack; 0 without one."""
        return len(self.entry.slices) if self.entry else 0

    def hu_of(self, index: int) -> NDArray[np.int16] | NDArray[np.float32] | None:
        """The pixels of a slice of the selected stack, or None while they are not there."""
        hu: NDArray[np.int16] | NDArray[np.float32] | None = None
        if self.volume is not None:
            hu = self.volume.hu[index]
        elif self.load is not None and self.load.arrived[index]:
            hu = self.load.hu[index]
        return hu
