"""A process that prepares scans, one after another, for the process that started it.

Started with a plain command and spoken to over pipes, as decoding processes are: what ends it
(most often too little memory) costs the scan it had in hand, and nothing else.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from sadmil_core.data.prepare_scan import Outcome, prepare_scan
from sadmil_core.data.store import StoreWriter
from sadmil_core.errors import StoreError, WriteError

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.data.prepare_scan import ScanSource
    from sadmil_core.pixelgrid import GridConfig


class PrepareProcess:
    """One process; started when it is first needed, and again after it has died.

    Args:
        writer: Of the store to add to.
    """

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def prepare(self, source: ScanSource) -> Outcome:
        """Has a scan prepared and waits for it; one at a time.

        Returns:
            What became of it; failed, too, where the process died over it.
        """
        process = self._started()
        if process is None:
            return Outcome(kind="failed", message="Stopped before it was read.")
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((self._writer.path, self._writer.grid, source), process.stdin)
            process.stdin.flush()
            outcome = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            return Outcome(kind="failed", message=_obituary(process))
        assert isinstance(outcome, Outcome)
        return outcome

    def end(self) -> None:
        """Ends the process, whatever it is at; may be called while another thread waits."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """Closes what the process was spoken to by; nobody may be waiting for it any more."""
        for stream in (self._process.stdin, self._process.stdout) if self._process else ():
            # What was left to be written has nobody to read it.
            with suppress(OSError):
                if stream is not None:
                    stream.close()

    def _started(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._ended:
                return None
            if self._process is None or self._process.poll() is not None:
                self.close()
                command = f"import sys; sys.path[:] = {sys.path!r}; "
                command += "from sadmil_core.data.prepare_process import main; main()"
                self._process = subprocess.Popen(
                    [sys.executable, "-c", command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # No console window, where a program of the desktop would get one.
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            return self._process


def _obituary(process: subprocess.Popen[bytes]) -> str:
    process.kill()  # where it still runs, it no longer says what it should
    status = process.wait()
    how = f"exit status {status}"
    if status < 0:
        how = f"signal {signal.Signals(-status).name}"
    return (
        f"The process that prepared it was ended from without or crashed ({how}); often memory "
        "did not suffice. Run the command again, with fewer workers if need be."
    )


def main() -> None:
    """Answers requests until the other end closes its pipe."""
    requests = sys.stdin.buffer
    # Decoders print to what they take for the terminal: the answers get a stream of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
    while True:
        try:
            path, grid, source = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(_answer(path, grid, source), answers)
        answers.flush()


def _answer(path: Path, grid: GridConfig, source: ScanSource) -> Outcome:
    try:
        writer = StoreWriter(path, grid)
    except (StoreError, WriteError) as error:  # gone or filled up since it was opened
        return Outcome(kind="refused", message=str(error))
    return prepare_scan(source, writer)
