"""The program's log: rotating, without identifiers, one for each program that runs.

Where the interpreter itself breaks down, its stack is written to a file beside the log, to be
shown at the next start.
"""

from __future__ import annotations

import faulthandler
import logging
import logging.handlers
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from sadmil_core.filelock import lock_file
from sadmil_core.paths import log_dir

if TYPE_CHECKING:
    from pathlib import Path

    from viewer.privacy import Scrubber

_LOG_BYTES, _LOG_FILES = 1_000_000, 3
_MOST_AT_ONCE = 9
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ScrubbingFormatter(logging.Formatter):
    """Formats records, tracebacks and all, and takes identifiers out of them."""

    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__(_FORMAT)
        self._scrubber = scrubber

    def format(self, record: logging.LogRecord) -> str:
        """The record as a text that names nobody."""
        return self._scrubber(super().format(record))


class ProgramLog:
    """The log of one running program.

    Two programs that rotate one file would lose each other's lines, so each has a file of its
    own: ``viewer.log``, ``viewer-2.log`` and so on. Which is free is told by locks, that the
    system takes from a program however it ends.

    Attributes:
        file: The log; None where none can be written.
        crash: What the program wrote that had this log before, when it broke down; or empty.
    """

    def __init__(self, scrubber: Scrubber, folder: Path | None = None) -> None:
        self.file: Path | None = None
        self.crash = ""
        self._held: BinaryIO | None = None  # open, and so locked, while the program runs
        self._handlers: list[logging.Handler] = []
        formatter = ScrubbingFormatter(scrubber)
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        self._handlers.append(terminal)
        with suppress(OSError):  # a read-only home must not keep anyone from reading a scan
            self._held, self.file = self._take(folder or log_dir())
        if self.file is not None:
            self._handlers.append(
                logging.handlers.RotatingFileHandler(
                    self.file,
                    maxBytes=_LOG_BYTES,
                    backupCount=_LOG_FILES,
                    delay=True,
                    encoding="utf-8",
                    errors="backslashreplace",
                )
            )
        for handler in self._handlers:
            handler.setFormatter(formatter)

    def _take(self, folder: Path) -> tuple[BinaryIO | None, Path | None]:
        """Takes the first log that no other program has."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_AT_ONCE + 1):
            suffix = f"-{number}" if number > 1 else ""
            stream = (folder / f"crash{suffix}.log").open("a+b")
            try:
                lock_file(stream)
            except OSError:
                stream.close()
                continue
            stream.seek(0)
            self.crash = stream.read().decode("utf-8", "backslashreplace").strip()
            stream.truncate(0)
            return stream, folder / f"viewer{suffix}.log"
        return None, None

    def start(self) -> None:
        """Sends the records of all loggers here, and the stack if the interpreter breaks down."""
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        for handler in self._handlers:
            root.addHandler(handler)
        if self._held is not None:
            faulthandler.enable(self._held, all_threads=True)
        if self.crash:
            logging.getLogger(__name__).error("broke down the last time\n%s", self.crash)

    def stop(self) -> None:
        """Lets go of files and lock."""
        faulthandler.disable()
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()
        if self._held is not None:
            self._held.close()
