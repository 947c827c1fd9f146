"""Colours, fonts and style sheets of the themes: dark, light and high contrast.

One accent for what is selected or can be done, one signal colour for what the model or the reader
should look at: told apart with any kind of colour vision. Text reaches a contrast of 4.5:1 (7:1 in
high contrast) on every surface it stands on. The colours of the theme in force are attributes of
this module (``theme.TEXT``); what stands on the slice itself, which is black in every theme, has
colours of its own (``theme.IMAGE_TEXT``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from PySide6.QtGui import QColor, QFont, QPalette

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication


class Theme(StrEnum):
    """The themes, by the names they are stored under."""

    DARK = "dark"
    LIGHT = "light"
    HIGH_CONTRAST = "high contrast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """The colours of a theme.

    Attributes:
        ground: Behind everything, and of plots.
        panel: Of panels, menus and bars.
        raised: Of buttons, fields and what is selected.
        hover: Under the pointer.
        checked: Of what is switched on.
        bar: Of progress.
        line: Of edges.
        text: Of text.
        muted: Of text that matters less.
        disabled: Of text of what is not possible now.
        accent: Of what is selected or can be done.
        signal: Of what should be looked at; text and area.
        on_signal: Of text on an area of ``signal``.
    """

    ground: str
    panel: str
    raised: str
    hover: str
    checked: str
    bar: str
    line: str
    text: str
    muted: str
    disabled: str
    accent: str
    signal: str
    on_signal: str


THEMES = {
    Theme.DARK: Colours(
        ground="#121417",
        panel="#1a1d21",
        raised="#262b31",
        hover="#20242a",
        checked="#1d3a5c",
        bar="#2b5f96",
        line="#3a424b",
        text="#e4e8ec",
        muted="#a3adb8",
        disabled="#7d8792",
        accent="#58a6ff",
        signal="#ffb347",
        on_signal="#1a1d21",
    ),
    Theme.LIGHT: Colours(
        ground="#ffffff",
        panel="#f3f5f7",
        raised="#e2e7ec",
        hover="#e9edf1",
        checked="#c9e0f9",
        bar="#3d7fc4",
        line="#aeb8c2",
        text="#15181c",
        muted="#4a545e",
        disabled="#6c7680",
        accent="#0b5cad",
        signal="#8f4500",
        on_signal="#ffffff",
    ),
    Theme.HIGH_CONTRAST: Colours(
        ground="#000000",
        panel="#000000",
        raised="#1e1e1e",
        hover="#141414",
        checked="#003d66",
        bar="#5cc8ff",
        line="#ffffff",
        text="#ffffff",
        muted="#e6e6e6",
        disabled="#a8a8a8",
        accent="#5cc8ff",
        signal="#ffd84d",
        on_signal="#000000",
    ),
}

IMAGE_TEXT, IMAGE_MUTED = "#e4e8ec", "#a3adb8"
IMAGE_SIGNAL, IMAGE_ON_SIGNAL = "#ffb347", "#1a1d21"
IMAGE_DRAWN, IMAGE_PICKED = "#63e6be", "#ffffff"
"""On the slice: text, the model's mark, and measurements, drawn and picked."""
IMAGE_VEIL = 190
"""How opaque (of 255) the black behind texts on the slice is: they are read on white, too."""

_in_force = THEMES[Theme.DARK]


def __getattr__(name: str) -> str:
    """A colour of the theme in force, by its name in capitals."""
    if not name.isupper() or name.lower() not in Colours.__slots__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return str(getattr(_in_force, name.lower()))


_FAMILIES = ["Inter", "Segoe UI", "SF Pro Text", "Noto Sans", "DejaVu Sans", "Sans Serif"]
_POINT_SIZE = 10


def style_sheet(colours: Colours) -> str:
    """The style sheet of a theme."""
    c = colours
    return f"""
QWidget {{ background: {c.panel}; color: {c.text}; }}
QMainWindow, QSplitter::handle {{ background: {c.ground}; }}
QToolTip {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.line}; padding: 4px; }}
QMenuBar, QMenu {{ background: {c.panel}; }}
QMenuBar::item {{ padding: 4px 9px; background: transparent; }}
QMenuBar::item:selected, QMenu::item:selected {{ background: {c.raised}; }}
QMenu {{ border: 1px solid {c.line}; }}
QMenu::item {{ padding: 5px 26px 5px 22px; }}
QMenu::item:disabled {{ color: {c.disabled}; }}
QMenu::separator {{ height: 1px; background: {c.line}; margin: 4px 8px; }}
QToolBar {{ background: {c.panel}; border: 0; border-bottom: 1px solid {c.ground}; spacing: 4px;
  padding: 5px 8px; }}
QToolBar::separator {{ width: 1px; background: {c.line}; margin: 4px 6px; }}
QToolBar QToolButton#qt_toolbar_ext_button {{ background: {c.line}; min-width: 14px; }}
QToolButton, QPushButton {{ background: transparent; border: 1px solid transparent;
  border-radius: 4px; padding: 5px 7px; }}
QToolButton[popupMode="2"] {{ padding-right: 20px; }}
QToolButton::menu-indicator {{ subcontrol-position: right center; right: 5px; }}
QPushButton {{ background: {c.raised}; border-color: {c.line}; }}
#imageText {{ color: {IMAGE_MUTED}; background: transparent; }}
QPushButton[role="label"], QPushButton[role="chip"] {{ padding: 3px 4px; }}
QPushButton:checked {{ background: {c.checked}; border-color: {c.accent}; }}
QToolButton:hover, QPushButton:hover {{ background: {c.raised}; border-color: {c.line}; }}
QToolButton:pressed, QPushButton:pressed {{ background: {c.line}; }}
QToolButton:checked {{ background: {c.checked}; border-color: {c.accent}; }}
QToolButton:disabled, QPushButton:disabled {{ color: {c.disabled}; border-color: transparent; }}
QToolButton:focus, QPushButton:focus, QComboBox:focus {{ border-color: {c.accent}; }}
QComboBox {{ background: {c.raised}; border: 1px solid {c.line}; border-radius: 4px;
  padding: 4px 8px; }}
QComboBox QAbstractItemView {{ background: {c.raised}; border: 1px solid {c.line};
  selection-background-color: {c.checked}; }}
QTreeWidget::item {{ padding: 3px; }}
QCheckBox, QRadioButton {{ background: transparent; spacing: 8px; padding: 2px;
  border: 1px solid transparent; border-radius: 4px; }}
QCheckBox:focus, QRadioButton:focus {{ border-color: {c.accent}; }}
QRadioButton:disabled {{ color: {c.disabled}; }}
QRadioButton::indicator {{ width: 13px; height: 13px; border: 1px solid {c.muted};
  border-radius: 7px; background: {c.ground}; }}
QRadioButton::indicator:checked {{ width: 7px; height: 7px; border: 4px solid {c.accent};
  border-radius: 7px; background: {c.ground}; }}
QRadioButton::indicator:disabled {{ border-color: {c.line}; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border: 1px solid {c.muted};
  border-radius: 3px; background: {c.ground}; }}
QCheckBox::indicator:checked {{ width: 7px; height: 7px; border: 4px solid {c.accent};
  background: {c.ground}; }}
QLineEdit, QKeySequenceEdit QLineEdit {{ background: {c.ground}; border: 1px solid {c.line};
  border-radius: 4px; padding: 4px 6px; }}
QLineEdit:focus {{ border-color: {c.accent}; }}
QListView {{ border: 0; outline: 0; }}
QTreeView {{ background: {c.ground}; border: 1px solid {c.line}; }}
QTreeView::item {{ padding: 2px; }}
QTableView::item {{ padding: 0 8px; }}
QTreeView::item:selected {{ background: {c.raised}; color: {c.text}; }}
QHeaderView::section {{ background: {c.panel}; color: {c.muted}; border: 0; padding: 4px 6px; }}
QTextBrowser[role="notes"] {{ background: {c.panel}; border: 0; }}
QProgressBar {{ background: {c.raised}; border: 0; border-radius: 3px; text-align: center;
  min-height: 18px; }}
QProgressBar::chunk {{ background: {c.bar}; border-radius: 3px; }}
QSlider::groove:vertical {{ background: {c.raised}; width: 4px; border-radius: 2px; }}
QSlider::handle:vertical {{ background: {c.accent}; height: 14px; margin: 0 -5px;
  border-radius: 7px; }}
QSlider::handle:vertical:disabled {{ background: {c.line}; }}
QScrollBar:vertical {{ background: transparent; width: 9px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {c.line}; border-radius: 4px; min-height: 24px; }}
QScrollBar:horizontal {{ background: transparent; height: 9px; margin: 0; }}
QScrollBar::handle:horizontal {{ background: {c.line}; border-radius: 4px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
  background: transparent; height: 0; width: 0; }}
QPlainTextEdit {{ background: {c.ground}; border: 1px solid {c.line}; border-radius: 4px; }}
QLabel[role="heading"] {{ color: {c.muted}; font-weight: 600; padding: 6px 10px; }}
QLabel[role="muted"] {{ color: {c.muted}; }}
QLabel[role="notice"] {{ color: {c.signal}; }}
QLabel[role="research"] {{ color: {c.text}; font-weight: 600; border: 1px solid {c.line};
  border-radius: 4px; padding: 3px 10px; }}
QLabel[role="signal"] {{ background: {c.signal}; color: {c.on_signal}; font-weight: 700;
  border-radius: 4px; padding: 4px 12px; }}
QLabel[role="outlined"] {{ background: {c.panel}; color: {c.signal}; font-weight: 700;
  border-radius: 4px; padding: 4px 12px; border: 1px solid {c.signal}; }}
QLabel[role="clear"] {{ background: {c.raised}; color: {c.text}; font-weight: 700;
  border-radius: 4px; padding: 4px 12px; border: 1px solid {c.line}; }}
"""


def apply_theme(app: QApplication, theme: Theme = Theme.DARK) -> None:
    """Gives the whole application a theme; windows that are open change with it."""
    global _in_force
    c = _in_force = THEMES[theme]
    app.setStyle("Fusion")
    font = QFont(_FAMILIES)
    font.setPointSize(_POINT_SIZE)
    app.setFont(font)
    palette = QPalette()
    for role, colour in (
        (QPalette.ColorRole.Window, c.panel),
        (QPalette.ColorRole.Base, c.ground),
        (QPalette.ColorRole.AlternateBase, c.panel),
        (QPalette.ColorRole.Button, c.raised),
        (QPalette.ColorRole.WindowText, c.text),
        (QPalette.ColorRole.Text, c.text),
        (QPalette.ColorRole.ButtonText, c.text),
        (QPalette.ColorRole.ToolTipBase, c.raised),
        (QPalette.ColorRole.ToolTipText, c.text),
        (QPalette.ColorRole.PlaceholderText, c.muted),
        (QPalette.ColorRole.Highlight, c.accent),
        (QPalette.ColorRole.HighlightedText, c.ground),
        (QPalette.ColorRole.Link, c.accent),
    ):
        palette.setColor(role, QColor(colour))
    app.setPalette(palette)
    app.setStyleSheet(style_sheet(c))


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        known = QColor(colour)
        parts = known.redF(), known.greenF(), known.blueF()
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else float(((p + 0.055) / 1.055) ** 2.4) for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def tabular(font: QFont) -> QFont:
    """The font with figures of equal width, so that changing numbers do not jump."""
    steady = QFont(font)
    if hasattr(steady, "setFeature"):
        steady.setFeature(QFont.Tag("tnum"), 1)
    return steady
