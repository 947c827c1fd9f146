"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sadmil_core.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space or choose another place.",
    errno.EDQUOT: "Your disk quota is used up: free some space or choose another place.",
    errno.EACCES: "You may not write there: choose another place.",
    errno.EPERM: "You may not write there: choose another place.",
    errno.EROFS: "That place is read-only: choose another.",
    errno.ENOENT: "The folder does not exist: create it or choose another.",
    errno.EISDIR: "There is a folder of that name: choose another name.",
}

_STALE_S = 3600.0


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` that replaces it when the block ends well.

    The bytes are flushed to the disk before the rename, so a crash or a full disk leaves
    either the old file or the new one, never a part.

    Args:
        path: The file to write; its folder must exist.

    Raises:
        WriteError: The system refused (full disk, no permission, missing folder); nothing is
            left behind and an older file of that name is untouched.
    """
    # Of a link the target is replaced, not the link.
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise WriteError(
                f"{path} is a device or a pipe, and would be replaced.",
                remedy="Choose the name of a file.",
            )
        _sweep(path)
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise explain_refusal(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def explain_refusal(path: Path, error: OSError) -> WriteError:
    """What the system said when something was to be written, and what to do about it."""
    return WriteError(
        f"{path} could not be written: {error.strerror or error}.",
        remedy=_REMEDIES.get(error.errno or 0, "Choose another place."),
    )


def make_folder(folder: Path, remedy: str = "Choose another place.") -> None:
    """Makes a folder and those above it; one that is there already is fine.

    Raises:
        WriteError: The system refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"{folder} could not be made: {error.strerror or error}.", remedy=remedy
        ) from error


def _sweep(path: Path) -> None:
    """Removes what a killed run left of this very file; not what another writes just now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink()
