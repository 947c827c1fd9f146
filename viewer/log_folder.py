"""The way to the log, for who is to report a fault."""

from __future__ import annotations

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from sadmil_core.atomic import make_folder
from sadmil_core.paths import log_dir


def open_log_folder() -> None:
    """Shows the folder of the log in the desktop's file manager.

    Raises:
        WriteError: There is none, and none can be made.
    """
    folder = log_dir()
    make_folder(folder)
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
