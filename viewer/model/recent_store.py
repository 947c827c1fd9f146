"""The studies that were opened, in a database of the user's own.

Folders and pictures can name a patient: they stand here and nowhere else, and :meth:`clear`
removes them. What cannot be read or written is logged and done without.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.paths import user_data_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_VERSION = 1
_LIMIT = 100
_WAIT_S = 0.25
"""For another window that is writing; this is called on the GUI thread."""
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS study (
    paths TEXT NOT NULL,        -- JSON: the folders or files of the study
    scan_id TEXT NOT NULL,      -- StudyInstanceUID
    name TEXT NOT NULL,         -- date and description
    series INTEGER NOT NULL, slices INTEGER NOT NULL,
    opened_at TEXT NOT NULL,    -- UTC
    thumbnail BLOB, thumbnail_columns INTEGER,
    model TEXT, probability REAL, is_positive INTEGER, failure TEXT,  -- the last result
    PRIMARY KEY (paths, scan_id)
);
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastResult:
    """What a model said of a study when it was last open.

    Attributes:
        model: The model's name.
        probability: The scan probability; None where it was not scored.
        is_positive: Whether it is above the threshold.
        failure: Why it was not scored; empty where it was.
    """

    model: str
    probability: float | None
    is_positive: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecentStudy:
    """A study that was opened.

    Attributes:
        paths: What to open to have it again.
        scan_id: Its StudyInstanceUID.
        name: Date and description, or the folder's name.
        series: How many stacks it has.
        slices: Of the series that was shown last.
        opened_at: When it was last open.
        thumbnail: (rows, columns) uint8 of that series, or None.
        result: What a model said of it, or None.
    """

    paths: tuple[Path, ...]
    scan_id: str
    name: str
    series: int
    slices: int
    opened_at: datetime
    thumbnail: NDArray[np.uint8] | None = None
    result: LastResult | None = None


class RecentStore:
    """The database of recent studies; any number of windows may use it at once.

    Args:
        path: The file; in the user's data folder if None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_data_dir() / "recent-studies.sqlite"

    def note(self, study: RecentStudy) -> None:
        """Keeps a study as the latest; an older picture or result stays where it has none."""
        picture, result = study.thumbnail, study.result
        values = (
            json.dumps([os.fsdecode(path) for path in study.paths]),
            study.scan_id,
            study.name,
            study.series,
            study.slices,
            study.opened_at.astimezone(UTC).isoformat(),
            *((None, None) if picture is None else (picture.tobytes(), picture.shape[1])),
        )
        with self._open() as database:
            if database is None:
                return
            database.execute(
                "INSERT INTO study (paths, scan_id, name, series, slices, opened_at, thumbnail, "
                "thumbnail_columns) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET name = excluded.name, series = excluded.series, "
                "slices = excluded.slices, opened_at = excluded.opened_at, "
                "thumbnail = COALESCE(excluded.thumbnail, thumbnail), "
                "thumbnail_columns = COALESCE(excluded.thumbnail_columns, thumbnail_columns)",
                values,
            )
            if result is not None:
                database.execute(
                    "UPDATE study SET model = ?, probability = ?, is_positive = ?, failure = ? "
                    "WHERE paths = ? AND scan_id = ?",
                    (
                        result.model,
                        result.probability,
                        result.is_positive,
                        result.failure,
                        *values[:2],
                    ),
                )
            database.execute(
                "DELETE FROM study WHERE rowid NOT IN "
                "(SELECT rowid FROM study ORDER BY opened_at DESC LIMIT ?)",
                (_LIMIT,),
            )

    def studies(self) -> tuple[RecentStudy, ...]:
        """The latest studies, the last one first."""
        rows = []
        with self._open() as database:
            if database is None:
                return ()
            rows = database.execute(
                "SELECT paths, scan_id, name, series, slices, opened_at, thumbnail, "
                "thumbnail_columns, model, probability, is_positive, failure "
                "FROM study ORDER BY opened_at DESC"
            ).fetchall()
        return tuple(_study(*row) for row in rows)

    def clear(self) -> None:
        """Forgets all studies, and leaves nothing of them in the file."""
        for suffix in ("", "-wal", "-shm", ".damaged"):
            with suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()
        # Where the system does not let go of a file that another window has open.
        with self._open() as database:
            if database is not None:
                database.execute("DELETE FROM study")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection | None]:
        """A connection within a transaction; None where the database cannot be had."""
        try:
            database = self._connect()
        except (OSError, sqlite3.Error) as error:
            self._complain(error)
            yield None
            return
        try:
            with closing(database), database:
                usable = _prepare(database)
                yield database if usable else None
        except sqlite3.Error as error:
            self._complain(error)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=_WAIT_S)
        try:
            # What a power cut costs here is a line of this list: nobody waits for the disk.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA user_version").fetchone()  # reads it: a damaged one says so
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _complain(self, error: Exception) -> None:
        # Not its message, which may name a folder.
        _log.warning("recent studies cannot be kept: %s", type(error).__name__)
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            with suppress(OSError):
                os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged"))


def _prepare(database: sqlite3.Connection) -> bool:
    """Makes the table; False where the file is of a newer version."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(_SCHEMA)
    if version > _VERSION:
        _log.warning("the recent studies are of a newer version of the program")
    return bool(version <= _VERSION)


def _study(
    paths: str,
    scan_id: str,
    name: str,
    series: int,
    slices: int,
    opened_at: str,
    picture: bytes | None,
    columns: int | None,
    model: str | None,
    probability: float | None,
    is_positive: int | None,
    failure: str | None,
) -> RecentStudy:
    thumbnail = (
        np.frombuffer(picture, np.uint8).reshape(-1, columns) if picture and columns else None
    )
    result = None
    if model is not None:
        result = LastResult(
            model=model,
            probability=probability,
            is_positive=bool(is_positive),
            failure=failure or "",
        )
    return RecentStudy(
        paths=tuple(Path(path) for path in json.loads(paths)),
        scan_id=scan_id,
        name=name,
        series=series,
        slices=slices,
        opened_at=datetime.fromisoformat(opened_at),
        thumbnail=thumbnail,
        result=result,
    )
