"""What the window remembers between runs: nothing that could name a patient."""

from __future__ import annotations

import json

from PySide6.QtCore import QByteArray, QSettings

from viewer.theme import Theme

_DEFAULT_CINE_HZ = 10.0


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

    @property
    def theme(self) -> Theme:
        """The theme; dark unless another was chosen."""
        try:
            return Theme(str(self._store.value("window/theme", "")))
        except ValueError:
            return Theme.DARK

    @theme.setter
    def theme(self, theme: Theme) -> None:
        self._store.setValue("window/theme", str(theme))

    @property
    def reads_unasked(self) -> bool:
        """Whether the model starts as soon as a series is open."""
        return self._flag("model/reads_unasked", True)

    @reads_unasked.setter
    def reads_unasked(self, yes: bool) -> None:
        self._store.setValue("model/reads_unasked", yes)

    @property
    def shows_texts(self) -> bool:
        """Whether the corners of the slice have their texts."""
        return self._flag("view/shows_texts", True)

    @shows_texts.setter
    def shows_texts(self, yes: bool) -> None:
        self._store.setValue("view/shows_texts", yes)

    @property
    def hides_identifiers(self) -> bool:
        """Whether patients stay unnamed on screen."""
        return self._flag("view/hides_identifiers", False)

    @hides_identifiers.setter
    def hides_identifiers(self, yes: bool) -> None:
        self._store.setValue("view/hides_identifiers", yes)

    @property
    def reader(self) -> str:
        """Who reads: what labels are kept under; empty where nobody was named."""
        return str(self._store.value("labels/reader", "") or "")

    @reader.setter
    def reader(self, name: str) -> None:
        self._store.setValue("labels/reader", name)

    @property
    def reads_first(self) -> bool:
        """Whether what models say is hidden until the reader has marked the scan."""
        return self._flag("labels/reads_first", False)

    @reads_first.setter
    def reads_first(self, yes: bool) -> None:
        self._store.setValue("labels/reads_first", yes)

    @property
    def cine_hz(self) -> float:
        """The speed of cine, slices a second."""
        try:
            return float(str(self._store.value("view/cine_hz", _DEFAULT_CINE_HZ)))
        except ValueError:
            return _DEFAULT_CINE_HZ

    @cine_hz.setter
    def cine_hz(self, speed_hz: float) -> None:
        self._store.setValue("view/cine_hz", speed_hz)

    @property
    def bindings(self) -> dict[str, list[str]]:
        """The keys and gestures the user has chosen, by command; what cannot be read is left."""
        try:
            stored = json.loads(str(self._store.value("window/bindings", "{}")))
            return {str(name): [str(b) for b in chosen] for name, chosen in stored.items()}
        except (ValueError, AttributeError, TypeError):
            return {}

    @bindings.setter
    def bindings(self, chosen: dict[str, list[str]]) -> None:
        self._store.setValue("window/bindings", json.dumps(chosen))

    def _flag(self, key: str, usual: bool) -> bool:
        # Files of settings hold texts, not truth values.
        return str(self._store.value(key, usual)).lower() == "true"
