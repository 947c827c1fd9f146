"""The folder of results: its files, and the locks that processes on any machine hold on it."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from sadmil_core.atomic import make_folder
from sadmil_core.errors import WriteError
from sadmil_core.filelock import lock_file
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPORTS = ("slices.csv", "slices.parquet", "scans.json")
"""Of the whole archive."""
_HELD = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """Where the results of one reading lie.

    Attributes:
        root: The folder.
    """

    root: Path

    def make(self) -> None:
        """Makes the folder and those in it.

        Raises:
            WriteError: The system refused.
        """
        for folder in (self.state, self.records, self.shards):
            make_folder(folder)

    @property
    def state(self) -> Path:
        """What the program keeps for itself."""
        return self.root / "state"

    @property
    def settings(self) -> Path:
        """The settings that all results share."""
        return self.root / "settings.json"

    @property
    def index(self) -> Path:
        """The headers of the archive."""
        return self.state / "index.sqlite"

    @property
    def records(self) -> Path:
        """A file for each process that has read studies."""
        return self.root / "records"

    @property
    def shards(self) -> Path:
        """A table for each shard."""
        return self.root / "shards"

    @property
    def reports(self) -> tuple[Path, ...]:
        """The reports of the whole archive, as :data:`REPORTS` names them."""
        return tuple(self.root / name for name in REPORTS)

    def now_ns(self) -> int:
        """The time by the clock of the machine that holds the folder.

        Processes on several machines may compare it.

        Raises:
            WriteError: The folder cannot be written to.
        """
        try:
            with tempfile.NamedTemporaryFile(dir=self.state, prefix=".clock-") as stream:
                return os.fstat(stream.fileno()).st_mtime_ns
        except OSError as error:
            raise WriteError(
                f"{self.root} cannot be written to: {error.strerror or error}.",
                remedy="Free some space, or choose another folder.",
            ) from error

    @contextmanager
    def locked(self, name: str, progress: Progress = no_progress) -> Iterator[None]:
        """Lets one process at a time into the block; one that dies lets the next one in.

        Where the file system knows no locks, all are let in: what the blocks write replaces
        the old at once or not at all.

        Args:
            name: Of the lock.
            progress: Called while another process is in; may raise Cancelled.
        """
        path = self.state / f"{name}.lock"
        try:
            stream = path.open("ab")
        except OSError as error:
            raise WriteError(
                f"{path} could not be made: {error.strerror or error}.",
                remedy="Free some space, or choose another folder.",
            ) from error
        with stream:
            while not _try_lock(stream):
                progress(0, 0, f"waiting for another process ({name})")
                time.sleep(_POLL_S)
            yield


def _try_lock(stream: BinaryIO) -> bool:
    """Locks a file until it is closed; False where another process holds it."""
    try:
        lock_file(stream)
    except OSError as error:
        return error.errno not in _HELD
    return True
