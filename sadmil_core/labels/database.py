"""The database of labels: one SQLite file in the user's data folder.

Any number of windows and commands may use it at once. What was written is there after a crash of
the program, or of another that was writing; a file of an older version is brought up to date in one
step or not at all, one of a newer version is left alone.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from sadmil_core.atomic import explain_refusal
from sadmil_core.errors import LabelError, WriteError
from sadmil_core.paths import user_data_dir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WAIT_S = 2.0
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_MIGRATIONS = (
    """
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        study TEXT NOT NULL, series TEXT NOT NULL, stack INTEGER NOT NULL,  -- hashes
        instance TEXT NOT NULL,  -- hash; empty: of the scan
        frame INTEGER NOT NULL,
        item TEXT NOT NULL,      -- label, agrees, note, or a subtype
        value TEXT NOT NULL,     -- 1, 0 or words; empty: taken back
        reader TEXT NOT NULL,
        at TEXT NOT NULL,        -- UTC
        model TEXT NOT NULL      -- SHA-256 of the model whose result was on screen; empty: none
    );
    CREATE INDEX journal_scan ON journal (study, series, stack);
    """,
    """
    CREATE TABLE drawing (
        uid TEXT PRIMARY KEY,
        series TEXT NOT NULL, instance TEXT NOT NULL, frame INTEGER NOT NULL,  -- hashes
        kind TEXT NOT NULL,      -- distance, angle, ellipse, rectangle, key image
        points TEXT NOT NULL,    -- JSON: (row, column) in pixels
        at TEXT NOT NULL         -- UTC
    );
    CREATE INDEX drawing_series ON drawing (series);
    """,
)
"""What makes each version out of the one before it. Only ever add to these."""
VERSION = len(_MIGRATIONS)


class LabelDatabase:
    """Opens the file for one transaction after another.

    Args:
        path: The file; ``labels.sqlite`` in the user's data folder if None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_data_dir() / "labels.sqlite"
        self._checked = False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection; all that is done with it is kept, or nothing if anything fails.

        Raises:
            LabelError: The file is damaged, or of a newer version.
            WriteError: The system refused, or another program holds the file.
        """
        try:
            with closing(self._connect()) as database:
                if not self._checked:
                    self._migrate(database)
                    self._checked = True
                with database:
                    yield database
        except OSError as error:
            raise explain_refusal(self.path, error) from error
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            # Notes may name somebody: for the user's eyes alone.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(self.path, timeout=_WAIT_S)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            # Each transaction is in the log when it ends, whatever becomes of the program.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA secure_delete = ON")
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _migrate(self, database: sqlite3.Connection) -> None:
        if _version(database) == VERSION:
            return
        database.execute("BEGIN IMMEDIATE")  # one program at a time
        try:
            found = _version(database)
            if found > VERSION:
                raise LabelError(
                    f"{self.path} was written by a newer version of this program "
                    f"({found}; this one knows {VERSION}). It is left as it is.",
                    remedy="Use the newer version, or set SADMIL_DATA_DIR to another folder.",
                )
            for step in _MIGRATIONS[found:]:
                for statement in _statements(step):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute("COMMIT")
        except BaseException:
            database.rollback()
            raise

    def _explained(self, error: sqlite3.Error) -> LabelError | WriteError:
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            return LabelError(
                f"{self.path} is damaged; it is left as it is ({error}).",
                remedy="Put it back from a copy; or move it away, and a new one is begun.",
            )
        return WriteError(
            f"Labels could not be kept in {self.path}: {error}.",
            remedy="Free some space, or close the program that holds the file; then try again.",
        )


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _statements(script: str) -> list[str]:
    """The statements of a script without semicolons in its comments."""
    return [each for each in script.split(";\n") if each.strip()]
