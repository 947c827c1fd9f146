"""What the window remembers between runs: nothing that could name a patient."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QSettings


class Settings:
    """A typed face of QSettings.

    Folder paths are not kept: they often hold names.
    """

    def __init__(self, store: QSettings | None = None) -> None:
        self._store = store or QSettings("sadmil", "sadmil-viewer")

    @property
    def geometry(self) -> QByteArray | None:
        """Place and size of the window when it was last closed."""
        value = self._store.value("window/geometry")
        return value if isinstance(value, QByteArray) else None

    @geometry.setter
    def geometry(self, value: QByteArray) -> None:
        self._store.setValue("window/geometry", value)

    @property
    def model(self) -> str:
        """The name of the model chosen last; empty for the default."""
        return str(self._store.value("model/name", "") or "")

    @model.setter
    def model(self, name: str) -> None:
        self._store.setValue("model/name", name)
