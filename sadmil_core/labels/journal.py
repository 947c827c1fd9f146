"""The journal of labels: every change, by whom, when, and with which model in sight.

The last word of a reader on a thing holds; earlier ones stay, so that a study of readers can tell
what was said before the model was seen from what was said after.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sadmil_core.labels.marks import facts_of, marks_from
from sadmil_core.labels.names import ScanName, SliceName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sadmil_core.labels.database import LabelDatabase
    from sadmil_core.labels.marks import FactKey, ScanMarks

_OF_SCAN = "study = ? AND series = ? AND stack = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One thing that was said.

    Attributes:
        scan: Of which stack.
        slice: Of which slice; None: of the scan as a whole.
        item: ``label``, ``agrees``, ``note``, or a subtype.
        value: ``1``, ``0``, or the note; empty where it was taken back.
        reader: By whom.
        at: When, UTC.
        model: SHA-256 of the model whose result was on screen; empty where none was.
    """

    scan: ScanName
    slice: SliceName | None
    item: str
    value: str
    reader: str
    at: datetime
    model: str


class Journal:
    """What readers have said.

    Args:
        database: Where it is kept.
    """

    def __init__(self, database: LabelDatabase) -> None:
        self._database = database

    def marks(self, scan: ScanName, names: tuple[SliceName, ...], reader: str) -> ScanMarks:
        """What a reader says of a scan now.

        Args:
            scan: Its name.
            names: Those of its slices, foot to head.
            reader: Who.

        Raises:
            LabelError, WriteError: The database cannot be used.
        """
        query = (
            f"SELECT instance, frame, item, value FROM journal WHERE {_OF_SCAN} AND reader = ? "
            "ORDER BY id"
        )
        with self._database.transaction() as database:
            rows = database.execute(query, (scan.study, scan.series, scan.stack, reader)).fetchall()
        facts: dict[FactKey, str] = {(i, frame, item): value for i, frame, item, value in rows}
        return marks_from(facts, names)

    def change(
        self,
        scan: ScanName,
        names: tuple[SliceName, ...],
        before: ScanMarks,
        after: ScanMarks,
        *,
        reader: str,
        model: str = "",
    ) -> None:
        """Writes what differs, as one step.

        Args:
            scan: Its name.
            names: Those of its slices.
            before: What was said until now.
            after: What is said from now on.
            reader: By whom.
            model: SHA-256 of the model whose result is on screen; empty for none.

        Raises:
            LabelError, WriteError: Nothing was written.
        """
        old, new = facts_of(before, names), facts_of(after, names)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            (scan.study, scan.series, scan.stack, *key, new.get(key, ""), reader, at, model)
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
        with self._database.transaction() as database:
            database.executemany(
                "INSERT INTO journal (study, series, stack, instance, frame, item, value, reader, "
                "at, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def marked_scans(self, reader: str) -> frozenset[ScanName]:
        """The scans that a reader has marked, if only once: what the model says may be seen.

        Raises:
            LabelError, WriteError: The database cannot be used.
        """
        query = (
            "SELECT DISTINCT study, series, stack FROM journal "
            "WHERE reader = ? AND instance = '' AND item = 'label' AND value <> ''"
        )
        with self._database.transaction() as database:
            return frozenset(ScanName(*row) for row in database.execute(query, (reader,)))

    def readers(self) -> tuple[str, ...]:
        """Who has said anything, in alphabetical order.

        Raises:
            LabelError, WriteError: The database cannot be used.
        """
        with self._database.transaction() as database:
            rows = database.execute("SELECT DISTINCT reader FROM journal ORDER BY reader")
            return tuple(reader for (reader,) in rows)

    def rows(self, *, only_last: bool = False, reader: str | None = None) -> Sequence[JournalRow]:
        """Everything that was said, in the order of time.

        Args:
            only_last: What holds now: the last word of each reader on each thing.
            reader: Of one reader only.

        Raises:
            LabelError, WriteError: The database cannot be used.
        """
        which, values = [], []
        if only_last:
            which.append(
                "id IN (SELECT max(id) FROM journal "
                "GROUP BY study, series, stack, instance, frame, item, reader) AND value <> ''"
            )
        if reader is not None:
            which.append("reader = ?")
            values.append(reader)
        query = (
            "SELECT study, series, stack, instance, frame, item, value, reader, at, model "
            f"FROM journal {'WHERE ' if which else ''}{' AND '.join(which)} ORDER BY id"
        )
        with self._database.transaction() as database:
            return [_row(*row) for row in database.execute(query, values)]


def _row(
    study: str,
    series: str,
    stack: int,
    instance: str,
    frame: int,
    item: str,
    value: str,
    reader: str,
    at: str,
    model: str,
) -> JournalRow:
    return JournalRow(
        scan=ScanName(study, series, stack),
        slice=SliceName(instance, frame) if instance else None,
        item=item,
        value=value,
        reader=reader,
        at=datetime.fromisoformat(at),
        model=model,
    )
