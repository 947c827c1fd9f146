"""Keeps measurements and key images: each change at once, found again when the series is opened."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(slots=True)
class _Series:
    """A series that was shown: what its slices are called, and what is kept of it."""

    names: dict[SliceKey, SliceName]
    kept: dict[str, Drawing]


class DrawingKeeper(QObject):
    """Follows what is drawn, on the series that is shown or, by undoing, on one that was.

    Args:
        session: Whose series and annotations they are.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session, self._annotations = session, session.annotations
        self._store = DrawingStore(session.labels.database)
        self._series: dict[str, _Series] = {}
        self._is_adopting = False
        session.annotations.changed.connect(self._keep)

    def recall(self, entry: StackEntry) -> None:
        """Brings back what was drawn on a stack, and keeps from now on what is."""
        try:
            self._find(entry)
        except SadmilError:
            return  # the label desk has said what is wrong with the database

    def _find(self, entry: StackEntry) -> None:
        hashes = self._session.labels.hashes
        keys = [SliceKey.of(header) for header in entry.slices]
        names = slice_names(entry, hashes)
        series = f"{hashes.of(entry.series_instance_uid)}/{entry.stack_index}"
        found = self._store.of(series)
        self._series[series] = _Series(
            names=dict(zip(keys, names, strict=True)),
            kept={drawing.uid: drawing for drawing in found},
        )
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
        """Writes what differs from what is kept."""
        if self._is_adopting:
            return
        for name, series in self._series.items():
            now = {drawing.uid: drawing for drawing in self._drawings(name, series)}
            # Of kinds and slices that are not known here, nothing is ever removed.
            shown = {
                uid
                for uid, drawing in series.kept.items()
                if drawing.slice in series.names.values() and _is_known(drawing)
            }
            gone = shown - now.keys()
            put = [drawing for uid, drawing in now.items() if series.kept.get(uid) != drawing]
            if not gone and not put:
                continue
            try:
                self._store.change(name, sorted(gone), put)
            except SadmilError as error:
                self._session.failed.emit(error)
                return
            series.kept = {u: d for u, d in series.kept.items() if u not in gone} | now

    def _drawings(self, name: str, series: _Series) -> Iterator[Drawing]:
        for each in self._annotations.measurements:
            place = series.names.get(each.slice)
            if place is not None:
                yield Drawing(uid=each.uid, slice=place, kind=str(each.kind), points=each.points)
        for key in self._annotations.key_images:
            place = series.names.get(key)
            if place is not None:
                uid = f"{name}/{place.instance}/{place.frame}"
                yield Drawing(uid=uid, slice=place, kind=KEY_IMAGE)


def _is_known(drawing: Drawing) -> bool:
    return drawing.kind == KEY_IMAGE or drawing.kind in list(MeasureKind)


def _measurement(drawing: Drawing, key: SliceKey) -> Measurement | None:
    """The drawing as a measurement; None where it is none that this program knows."""
    try:
        kind = MeasureKind(drawing.kind)
        return Measurement(slice=key, kind=kind, points=drawing.points, uid=drawing.uid)
    except ValueError:
        return None
