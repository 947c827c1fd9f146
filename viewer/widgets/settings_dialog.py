"""The settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from viewer.log_folder import open_log_folder
from viewer.model.cine import SPEEDS_HZ
from viewer.theme import Theme, apply_theme

if TYPE_CHECKING:
    from viewer.model.cine import Cine
    from viewer.model.session import Session
    from viewer.settings import Settings


class SettingsDialog(QDialog):
    """Shows the settings; each change holds at once and is kept.

    Args:
        settings: Where they are kept.
        session: What they are applied to.
        cine: Whose speed is set.
        parent: The window.
    """

    bindings_wanted = Signal()
    """The user wants to change keys and mouse."""

    def __init__(
        self, settings: Settings, session: Session, cine: Cine, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Settings")
        self._settings, self._session, self._cine = settings, session, cine
        options = session.state.options
        self.theme = QComboBox()
        self.theme.addItems([str(theme).capitalize() for theme in Theme])
        self.theme.setCurrentIndex(list(Theme).index(settings.theme))
        self.theme.currentIndexChanged.connect(self._set_theme)
        self.speed = QComboBox()
        self.speed.addItems([f"{hz:g} slices a second" for hz in SPEEDS_HZ])
        self.speed.setCurrentIndex(SPEEDS_HZ.index(cine.speed_hz))
        self.speed.currentIndexChanged.connect(self._set_speed)
        self.reads = QCheckBox("Run the model as soon as a series is open")
        self.reads.setChecked(session.reads_unasked)
        self.reads.toggled.connect(self._set_reads)
        self.texts = QCheckBox("Show texts in the corners of the slice")
        self.texts.setChecked(options.shows_texts)
        self.texts.toggled.connect(self._set_texts)
        self.hides = QCheckBox("Hide identifiers: name no patient on screen")
        self.hides.setChecked(options.hides_identifiers)
        self.hides.toggled.connect(self._set_hides)
        self.keys = QPushButton("Change keys and mouse…")
        self.keys.clicked.connect(self.bindings_wanted)
        self.log = QPushButton("Open the log folder")
        self.log.clicked.connect(open_log_folder)
        self._lay_out()

    def _lay_out(self) -> None:
        self._form = form = QFormLayout()
        form.setVerticalSpacing(12)
        form.setHorizontalSpacing(18)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for label, field in (
            ("Theme", self.theme),
            ("Model", self.reads),
            ("Slice", self.texts),
            ("", self.hides),
            ("Cine", self.speed),
            ("Keys", self.keys),
            ("Log", self.log),
        ):
            self.add_row(label, field)
        note = QLabel("The log and the settings hold no names of patients, files or folders.")
        note.setProperty("role", "muted")
        note.setWordWrap(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 14)
        layout.setSpacing(14)
        layout.addLayout(form)
        layout.addWidget(note)
        layout.addStretch()
        layout.addWidget(buttons)

    def add_row(self, label: str, field: QWidget) -> None:
        """Adds a setting of another part of the window below the others."""
        self._form.addRow(label, field)
        field.setAccessibleName(f"{label} {getattr(field, 'text', str)()}".strip())

    def _set_theme(self, index: int) -> None:
        self._settings.theme = list(Theme)[index]
        app = QApplication.instance()
        if isinstance(app, QApplication):
            apply_theme(app, self._settings.theme)

    def _set_speed(self, index: int) -> None:
        self._settings.cine_hz = SPEEDS_HZ[index]
        self._cine.change_speed(index - SPEEDS_HZ.index(self._cine.speed_hz))

    def _set_reads(self, yes: bool) -> None:
        self._settings.reads_unasked = self._session.reads_unasked = yes

    def _set_texts(self, yes: bool) -> None:
        self._settings.shows_texts = yes
        self._session.set_options(shows_texts=yes)

    def _set_hides(self, yes: bool) -> None:
        self._settings.hides_identifiers = yes
        self._session.set_options(hides_identifiers=yes)
