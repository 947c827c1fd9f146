"""What the reader must know of the chosen series: fitness, warnings, geometry, lost files."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from sadmil_core.fitness import FitnessLevel
from viewer import theme
from viewer.model.facts import facts_of
from viewer.privacy import scrub

if TYPE_CHECKING:
    from sadmil_core.dicom import SkippedFile
    from viewer.model.state import ViewState

_MATTERS = ("root", "entries", "verdicts", "records", "selected", "model", "skipped")
_MARKS = {FitnessLevel.CAUTION: "△", FitnessLevel.UNFIT: "✕"}


class SeriesDetails(QWidget):
    """Notes on the chosen series: what speaks against it first, then what it is made of."""

    files_wanted = Signal()
    """The user wants to see the files that are no part of any series."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: ViewState | None = None
        heading = QLabel("Notes on this series")
        heading.setProperty("role", "heading")
        self._text = QTextBrowser()
        self._text.setOpenLinks(False)
        self._text.setAccessibleName("Notes on this series")
        self._text.setProperty("role", "notes")
        self._text.document().setDocumentMargin(8)
        self._copy = QPushButton("Copy")
        self._copy.setToolTip("Copy the notes, without identifiers")
        self._copy.clicked.connect(self.copy)
        self._files = QPushButton("Files…")
        self._files.clicked.connect(self.files_wanted)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(8, 4, 8, 6)
        for button in (self._copy, self._files):
            button.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(heading)
        layout.addWidget(self._text)
        layout.addLayout(buttons)

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        self.setVisible(state.entry is not None)
        if (
            old is not None
            and all(getattr(old, n) is getattr(state, n) for n in _MATTERS)
            and old.options.hides_identifiers == state.options.hides_identifiers
        ):
            return
        self._text.setHtml(_page(state))
        count = len(state.skipped)
        self._files.setText(f"Files passed over ({count})…")
        self._files.setVisible(count > 0)

    def changeEvent(self, event: QEvent) -> None:
        """Writes the notes in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and self._state is not None:
            self._text.setHtml(_page(self._state))

    def plain_text(self) -> str:
        """The notes as they are read."""
        return self._text.toPlainText()

    def copy(self) -> None:
        """Puts the notes on the clipboard, with the names of folders and files taken out."""
        root = self._state.root if self._state else None
        QGuiApplication.clipboard().setText(scrub(self._text.toPlainText(), root))


def _page(state: ViewState) -> str:
    entry, fitness = state.entry, state.fitness
    if entry is None or fitness is None:
        return ""
    named = {str(reason.code) for reason in fitness.reasons}
    warnings = state.record.warnings if state.record else entry.warnings
    cautions = [w for w in warnings if str(w.code) not in named and w.code.is_caution]
    notes = [w for w in warnings if str(w.code) not in named and not w.code.is_caution]
    parts = [f"<p><b>Fit for the model: {fitness.level}</b></p>"]
    parts += [_remark(_MARKS[r.level], r.message, str(r.code)) for r in fitness.reasons]
    parts += [_remark("△", w.message, str(w.code)) for w in cautions]
    parts += [_remark("•", w.message, str(w.code)) for w in notes]
    if entry.skipped:
        parts.append("<p><b>Files of this series that could not be used</b></p>")
        shown = entry.skipped[:_MOST_FILES]
        parts += [_remark("✕", _told(f, state), str(f.reason)) for f in shown]
        if len(entry.skipped) > len(shown):
            parts.append(f"<p>and {len(entry.skipped) - len(shown)} more</p>")
    facts = "".join(
        f"<tr><td style='color:{theme.MUTED}; padding-right:8px'>{escape(name)}</td>"
        f"<td>{escape(value)}</td></tr>"
        for name, value in facts_of(entry)
    )
    return "".join(parts) + f"<p></p><table cellspacing='0' cellpadding='1'>{facts}</table>"


_MOST_FILES = 20


def _told(file: SkippedFile, state: ViewState) -> str:
    """What is wrong with a file, named unless names are hidden."""
    if state.options.hides_identifiers:
        return scrub(file.message, state.root)
    return f"{file.path.name}: {file.message}"


def _remark(mark: str, sentence: str, code: str) -> str:
    colour = theme.SIGNAL if mark in _MARKS.values() else theme.MUTED
    return (
        f"<p style='margin-bottom:5px'><span style='color:{colour}'>{mark}</span> "
        f"{escape(sentence)} <span style='color:{theme.MUTED}; font-size:small'>{code}</span></p>"
    )
