"""The archive's headers, kept in the folder of results: read once, and again where files changed.

A row a file, in SQLite, so that an archive of millions of slices needs no more memory than one
of ten. One process writes, under a lock; the others read once that is done.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sadmil_core import __version__
from sadmil_core.batch.header_text import FIELDS, headers_text, parse_headers
from sadmil_core.dicom import SkippedFile, SkipReason, build_stacks
from sadmil_core.dicom.decode_pool import digest_slice
from sadmil_core.dicom.index import (
    SeriesIndex,
    absent_files,
    list_files,
    read_files,
    require_entries,
)
from sadmil_core.errors import BatchError, InputError, WriteError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sadmil_core.batch.folder import BatchFolder
    from sadmil_core.dicom import SliceHeader, StackEntry

_BATCH = 512
"""Files read before they are written down: what a killed process must read again."""
_VOLATILE = frozenset({SkipReason.UNREADABLE, SkipReason.ABSENT})
"""What may change without a change of the file."""
_DETACHED = frozenset({".mhd", ".nhdr"})
"""Headers of volumes whose voxels lie in another file, which may change alone."""
_WAIT_S = 600.0
_FULL = "disk is full"
_FORMAT = f"1 {__version__} {' '.join(FIELDS)}"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (format TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    real BLOB PRIMARY KEY,  -- the path without links
    shown BLOB NOT NULL,  -- the path as it was given
    size INTEGER, mtime_ns INTEGER,  -- NULL: to be read again each time
    study TEXT NOT NULL, series TEXT NOT NULL,
    slices INTEGER NOT NULL,  -- 0 of a file that was passed over
    reason TEXT NOT NULL, message TEXT NOT NULL,  -- why it was
    headers BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_series ON files (series, study, slices) WHERE series != '';
"""

Stamp = tuple[int, int] | tuple[None, None]


class FileRow(NamedTuple):
    """A file as far as planning needs it.

    Attributes:
        real: Its real path, in the file system's bytes.
        stamp: Its size in bytes and modification time in ns; None twice where it has to be
            read again each time.
        study: StudyInstanceUID; empty of a file that was passed over.
        series: SeriesInstanceUID.
        slices: How many.
        reason: Why it was passed over; empty where it was not.
    """

    real: bytes
    stamp: Stamp
    study: str
    series: str
    slices: int
    reason: str


class ArchiveIndex:
    """The index of one folder of results.

    Args:
        folder: The folder, made already.

    Raises:
        BatchError: From all methods: the index is damaged.
        WriteError: From all methods: the system refused.
    """

    def __init__(self, folder: BatchFolder) -> None:
        self._folder = folder
        self._checked = folder.state / "index-checked"

    def bring_up_to_date(
        self, roots: Sequence[Path], progress: Progress = no_progress
    ) -> tuple[InputError, ...]:
        """Lists the archive, and reads the headers of what is new or changed.

        Only one process does, if several are started together; the others wait for it.

        Args:
            roots: Files and folders, no zip archives.
            progress: Called while it works or waits; may raise Cancelled. What was read until
                then is kept.

        Returns:
            A complaint for each path that holds no CT.

        Raises:
            InputError: A path is not there or cannot be listed; the index stays as it is.
            Cancelled: From ``progress``.
        """
        started_ns = self._folder.now_ns()
        with self._folder.locked("index", progress):
            if not self._is_checked_since(started_ns):
                with self._open() as database:
                    problems = _update(database, roots, progress)
                self._note_checked(problems)
            return tuple(InputError(line) for line in self._checked.read_text("utf-8").splitlines())

    def _is_checked_since(self, time_ns: int) -> bool:
        try:
            return self._checked.stat().st_mtime_ns > time_ns
        except FileNotFoundError:
            return False

    def _note_checked(self, problems: Iterable[InputError]) -> None:
        text = "".join(f"{' '.join(str(problem).split())}\n" for problem in problems)
        try:
            self._checked.write_text(text, "utf-8", errors="backslashreplace")
        except OSError as error:
            raise WriteError(f"{self._checked} could not be written: {error.strerror}.") from error

    def planned_files(self) -> Iterator[FileRow]:
        """What studies are made of: their files, and those lost to them, by real path."""
        with self._open() as database:
            cursor = database.execute(
                "SELECT real, size, mtime_ns, study, series, slices, reason FROM files "
                "WHERE series != '' ORDER BY real"
            )
            for real, size, mtime_ns, study, series, slices, reason in cursor:
                yield FileRow(real, (size, mtime_ns), study, series, slices, reason)

    def skipped(self) -> Iterator[SkippedFile]:
        """All files that were passed over."""
        with self._open() as database:
            rows = database.execute(
                "SELECT shown, reason, message, series FROM files WHERE slices = 0"
            )
            for row in rows:
                yield _skipped(*row)

    def stacks(self, series: Iterable[str]) -> tuple[StackEntry, ...]:
        """The stacks of some series, with all their headers; as a plain index has them."""
        headers: list[SliceHeader] = []
        skipped: list[SkippedFile] = []
        with self._open() as database:
            for uid in series:
                for shown, slices, reason, message, packed in database.execute(
                    "SELECT shown, slices, reason, message, headers FROM files "
                    "WHERE series = ? AND series != ''",
                    (uid,),
                ):
                    if slices:
                        path = Path(os.fsdecode(shown))
                        headers += parse_headers(zlib.decompress(packed), path)
                    else:
                        skipped.append(_skipped(shown, reason, message, uid))
        skipped.sort(key=lambda file: file.path)
        return build_stacks(headers, skipped, pixel_digest=digest_slice)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        path = self._folder.index
        try:
            with closing(sqlite3.connect(path, timeout=_WAIT_S)) as database:
                _prepare(database)
                yield database
        except sqlite3.Error as error:
            if _FULL in str(error):
                raise WriteError(
                    f"{path} could not be written: {error}.",
                    remedy="Free some space, and run the command again: it goes on from here.",
                ) from error
            raise BatchError(
                f"The index {path} cannot be used: {error}.",
                remedy="Delete it, and run the command again: only headers are read anew.",
            ) from error


def _prepare(database: sqlite3.Connection) -> None:
    """Makes the tables; those of another version of the program are emptied."""
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'by_series'").fetchone() is None:
        database.executescript(_SCHEMA)
    row = database.execute("SELECT format FROM meta").fetchone()
    if row != (_FORMAT,):
        with database:
            database.execute("DELETE FROM files")
            database.execute("DELETE FROM meta")
            database.execute("INSERT INTO meta VALUES (?)", (_FORMAT,))


def _update(
    database: sqlite3.Connection, roots: Sequence[Path], progress: Progress
) -> list[InputError]:
    problems: list[InputError] = []
    _real_folder.cache_clear()
    database.execute("CREATE TEMP TABLE seen (real BLOB PRIMARY KEY) WITHOUT ROWID")
    for root in roots:
        # Not put up with: a share that is not mounted just now would empty the index.
        files, refused = list_files(root, progress)
        _read_changed(database, files, progress)
        _store_skipped(database, refused)
        try:
            _require_ct(database, root, files, refused)
        except InputError as error:
            problems.append(error)
    with database:
        not_images = "SELECT shown, reason, message, series FROM files WHERE reason = ?"
        found = database.execute(not_images, (SkipReason.NOT_AN_IMAGE,)).fetchall()
    _store_skipped(database, absent_files(_skipped(*row) for row in found))
    with database:
        database.execute("DELETE FROM files WHERE real NOT IN (SELECT real FROM seen)")
    return problems


def _read_changed(database: sqlite3.Connection, files: list[Path], progress: Progress) -> None:
    """Reads the headers of those files whose stamps are not the known ones."""
    changed: list[tuple[Path, bytes, Stamp]] = []
    for number, path in enumerate(files):
        if number % _BATCH == 0:
            progress(number, len(files), "looking for changes")
        real, stamp = _look_at(path)
        known = "SELECT shown, size, mtime_ns FROM files WHERE real = ?"
        row = database.execute(known, (real,)).fetchone()
        if row is not None and row[1:] == stamp and stamp[0] is not None:
            if row[0] != os.fsencode(path):
                moved = "UPDATE files SET shown = ? WHERE real = ?"
                database.execute(moved, (os.fsencode(path), real))
            database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (real,))
        else:
            changed.append((path, real, stamp))
    database.commit()
    found = read_files([path for path, _, _ in changed], progress)
    with closing(found):
        for number, ((path, real, stamp), headers) in enumerate(zip(changed, found, strict=True)):
            _store(database, path, real, stamp, headers)
            if number % _BATCH == _BATCH - 1:
                database.commit()
    database.commit()


def _look_at(path: Path) -> tuple[bytes, Stamp]:
    """The real path of a file and its stamp, with one call of the system where it is no link."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            real, status = os.path.realpath(path), os.stat(path)
        else:
            real = os.path.join(_real_folder(str(path.parent)), path.name)
    except OSError:  # gone, or a link to nowhere: reading it will say so
        return os.fsencode(os.path.realpath(path)), (None, None)
    if path.suffix.lower() in _DETACHED:
        return os.fsencode(real), (None, None)
    return os.fsencode(real), (status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _store(
    database: sqlite3.Connection,
    path: Path,
    real: bytes,
    stamp: Stamp,
    found: tuple[SliceHeader, ...] | SkippedFile,
) -> None:
    if isinstance(found, SkippedFile):
        stamp = (None, None) if found.reason in _VOLATILE else stamp
        cells = ("", found.series_instance_uid, 0, str(found.reason), found.message, b"")
    else:
        first = found[0]
        # As it was when its header was read, not when it was listed.
        stamp = first.file_stamp if stamp[0] is not None else stamp
        packed = zlib.compress(headers_text(found).encode(), 1)
        cells = (first.study_instance_uid, first.series_instance_uid, len(found), "", "", packed)
    texts = (_text(cell) if isinstance(cell, str) else cell for cell in cells)
    database.execute(
        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (real, os.fsencode(path), *stamp, *texts),
    )
    database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (real,))


def _text(value: str) -> str:
    """Text that SQLite takes; bytes of no encoding are escaped."""
    return value.encode("utf-8", "backslashreplace").decode()


def _store_skipped(database: sqlite3.Connection, skipped: Iterable[SkippedFile]) -> None:
    with database:
        for file in skipped:
            real = os.fsencode(os.path.realpath(file.path))
            _store(database, file.path, real, (None, None), file)


def _skipped(shown: bytes, reason: str, message: str, series: str) -> SkippedFile:
    return SkippedFile(Path(os.fsdecode(shown)), SkipReason(reason), message, series)


def _require_ct(
    database: sqlite3.Connection, root: Path, files: list[Path], refused: list[SkippedFile]
) -> None:
    """Checks that a path holds CT.

    Raises:
        InputError: It does not; the message says what it holds.
    """
    skipped = list(refused)
    for path in files:
        row = database.execute(
            "SELECT shown, reason, message, series, slices FROM files WHERE real = ?",
            (_look_at(path)[0],),
        ).fetchone()
        if row is not None and row[4]:
            return
        if row is not None:
            skipped.append(_skipped(*row[:4]))
    skipped.sort(key=lambda file: file.path)
    require_entries(SeriesIndex(root=root, entries=(), skipped=tuple(skipped)))
