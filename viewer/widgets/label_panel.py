"""The reader's labels: of the scan, of the slice that is shown, of the kind of bleeding; a note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from sadmil_core.data.scans import SUBTYPES
from sadmil_core.result import slice_number
from viewer.widgets.elided_label import ElidedLabel

if TYPE_CHECKING:
    from sadmil_core.labels import ScanMarks
    from viewer.model.state import ViewState

SHORT_NAMES = dict(zip(SUBTYPES, ("EDH", "SDH", "SAH", "IPH", "IVH"), strict=True))
"""As radiologists write the subtypes."""
_SAID = {True: "present", False: "absent", None: "not said"}


class LabelPanel(QWidget):
    """What the reader says, beside the notes on the series.

    Buttons that are pressed again take back what was said. Nothing waits for a Save: what is
    shown here is kept.
    """

    scan_marked = Signal(bool)
    """The scan bleeds, or does not."""
    slice_marked = Signal(bool)
    """The slice that is shown bleeds, or does not."""
    subtype_cycled = Signal(str)
    """The next word on a subtype in the slice that is shown."""
    scan_judged = Signal(bool)
    """The reader agrees with the model's decision, or does not."""
    noted = Signal(str)
    """The note, once it is written."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[object, ...] = ()
        self._stack: object = None
        heading = QLabel("Your labels")
        heading.setProperty("role", "heading")
        heading.setToolTip("Kept as you give them, by hashes; exported as a training manifest")
        self.reader = ElidedLabel()
        self.reader.setProperty("role", "muted")
        self.reader.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 10, 0)
        top.addWidget(heading)
        top.addWidget(self.reader, 1)
        self._slice_name = QLabel("Slice")
        self.scan = _pair("Bleed", "No bleed", "scan")
        self.slice = _pair("Bleed", "No bleed", "slice")
        self.judgement = _pair("Agree", "Disagree", "model")
        self.subtypes = {name: _chip(name) for name in SUBTYPES}
        self.note = _NoteField()
        self.note.setPlaceholderText("Note on this scan")
        self.note.setAccessibleName("Note on this scan")
        self.note.setMaxLength(2000)
        self._lay_out(top)
        self._connect()

    def _lay_out(self, top: QHBoxLayout) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(10, 0, 8, 8)
        grid.setHorizontalSpacing(5)
        grid.setVerticalSpacing(4)
        for row, (name, pair) in enumerate(
            (
                (QLabel("Scan"), self.scan),
                (self._slice_name, self.slice),
                (QLabel("Model"), self.judgement),
            )
        ):
            name.setProperty("role", "muted")
            # So wide that no number makes the buttons move.
            name.setMinimumWidth(self.fontMetrics().horizontalAdvance("Slice 000"))
            place = row if row < 2 else 3
            grid.addWidget(name, place, 0)
            for column, button in enumerate(pair, start=1):
                grid.addWidget(button, place, column)
        chips = QHBoxLayout()
        chips.setSpacing(4)
        for chip in self.subtypes.values():
            chips.addWidget(chip)
        grid.addLayout(chips, 2, 0, 1, 3)
        grid.addWidget(self.note, 4, 0, 1, 3)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addLayout(top)
        whole.addLayout(grid)
        whole.addStretch()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)

    def _connect(self) -> None:
        for pair, signal in (
            (self.scan, self.scan_marked),
            (self.slice, self.slice_marked),
            (self.judgement, self.scan_judged),
        ):
            for button, word in zip(pair, (True, False), strict=True):
                button.clicked.connect(lambda _on=False, s=signal, w=word: s.emit(w))
        for name, chip in self.subtypes.items():
            chip.clicked.connect(lambda _on=False, n=name: self.subtype_cycled.emit(n))
        self.note.editingFinished.connect(lambda: self.noted.emit(self.note.text()))

    def set_reader(self, name: str) -> None:
        """Shows who reads."""
        self.reader.setText(name or "unnamed reader")
        self.reader.setToolTip("Change it in the settings")

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        self.setVisible(state.entry is not None)
        marks, result = state.marks, state.result
        shown = (state.labels, state.entry, state.slice_index, result)
        if len(shown) == len(self._shown) and all(
            a is b for a, b in zip(shown, self._shown, strict=True)
        ):
            return
        self._shown = shown
        here = marks.of(state.slice_index)
        self._slice_name.setText(f"Slice {slice_number(state.slice_index)}")
        for pair, said in (
            (self.scan, marks.label),
            (self.slice, here.label),
            (self.judgement, marks.agrees),
        ):
            _show_pair(pair, said)
        for button in self.judgement:
            button.setEnabled(result is not None)
        self._show_subtypes(marks, state.slice_index)
        is_other = state.labels is None or state.labels.stack != self._stack
        self._stack = state.labels.stack if state.labels else None
        if is_other or not self.note.hasFocus():
            self.note.setText(marks.note)

    def _show_subtypes(self, marks: ScanMarks, index: int) -> None:
        for name, chip in self.subtypes.items():
            said = marks.of(index).subtypes.get(name)
            chip.setChecked(said is True)
            font = chip.font()
            font.setStrikeOut(said is False)
            chip.setFont(font)
            chip.setAccessibleName(f"{name} in this slice: {_SAID[said]}")
            chip.setToolTip(f"{name.capitalize()}: {_SAID[said]}. Click for the next.")

    def finish_note(self) -> None:
        """Keeps a note that is being written."""
        if self.note.hasFocus():
            self.noted.emit(self.note.text())


class _NoteField(QLineEdit):
    """A line that is done with Enter or Esc, and then leaves the keys to the slice."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter and Esc are done with it."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape):
            self.clearFocus()
            return
        super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Esc and the keys that move through slices and series do nothing else meanwhile."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            held = event.modifiers()
            if not held & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier):
                event.accept()
                return True
        return bool(super().event(event))


def _pair(yes: str, no: str, of: str) -> tuple[QPushButton, QPushButton]:
    buttons = QPushButton(yes), QPushButton(no)
    for button, word in zip(buttons, (yes, no), strict=True):
        button.setCheckable(True)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setProperty("role", "label")
        button.setAccessibleName(f"{of.capitalize()}: {word.lower()}")
    return buttons


def _show_pair(pair: tuple[QPushButton, QPushButton], said: bool | None) -> None:
    pair[0].setChecked(said is True)
    pair[1].setChecked(said is False)


def _chip(name: str) -> QPushButton:
    chip = QPushButton(SHORT_NAMES[name])
    chip.setCheckable(True)
    chip.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    chip.setProperty("role", "chip")
    chip.setMinimumWidth(10)
    return chip
