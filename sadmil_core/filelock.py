"""Locks on files, which the system takes from a process that ends, however it ends."""

from __future__ import annotations

from typing import BinaryIO


def lock_file(stream: BinaryIO) -> None:
    """Locks an open file until it is closed, or its process ends; does not wait.

    Raises:
        OSError: Another holds it (EAGAIN, EACCES or EDEADLK), or the system cannot lock it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
