"""Where the reader's labels are given: kept at once, undone like drawings, shown with the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QObject, Signal

from sadmil_core.data.manifest import write_manifest
from sadmil_core.errors import LabelError, SadmilError
from sadmil_core.labels import (
    Journal,
    LabelDatabase,
    ScanMarks,
    collect_scans,
    read_key,
    scan_name,
    slice_names,
)
from sadmil_core.report.pseudonyms import Pseudonyms
from sadmil_core.result import slice_number
from viewer.model.annotations import SliceKey
from viewer.model.state import ReaderMarks, stack_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sadmil_core.dicom import StackEntry
    from sadmil_core.labels import LabelledScans, ScanName, SliceName
    from viewer.model.session import Session

LABELLING = "exporting labels"
"""The lane on which labels are exported."""
_Answer = TypeVar("_Answer")
_CYCLE = {None: True, True: False, False: None}


class LabelDesk(QObject):
    """Carries out what the reader says of scans; a part of the session.

    Args:
        session: Whose state it is.
        change: Makes a new state.
    """

    released = Signal()
    """The reader may see what models say of more scans than before, or of others."""

    leaving = Signal()
    """The stack that is shown is about to be left: whoever holds words on it says them now."""

    def __init__(self, session: Session, change: Callable[..., None]) -> None:
        super().__init__(session)
        self._session, self._change = session, change
        self.database = LabelDatabase()
        self.journal = Journal(self.database)
        self._reader = ""
        self._hashes: Pseudonyms | None = None
        self._marked: frozenset[ScanName] | None = None
        self._complained: set[str] = set()

    @property
    def reader(self) -> str:
        """Who reads; each reader has labels of their own."""
        return self._reader

    def set_reader(self, name: str) -> None:
        """Names who reads from now on."""
        if name.strip() != self._reader:
            self._reader, self._marked = name.strip(), None
            entry = self._session.state.entry
            if entry is not None:
                self._change(**self.recall(entry))
            self.released.emit()

    @property
    def hashes(self) -> Pseudonyms:
        """The hashes by which scans are known.

        Raises:
            LabelError, WriteError: There is no key, and none can be made.
        """
        if self._hashes is None:
            self._hashes = Pseudonyms(read_key())
        return self._hashes

    # -- read first ---------------------------------------------------------------------------

    def withholds(self, entry: StackEntry) -> bool:
        """Whether what models say of a stack is hidden."""
        if not self._session.state.options.reads_first:
            return False
        return self._ask(lambda: scan_name(entry, self.hashes)) not in self._marked_scans()

    def withholds_study(self, study_instance_uid: str) -> bool:
        """Whether what models say of a study is hidden: no series of it has been marked."""
        if not self._session.state.options.reads_first:
            return False
        study = self._ask(lambda: self.hashes.of(study_instance_uid))
        return study not in {scan.study for scan in self._marked_scans()}

    def _marked_scans(self) -> frozenset[ScanName]:
        if self._marked is None:
            found = self._ask(lambda: self.journal.marked_scans(self._reader))
            if found is None:
                return frozenset()
            self._marked = found
        return self._marked

    # -- finding ------------------------------------------------------------------------------

    def recall(self, entry: StackEntry) -> dict[str, Any]:
        """What the reader has said of a stack in an earlier run, as changes of the state.

        It takes about a millisecond.
        """

        def look_up() -> ScanMarks:
            name, names = scan_name(entry, self.hashes), slice_names(entry, self.hashes)
            return self.journal.marks(name, names, self._reader)

        return self._shown(entry, self._ask(look_up) or ScanMarks())

    def _shown(self, entry: StackEntry, marks: ScanMarks) -> dict[str, Any]:
        name = self._ask(lambda: scan_name(entry, self.hashes))
        is_released = name in self._marked_scans()
        key = stack_key(entry)
        return {"labels": ReaderMarks(stack=key, marks=marks, is_released=is_released)}

    def _ask(self, question: Callable[[], _Answer]) -> _Answer | None:
        """An answer of the database; what stands against it is told once."""
        try:
            return question()
        except SadmilError as error:
            if str(error) not in self._complained:
                self._complained.add(str(error))
                self._session.failed.emit(error)
            return None

    # -- saying -------------------------------------------------------------------------------

    def mark_scan(self, label: bool) -> None:
        """Says whether the scan bleeds; said again, it is taken back."""
        now = self._session.state.marks.label
        wanted = None if now is label else label
        self._say(
            f"Mark scan: {_words(wanted)}",
            lambda marks: marks.mark_scan(wanted),
        )

    def mark_slice(self, label: bool) -> None:
        """Says whether the slice that is shown bleeds; said again, it is taken back."""
        index = self._session.state.slice_index
        wanted = None if self._session.state.marks.of(index).label is label else label
        text = f"Mark slice {slice_number(index)}: {_words(wanted)}"
        self._say(text, lambda marks: marks.mark_slice(index, wanted))

    def cycle_subtype(self, subtype: str) -> None:
        """Says of a subtype in the slice that is shown: there, not there, unknown; in turn."""
        index = self._session.state.slice_index
        wanted = _CYCLE[self._session.state.marks.of(index).subtypes.get(subtype)]
        word = {True: subtype, False: f"no {subtype}", None: f"{subtype} unknown"}[wanted]
        self._say(
            f"Mark slice {slice_number(index)}: {word}",
            lambda marks: marks.mark_subtype(index, subtype, wanted),
        )

    def judge_scan(self, agrees: bool) -> None:
        """Agrees or disagrees with the model on the scan, if its answer is seen."""
        result = self._session.state.result
        if result is not None:
            positive = result.scan_positive
            word = "Agree" if agrees else "Disagree"
            self._say(
                f"{word} on the scan",
                lambda marks: marks.judge_scan(agrees, is_positive=positive),
            )

    def judge_slice(self, agrees: bool) -> None:
        """Agrees or disagrees with the model on the slice that is shown."""
        state = self._session.state
        if state.result is not None:
            index = state.slice_index
            marked = bool(state.result.slice_positive[index])
            word = "Agree" if agrees else "Disagree"
            self._say(
                f"{word} on slice {slice_number(index)}",
                lambda marks: marks.judge_slice(index, agrees, is_marked=marked),
            )

    def write_note(self, note: str) -> None:
        """Keeps a note on the scan."""
        self._say("Write note", lambda marks: marks.annotate(note))

    def _say(self, text: str, make: Callable[[ScanMarks], ScanMarks]) -> None:
        """Makes other marks, as one step that can be undone."""
        state = self._session.state
        entry, before = state.entry, state.marks
        if entry is None:
            return
        try:
            after = make(before)
            name, names = scan_name(entry, self.hashes), slice_names(entry, self.hashes)
        except LabelError as error:
            self._change(message=str(error))
            return
        except SadmilError as error:
            self._session.failed.emit(error)
            return
        if after == before:
            return
        key = SliceKey.of(entry.slices[state.slice_index])

        def write(old: ScanMarks, new: ScanMarks) -> None:
            self._write(entry, name, names, old, new)

        self._session.annotations.do(
            text, key, lambda: write(before, after), lambda: write(after, before)
        )

    def _write(
        self,
        entry: StackEntry,
        name: ScanName,
        names: tuple[SliceName, ...],
        old: ScanMarks,
        new: ScanMarks,
    ) -> None:
        result = self._session.state.result
        model = result.model.sha256 if result is not None else ""
        try:
            self.journal.change(name, names, old, new, reader=self._reader, model=model)
        except SadmilError as error:
            self._session.failed.emit(error)
            return
        newly = new.label is not None and name not in self._marked_scans()
        if newly:
            self._marked = self._marked_scans() | {name}
        shown = self._session.state.entry
        if shown is not None and stack_key(shown) == stack_key(entry):
            self._change(**self._shown(shown, new))
        if newly:
            self.released.emit()

    # -- export -------------------------------------------------------------------------------

    def export(self, path: Path) -> None:
        """Writes the labels of all scans that are open as a manifest, on a worker thread."""
        error = self._session.exporter.objection(path)
        if error is not None:
            self._session.failed.emit(error)
            return
        entries = self._session.state.entries

        def work() -> LabelledScans:
            found = collect_scans(self.journal, self.hashes, entries)
            if not found.scans:
                raise LabelError(
                    "None of the scans that are open has a label.",
                    remedy="Mark the scan or slices of it first (menu Labels).",
                )
            write_manifest(found.scans, path)
            return found

        self._session.jobs.submit(
            LABELLING,
            lambda _context: work(),
            on_done=lambda found: self._change(message=_told(found)),
            on_failed=self._session.failed.emit,
        )


def _words(label: bool | None) -> str:
    return {True: "bleeding", False: "no blood", None: "unknown"}[label]


def _told(found: LabelledScans) -> str:
    count = len(found.scans)
    told = [f"Labels of {count} scan{'s' if count != 1 else ''} written"]
    if found.absent:
        told.append(f"{found.absent} more lie elsewhere: sadmil labels export finds them")
    if found.disputed:
        told.append(f"{found.disputed} left blank, for readers contradict each other")
    return "; ".join(told)
