"""Measurements and key images, kept beside the labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sadmil_core.labels.names import SliceName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sadmil_core.labels.database import LabelDatabase

KEY_IMAGE = "key image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Something drawn on a slice.

    Attributes:
        uid: Its own name.
        slice: The slice.
        kind: What it is; :data:`KEY_IMAGE` for a mark without points.
        points: (row, column) in pixels, pixel centres at whole numbers.
    """

    uid: str
    slice: SliceName
    kind: str
    points: tuple[tuple[float, float], ...] = ()


class DrawingStore:
    """The drawings of all series.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: LabelDatabase) -> None:
        self._database = database

    def of(self, series: str) -> tuple[Drawing, ...]:
        """The drawings of a series, in the order they were made; damaged ones are left out.

        Args:
            series: The series' hash.

        Raises:
            LabelError, WriteError: The database cannot be used.
        """
        query = (
            "SELECT uid, instance, frame, kind, points FROM drawing WHERE series = ? "
            "ORDER BY at, rowid"
        )
        with self._database.transaction() as database:
            rows = database.execute(query, (series,)).fetchall()
        found = []
        for uid, instance, frame, kind, text in rows:
            try:
                points = tuple((float(row), float(column)) for row, column in json.loads(text))
            except (ValueError, TypeError):
                continue
            name = SliceName(instance, frame)
            found.append(Drawing(uid=uid, slice=name, kind=kind, points=points))
        return tuple(found)

    def change(self, series: str, gone: Iterable[str], put: Iterable[Drawing]) -> None:
        """Removes and writes drawings of a series as one step; those of one uid are replaced.

        Raises:
            LabelError, WriteError: Nothing was changed.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._database.transaction() as database:
            database.executemany("DELETE FROM drawing WHERE uid = ?", [(uid,) for uid in gone])
            database.executemany(
                "INSERT INTO drawing (uid, series, instance, frame, kind, points, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (uid) DO UPDATE SET points = excluded.points",
                [
                    (d.uid, series, d.slice.instance, d.slice.frame, d.kind, _text(d), at)
                    for d in put
                ],
            )


def _text(drawing: Drawing) -> str:
    return json.dumps([list(point) for point in drawing.points])
