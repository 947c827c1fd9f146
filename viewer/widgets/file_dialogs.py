"""File dialogs after which Qt's own settings name no folder they were in."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QFileDialog, QWidget


def ask_folder(parent: QWidget, title: str) -> Path | None:
    """Asks for a folder; None if the user thinks better of it."""
    return _path(QFileDialog.getExistingDirectory(parent, title))


def ask_file(parent: QWidget, title: str, kinds: str = "") -> Path | None:
    """Asks for an existing file."""
    return _path(QFileDialog.getOpenFileName(parent, title, filter=kinds)[0])


def ask_save(parent: QWidget, title: str, name: str, kinds: str) -> Path | None:
    """Asks where to write a file; ``name`` is offered."""
    return _path(QFileDialog.getSaveFileName(parent, title, name, kinds)[0])


def _path(chosen: str) -> Path | None:
    _forget_folders()
    return Path(chosen) if chosen else None


def _forget_folders() -> None:
    """Removes what Qt's own dialog has just noted on disk: folder names often hold patients'."""
    store = QSettings(QSettings.Scope.UserScope, "QtProject")
    for key in ("FileDialog/lastVisited", "FileDialog/history"):
        store.remove(key)
