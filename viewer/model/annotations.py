"""What the reader draws on slices: measurements and key images, with undo.

Each belongs to a slice by its UIDs, not by its place in a list: it stays there whichever way the
series is sorted or loaded.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sadmil_core.dicom import SliceHeader
    from sadmil_core.measure import Point


class MeasureKind(StrEnum):
    """What can be drawn."""

    DISTANCE = "distance"
    ANGLE = "angle"
    ELLIPSE = "ellipse"
    RECTANGLE = "rectangle"

    @property
    def point_count(self) -> int:
        """How many points define it: ends, legs and vertex, or opposite corners."""
        return 3 if self is MeasureKind.ANGLE else 2

    @property
    def is_region(self) -> bool:
        """Whether it encloses pixels."""
        return self in (MeasureKind.ELLIPSE, MeasureKind.RECTANGLE)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SliceKey:
    """A slice by what its file calls it; ``frame`` is 0 where the file has a single one."""

    series_uid: str
    sop_uid: str
    frame: int = 0

    @classmethod
    def of(cls, header: SliceHeader) -> SliceKey:
        """The key of a slice."""
        return cls(
            series_uid=header.series_instance_uid,
            sop_uid=header.sop_instance_uid,
            frame=header.frame_number or 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A drawing on one slice.

    Attributes:
        slice: The slice.
        kind: What it is.
        points: (row, column) in pixels, pixel centres at whole numbers; an angle's vertex is
            the second.
        uid: Its own name.
    """

    slice: SliceKey
    kind: MeasureKind
    points: tuple[Point, ...]
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if len(self.points) != self.kind.point_count:
            raise ValueError(f"a {self.kind} has {self.kind.point_count} points")
        if not all(math.isfinite(part) for point in self.points for part in point):
            raise ValueError("points are finite numbers")


class Annotations(QObject):
    """All measurements and key images of this run, and the steps that led to them."""

    changed = Signal()
    """Something was drawn, moved, deleted, marked, undone or loaded."""
    revisited = Signal(object)
    """The SliceKey on which a step was just undone or done again."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.undo_stack = QUndoStack(self)
        self._measurements: dict[str, Measurement] = {}
        self._key_images: set[SliceKey] = set()

    def on(self, key: SliceKey) -> tuple[Measurement, ...]:
        """The measurements of a slice, in the order they were drawn."""
        return tuple(m for m in self._measurements.values() if m.slice == key)

    def is_key_image(self, key: SliceKey) -> bool:
        """Whether the reader has marked a slice."""
        return key in self._key_images

    def get(self, uid: str) -> Measurement | None:
        """A measurement by its name."""
        return self._measurements.get(uid)

    def add(self, measurement: Measurement) -> None:
        """Draws a measurement; can be undone."""
        uid = measurement.uid
        self.do(
            f"Add {measurement.kind}",
            measurement.slice,
            lambda: self._put(measurement),
            lambda: self._drop(uid),
        )

    def move(self, uid: str, points: Sequence[Point]) -> None:
        """Gives a measurement other points; can be undone."""
        before = self._measurements[uid]
        after = replace(before, points=tuple(points))
        if after != before:
            self.do(
                f"Move {before.kind}",
                before.slice,
                lambda: self._put(after),
                lambda: self._put(before),
            )

    def remove(self, uid: str) -> None:
        """Deletes a measurement; can be undone."""
        gone = self._measurements[uid]
        self.do(
            f"Delete {gone.kind}",
            gone.slice,
            lambda: self._drop(uid),
            lambda: self._put(gone),
        )

    def remove_all_on(self, key: SliceKey) -> None:
        """Deletes the measurements of a slice as one step."""
        gone = self.on(key)
        if not gone:
            return
        self.undo_stack.beginMacro("Delete all measurements of the slice")
        for each in gone:
            self.remove(each.uid)
        self.undo_stack.endMacro()

    def toggle_key_image(self, key: SliceKey) -> None:
        """Marks a slice as a key image, or takes the mark away; can be undone."""
        is_marked = key in self._key_images
        self.do(
            "Unmark key image" if is_marked else "Mark key image",
            key,
            lambda: self._mark(key, not is_marked),
            lambda: self._mark(key, is_marked),
        )

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All of them, in the order they were drawn."""
        return tuple(self._measurements.values())

    @property
    def key_images(self) -> frozenset[SliceKey]:
        """All slices the reader has marked."""
        return frozenset(self._key_images)

    def adopt(self, measurements: Iterable[Measurement], key_images: Iterable[SliceKey]) -> None:
        """Adds what was kept by an earlier run; no step to be undone."""
        self._measurements |= {m.uid: m for m in measurements}
        self._key_images |= set(key_images)
        self.changed.emit()

    def do(
        self, text: str, key: SliceKey, redo: Callable[[], None], undo: Callable[[], None]
    ) -> None:
        """Carries out a change of whatever the reader says, so that it can be undone.

        Args:
            text: What it is called.
            key: The slice it is about.
            redo: Makes the change.
            undo: Takes it back.
        """
        self.undo_stack.push(_Step(self, text, key, redo, undo))

    # -- steps --------------------------------------------------------------------------------

    def _put(self, measurement: Measurement) -> None:
        self._measurements[measurement.uid] = measurement

    def _drop(self, uid: str) -> None:
        del self._measurements[uid]

    def _mark(self, key: SliceKey, marked: bool) -> None:
        (self._key_images.add if marked else self._key_images.discard)(key)


class _Step(QUndoCommand):
    """One change, forwards and backwards."""

    def __init__(
        self,
        owner: Annotations,
        text: str,
        key: SliceKey,
        redo: Callable[[], None],
        undo: Callable[[], None],
    ) -> None:
        super().__init__(text)
        self._owner, self._key = owner, key
        self._redo, self._undo = redo, undo
        self._is_new = True

    def redo(self) -> None:
        """Makes the change: the first time as it is pushed, later on request."""
        self._redo()
        self._tell()

    def undo(self) -> None:
        """Takes the change back."""
        self._undo()
        self._tell()

    def _tell(self) -> None:
        self._owner.changed.emit()
        if not self._is_new:
            self._owner.revisited.emit(self._key)
        self._is_new = False
