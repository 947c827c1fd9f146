"""The secret with which identifiers are hashed before they are kept.

UIDs can be guessed from lists, so a plain hash would lead back to its patient. Whoever copies the
database without this key cannot tell whose scans were read; who loses the key can no longer bring
labels and files together.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from sadmil_core.atomic import explain_refusal, make_folder
from sadmil_core.errors import LabelError
from sadmil_core.paths import user_data_dir

_BYTES = 32


def read_key(path: Path | None = None) -> bytes:
    """The user's key; made the first time, for the user alone to read.

    Args:
        path: The file; ``labels.key`` in the user's data folder if None.

    Returns:
        32 bytes, always the same, however many programs ask for it at once.

    Raises:
        LabelError: The file is no key.
        WriteError: It is not there and cannot be made, or cannot be read.
    """
    path = path or user_data_dir() / "labels.key"
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise explain_refusal(path, error) from error
    if len(key) != _BYTES:
        raise LabelError(
            f"{path} is not the key of the labels: it has {len(key)} bytes in place of {_BYTES}.",
            remedy="Put the key of this database back from a copy; or move key and labels "
            "away to begin anew.",
        )
    return key


def _make(path: Path) -> None:
    """Makes a key whole or not at all; another program's, made meanwhile, stays."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".labels-key-")  # mode 0600
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(made, path)  # refuses to replace
        except FileExistsError:
            return
        except OSError:  # a file system without links
            if not path.exists():
                os.replace(made, path)
    finally:
        with suppress(OSError):
            made.unlink(missing_ok=True)
