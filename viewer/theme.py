"""Colours, fonts and the style sheet of the dark theme.

One accent (blue) for what is selected or can be done, one signal colour (amber) for what the
model or the reader should look at: told apart with any kind of colour vision. Text colours
reach a contrast of 4.5:1 on every surface they stand on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QColor, QFont, QPalette

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

GROUND = "#121417"
PANEL = "#1a1d21"
RAISED = "#262b31"
HOVER = "#20242a"
LINE = "#3a424b"
TEXT = "#e4e8ec"
MUTED = "#a3adb8"
ACCENT = "#58a6ff"
SIGNAL = "#ffb347"
ON_SIGNAL = "#1a1d21"

_FAMILIES = ["Inter", "Segoe UI", "SF Pro Text", "Noto Sans", "DejaVu Sans", "Sans Serif"]
_POINT_SIZE = 10

STYLE = f"""
QWidget {{ background: {PANEL}; color: {TEXT}; }}
QMainWindow, QSplitter::handle {{ background: {GROUND}; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {LINE}; padding: 4px; }}
QMenuBar, QMenu {{ background: {PANEL}; }}
QMenuBar::item {{ padding: 4px 9px; background: transparent; }}
QMenuBar::item:selected, QMenu::item:selected {{ background: {RAISED}; }}
QMenu {{ border: 1px solid {LINE}; }}
QMenu::item {{ padding: 5px 26px 5px 22px; }}
QMenu::item:disabled {{ color: #7d8792; }}
QMenu::separator {{ height: 1px; background: {LINE}; margin: 4px 8px; }}
QToolBar {{ background: {PANEL}; border: 0; border-bottom: 1px solid {GROUND}; spacing: 4px;
  padding: 5px 8px; }}
QToolBar::separator {{ width: 1px; background: {LINE}; margin: 4px 6px; }}
QToolBar QToolButton#qt_toolbar_ext_button {{ background: {LINE}; min-width: 14px; }}
QToolButton, QPushButton {{ background: transparent; border: 1px solid transparent;
  border-radius: 4px; padding: 5px 7px; }}
QPushButton {{ background: {RAISED}; border-color: {LINE}; }}
QToolButton:hover, QPushButton:hover {{ background: {RAISED}; border-color: {LINE}; }}
QToolButton:pressed, QPushButton:pressed {{ background: {LINE}; }}
QToolButton:checked {{ background: #1d3a5c; border-color: {ACCENT}; }}
QToolButton:disabled, QPushButton:disabled {{ color: #7d8792; border-color: transparent; }}
QToolButton:focus, QPushButton:focus, QComboBox:focus {{ border-color: {ACCENT}; }}
QComboBox {{ background: {RAISED}; border: 1px solid {LINE}; border-radius: 4px;
  padding: 4px 8px; }}
QComboBox QAbstractItemView {{ background: {RAISED}; border: 1px solid {LINE};
  selection-background-color: #1d3a5c; }}
QListView {{ border: 0; outline: 0; }}
QTreeView {{ background: {GROUND}; border: 1px solid {LINE}; }}
QTreeView::item {{ padding: 2px; }}
QTreeView::item:selected {{ background: {RAISED}; color: {TEXT}; }}
QHeaderView::section {{ background: {PANEL}; color: {MUTED}; border: 0; padding: 4px 6px; }}
QTextBrowser[role="notes"] {{ background: {PANEL}; border: 0; }}
QProgressBar {{ background: {RAISED}; border: 0; border-radius: 3px; text-align: center;
  min-height: 18px; }}
QProgressBar::chunk {{ background: #2b5f96; border-radius: 3px; }}
QSlider::groove:vertical {{ background: {RAISED}; width: 4px; border-radius: 2px; }}
QSlider::handle:vertical {{ background: {ACCENT}; height: 14px; margin: 0 -5px;
  border-radius: 7px; }}
QSlider::handle:vertical:disabled {{ background: {LINE}; }}
QScrollBar:vertical {{ background: transparent; width: 9px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {LINE}; border-radius: 4px; min-height: 24px; }}
QScrollBar:horizontal {{ background: transparent; height: 9px; margin: 0; }}
QScrollBar::handle:horizontal {{ background: {LINE}; border-radius: 4px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
  background: transparent; height: 0; width: 0; }}
QPlainTextEdit {{ background: {GROUND}; border: 1px solid {LINE}; border-radius: 4px; }}
QLabel[role="heading"] {{ color: {MUTED}; font-weight: 600; padding: 6px 10px; }}
QLabel[role="muted"] {{ color: {MUTED}; }}
QLabel[role="notice"] {{ color: {SIGNAL}; }}
QLabel[role="research"] {{ color: {TEXT}; font-weight: 600; border: 1px solid {LINE};
  border-radius: 4px; padding: 3px 10px; }}
QLabel[role="signal"] {{ background: {SIGNAL}; color: {ON_SIGNAL}; font-weight: 700;
  border-radius: 4px; padding: 4px 12px; }}
QLabel[role="outlined"] {{ background: {PANEL}; color: {SIGNAL}; font-weight: 700;
  border-radius: 4px; padding: 4px 12px; border: 1px solid {SIGNAL}; }}
QLabel[role="clear"] {{ background: {RAISED}; color: {TEXT}; font-weight: 700;
  border-radius: 4px; padding: 4px 12px; border: 1px solid {LINE}; }}
"""


def apply_theme(app: QApplication) -> None:
    """Gives the whole application the dark theme."""
    app.setStyle("Fusion")
    font = QFont(_FAMILIES)
    font.setPointSize(_POINT_SIZE)
    app.setFont(font)
    palette = QPalette()
    for role, colour in (
        (QPalette.ColorRole.Window, PANEL),
        (QPalette.ColorRole.Base, GROUND),
        (QPalette.ColorRole.AlternateBase, PANEL),
        (QPalette.ColorRole.Button, RAISED),
        (QPalette.ColorRole.WindowText, TEXT),
        (QPalette.ColorRole.Text, TEXT),
        (QPalette.ColorRole.ButtonText, TEXT),
        (QPalette.ColorRole.ToolTipBase, RAISED),
        (QPalette.ColorRole.ToolTipText, TEXT),
        (QPalette.ColorRole.PlaceholderText, MUTED),
        (QPalette.ColorRole.Highlight, ACCENT),
        (QPalette.ColorRole.HighlightedText, GROUND),
        (QPalette.ColorRole.Link, ACCENT),
    ):
        palette.setColor(role, QColor(colour))
    app.setPalette(palette)
    app.setStyleSheet(STYLE)


def tabular(font: QFont) -> QFont:
    """The font with figures of equal width, so that changing numbers do not jump."""
    steady = QFont(font)
    if hasattr(steady, "setFeature"):
        steady.setFeature(QFont.Tag("tnum"), 1)
    return steady
