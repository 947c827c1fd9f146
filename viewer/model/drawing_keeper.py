"""Keeps measurements and key images: each change at once, found again when the series is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from sadmil_core.errors import SadmilError
from sadmil_core.labels import Drawing, DrawingStore, slice_names
from sadmil_core.labels.drawings import KEY_IMAGE
from viewer.model.annotations import MeasureKind, Measurement, SliceKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sadmil_core.dicom import StackEntry
    from sadmil_core.labels import SliceName
    from viewer.model.session import Session


class DrawingKeeper(QObject):
    """Follows what is drawn on the series that is shown.

    Args:
        session: Whose series and annotations they are.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session, self._annotations = session, session.annotations
        self._store = DrawingStore(session.labels.database)
        self._kept: dict[str, Drawing] = {}
        self._names: dict[SliceKey, SliceName] = {}
        self._series = ""
        self._is_adopting = False
        session.annotations.changed.connect(self._keep)

    def recall(self, entry: StackEntry) -> None:
        """Brings back what was drawn on a stack, and keeps from now on what is."""
        self._series, self._names, self._kept = "", {}, {}
        try:
            self._find(entry)
        except SadmilError:
            self._series = ""  # the label desk has said what is wrong with the database

    def _find(self, entry: StackEntry) -> None:
        hashes = self._session.labels.hashes
        keys = [SliceKey.of(header) for header in entry.slices]
        names = slice_names(entry, hashes)
        self._series = f"{hashes.of(entry.series_instance_uid)}/{entry.stack_index}"
        self._names = dict(zip(keys, names, strict=True))
        found = self._store.of(self._series)
        self._kept = {drawing.uid: drawing for drawing in found}
        places = dict(zip(names, keys, strict=True))
        known = [(d, places[d.slice]) for d in found if d.slice in places]
        self._is_adopting = True
        try:
            self._annotations.adopt(
                [m for d, key in known if (m := _measurement(d, key)) is not None],
                [key for drawing, key in known if drawing.kind == KEY_IMAGE],
            )
        finally:
            self._is_adopting = False

    def _keep(self) -> None:
        """Writes what differs from what is kept of this series."""
        if self._is_adopting or not self._series:
            return
        now = {drawing.uid: drawing for drawing in self._drawings()}
        gone = self._kept.keys() - now.keys()
        put = [drawing for uid, drawing in now.items() if self._kept.get(uid) != drawing]
        if not gone and not put:
            return
        try:
            self._store.change(self._series, sorted(gone), put)
        except SadmilError as error:
            self._session.failed.emit(error)
            return
        self._kept = now

    def _drawings(self) -> Iterator[Drawing]:
        for each in self._annotations.measurements:
            name = self._names.get(each.slice)
            if name is not None:
                yield Drawing(uid=each.uid, slice=name, kind=str(each.kind), points=each.points)
        for key in self._annotations.key_images:
            name = self._names.get(key)
            if name is not None:
                uid = f"{self._series}/{name.instance}/{name.frame}"
                yield Drawing(uid=uid, slice=name, kind=KEY_IMAGE)


def _measurement(drawing: Drawing, key: SliceKey) -> Measurement | None:
    """The drawing as a measurement; None where it is none that this program knows."""
    try:
        kind = MeasureKind(drawing.kind)
        return Measurement(slice=key, kind=kind, points=drawing.points, uid=drawing.uid)
    except ValueError:
        return None
