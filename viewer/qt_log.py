"""Qt's own messages go to the program's log instead of the terminal."""

from __future__ import annotations

import logging

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

_log = logging.getLogger("qt")
_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}
# The offscreen platform says this of every window it is given; it means nothing.
_MEANINGLESS = "does not support propagateSizeHints"


def quiet_qt() -> None:
    """Sends Qt's messages to the ``qt`` logger."""
    qInstallMessageHandler(_handle)


def _handle(kind: QtMsgType, _context: QMessageLogContext, message: str) -> None:
    level = logging.DEBUG if _MEANINGLESS in message else _LEVELS.get(kind, logging.WARNING)
    _log.log(level, message)
