"""Compressed slices, decoded in processes of their own.

Two reasons. The decoders hold the interpreter lock, so that threads gain nothing (measured in
docs/decoding.md); and they are written in C, so that a damaged file can crash or hang them,
which must not take a window with a reader's work down.

The processes are started with a plain command and spoken to over pipes: ``multiprocessing``
would run a user's script again in each of them, where it is not guarded against that.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom.codes import SkippedFile, SkipReason
from sadmil_core.dicom.decode import decode_into, digest_stored, hu_type
from sadmil_core.dicom.decode_process import (
    ANSWER,
    DIGEST,
    DONE,
    HU,
    REQUEST,
    TIME_LIMIT_S,
    VOLUME,
)
from sadmil_core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sadmil_core.dicom.decode import HUArray
    from sadmil_core.dicom.header import SliceHeader

_log = logging.getLogger(__name__)
_MAX_PROCESSES = 8
_PIPE_BYTES = 1 << 20
"""A slice fits in, so that a process goes on with the next while this one is taken out."""


def process_count() -> int:
    """How many slices can be decoded at the same time: one for each core, up to eight."""
    return min(os.cpu_count() or 1, _MAX_PROCESSES)


def decode_slice(header: SliceHeader, *, mend_quirk: bool = True) -> HUArray:
    """Reads one slice in Hounsfield units, as ``decode_hu``; compressed ones in another process.

    Args:
        header: Of the slice.
        mend_quirk: Undo the RSNA 12-bit defect where the header shows it.

    Returns:
        (rows, columns) int16, or float32 where the rescale is fractional.

    Raises:
        DecodeError: The pixels cannot be decoded, or the file has changed.
    """
    hu: HUArray = np.empty((header.rows, header.columns), hu_type(header, mend_quirk=mend_quirk))
    (error,) = decode_slices([header], [hu], mend_quirk=mend_quirk)
    if error is not None:
        raise error
    return hu


def decode_slices(
    headers: Sequence[SliceHeader], targets: Sequence[HUArray], *, mend_quirk: bool = True
) -> list[DecodeError | None]:
    """Decodes slices one after another into arrays that are there already.

    Args:
        headers: Of the slices; a few, for the call cannot be stopped.
        targets: (rows, columns) of each, contiguous.
        mend_quirk: As in :func:`decode_slice`.

    Returns:
        For each slice None, or why it could not be decoded.
    """
    outcomes: list[DecodeError | None] = []
    while len(outcomes) < len(headers):
        done = len(outcomes)
        if headers[done].is_compressed:
            last = next(
                (k for k in range(done, len(headers)) if not headers[k].is_compressed), len(headers)
            )
            outcomes += _POOL.decode(headers[done:last], targets[done:last], mend_quirk)
            if headers[done].is_volume and outcomes[-1] is not None:
                # One file is behind them all: what ended the process once would end it again.
                outcomes += outcomes[-1:] * (last - len(outcomes))
        else:
            outcomes.append(_decode_here(headers[done], targets[done], mend_quirk))
    return outcomes


def digest_slice(header: SliceHeader) -> bytes:
    """A fingerprint of a slice's stored values; of its path where they cannot be decoded."""
    try:
        return _POOL.digest(header) if header.is_compressed else digest_stored(header)
    except DecodeError:
        return os.fsencode(header.path)


def read_volume_file(path: Path) -> tuple[SliceHeader, ...] | SkippedFile:
    """Reads the headers of a NIfTI, NRRD or MetaImage file, in another process.

    Returns:
        One header an axial slice, foot to head; or why the file is of no use.
    """
    try:
        return _POOL.headers(path)
    except DecodeError as error:
        return SkippedFile(path, SkipReason.UNREADABLE, Exception.__str__(error))
    except _CrashedError:
        _log.warning("the reader of a volume file crashed or hung")
        return SkippedFile(
            path,
            SkipReason.DAMAGED,
            f"damaged: its reader crashed, or took longer than {TIME_LIMIT_S:g} s",
        )


def _decode_here(header: SliceHeader, target: HUArray, mend_quirk: bool) -> DecodeError | None:
    try:
        decode_into(header, target, mend_quirk=mend_quirk)
    except DecodeError as error:
        return error
    return None


class _CrashedError(Exception):
    """The process is gone in the midst of a slice."""


class _Process:
    """One decoding process."""

    def __init__(self) -> None:
        # A slice a process: threads inside the decoders would only get in each other's way.
        environment = {**os.environ, "OPJ_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = f"import sys; sys.path[:] = {sys.path!r}; "
        command += "from sadmil_core.dicom.decode_process import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
            # No console window, where a program of the desktop would get one.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            pipesize=_PIPE_BYTES,
        )

    def ask(
        self, task: str, headers: Sequence[SliceHeader | Path], mend_quirk: bool = True
    ) -> None:
        """Sends a request; as many answers follow as there are headers or files.

        Raises:
            _CrashedError: The process is gone.
        """
        request = pickle.dumps((task, list(headers), mend_quirk))
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.write(REQUEST.pack(len(request)) + request)
        except OSError as error:
            raise _CrashedError from error

    def answer(self, target: memoryview | None = None) -> bytes:
        """Reads the next answer: into ``target`` where it is one of that size, else as bytes.

        Raises:
            DecodeError: That is the answer.
            _CrashedError: The process is gone.
        """
        kind, size = ANSWER.unpack(self._read(memoryview(bytearray(ANSWER.size))))
        if kind == DONE and target is not None and size == len(target):
            self._read(target)
            return b""
        payload = bytes(self._read(memoryview(bytearray(size))))
        if kind == DONE:
            return payload
        message, remedy, detail = json.loads(payload)
        raise DecodeError(message, remedy=remedy, detail=detail)

    def _read(self, into: memoryview) -> memoryview:
        stream = self._process.stdout
        assert stream is not None
        done = 0
        while done < len(into):
            count = stream.readinto(into[done:])  # type: ignore[attr-defined]
            if not count:
                raise _CrashedError
            done += count
        return into

    @property
    def is_running(self) -> bool:
        """Whether the system has not ended it meanwhile, for want of memory perhaps."""
        return self._process.poll() is None

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        with suppress(OSError):
            self._process.communicate()


class _Pool:
    """Decoding processes, started when first needed and kept for the next series."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._of_parent: list[_Process] = []
        self.forget()
        atexit.register(self._end_idle)

    def forget(self) -> None:
        """Starts anew, in a process that was forked off: its parent goes on using the others."""
        self._of_parent += self._idle  # not to be tidied up from here
        self._idle = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(process_count())

    def decode(
        self, headers: Sequence[SliceHeader], targets: Sequence[HUArray], mend_quirk: bool
    ) -> list[DecodeError | None]:
        """An outcome a slice; of the first few only, where one of them ends its process."""
        outcomes: list[DecodeError | None] = []
        try:
            with self._borrowed() as process:
                process.ask(HU, headers, mend_quirk)
                for header, target in zip(headers, targets, strict=True):
                    try:
                        _take(process, header, target, mend_quirk)
                        outcomes.append(None)
                    except DecodeError as error:
                        outcomes.append(error)
        except _CrashedError:
            outcomes.append(_crash_of(headers[len(outcomes)]))
        return outcomes

    def digest(self, header: SliceHeader) -> bytes:
        """The fingerprint of a slice's stored values.

        Raises:
            DecodeError: They cannot be decoded.
        """
        try:
            with self._borrowed() as process:
                process.ask(DIGEST, [header])
                return process.answer()
        except _CrashedError as error:
            raise _crash_of(header) from error

    def headers(self, path: Path) -> tuple[SliceHeader, ...] | SkippedFile:
        """The headers of a volume file.

        Raises:
            _CrashedError: Its reader crashed.
            DecodeError: The system starts no further process.
        """
        with self._borrowed() as process:
            process.ask(VOLUME, [path])
            found: tuple[SliceHeader, ...] | SkippedFile = pickle.loads(process.answer())
        return found

    @contextmanager
    def _borrowed(self) -> Iterator[_Process]:
        """A process for this thread alone.

        Raises:
            DecodeError: The system starts no further process.
        """
        with self._places:
            process = self._running() or _start()
            healthy = False
            try:
                yield process
                healthy = True
            except DecodeError:
                healthy = True  # the last answer, and nothing is owed
                raise
            finally:
                if healthy:
                    with self._lock:
                        self._idle.append(process)
                else:
                    process.end()

    def _running(self) -> _Process | None:
        """A process that waits for work; those that have ended meanwhile are let go."""
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_running:
                    return process
                process.end()
        return None

    def _end_idle(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().end()


def _start() -> _Process:
    try:
        return _Process()
    except OSError as error:
        raise DecodeError(
            f"No process to decode compressed images could be started: {error.strerror or error}.",
            remedy="Close other programs.",
        ) from error


def _take(process: _Process, header: SliceHeader, target: HUArray, mend_quirk: bool) -> None:
    """Reads the next answer into a slice, which may be wider than the answer is."""
    kind = hu_type(header, mend_quirk=mend_quirk)
    if target.dtype == kind:
        process.answer(target.data.cast("B"))
    else:
        target[...] = np.frombuffer(process.answer(), kind).reshape(target.shape)


def _crash_of(header: SliceHeader) -> DecodeError:
    _log.warning("a decoder crashed or hung; transfer syntax %s", header.transfer_syntax)
    return DecodeError(
        f"{header.path} could not be decoded: its decoder crashed, or took longer than "
        f"{TIME_LIMIT_S:g} s.",
        remedy="The file is damaged; export it again.",
        detail=f"transfer syntax {header.transfer_syntax}",
    )


_POOL = _Pool()
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=lambda: _POOL.forget())
