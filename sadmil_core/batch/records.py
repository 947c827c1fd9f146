"""The records of studies, a line each, that survive whatever ends the process.

Each process writes a file of its own: two never meet in one, and what a killed one had not
finished writing is only its last line, which counts for nothing.
"""

from __future__ import annotations

import json
import os
import uuid
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sadmil_core.errors import BatchError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sadmil_core.batch.folder import BatchFolder
    from sadmil_core.batch.plan import StudyUnit

_SUFFIX = ".records"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUnit:
    """Where the records of one unit lie, and what has to be known of them without reading them.

    Attributes:
        path: The file.
        offset: Where the line begins, in bytes.
        key: Of the unit.
        fingerprint: Of its files, when it was read.
        attempt: How often it had been read before.
        scan_ids: Its studies.
        has_failed: Something in it could not be read, or not be scored, in vain.
        has_skipped: Files of it were passed over.
    """

    path: Path
    offset: int
    key: str
    fingerprint: str
    attempt: int
    scan_ids: tuple[str, ...]
    has_failed: bool
    has_skipped: bool

    @property
    def identity(self) -> str:
        """Tells these records from any others of the unit."""
        return f"{self.key} {self.fingerprint} {self.attempt} {self.path.name} {self.offset}"

    def load(self) -> dict[str, Any]:
        """The records.

        Raises:
            BatchError: They are no longer there.
        """
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                found = _parse(stream.readline())
        except OSError as error:
            raise BatchError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        if found is None:
            raise BatchError(
                f"{self.path} was changed while it was read.", remedy="Run the command again."
            )
        document: dict[str, Any] = json.loads(found[1])
        return document


class RecordWriter:
    """The file of this process; made when there is something to write.

    Args:
        folder: Of results.
        shard_name: Stands in its name, with the number of the process.
    """

    def __init__(self, folder: BatchFolder, shard_name: str) -> None:
        name = f"{shard_name}-{os.getpid()}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
        self._path = folder.records / name

    def append(
        self,
        unit: StudyUnit,
        document: Mapping[str, Any],
        *,
        attempt: int,
        scan_ids: Iterable[str],
        has_failed: bool,
    ) -> None:
        """Adds the records of one unit; on the disk when it returns.

        Args:
            unit: Which.
            document: From :func:`sadmil_core.batch.documents.unit_document`.
            attempt: How often it had been read before.
            scan_ids: Its studies.
            has_failed: Whether a second try may do better.

        Raises:
            WriteError: The system refused; what was there before is whole.
        """
        body = json.dumps(document, separators=(",", ":")).encode()
        head = {
            "key": unit.key,
            "fingerprint": unit.fingerprint,
            "attempt": attempt,
            "scan_ids": list(scan_ids),
            "has_failed": has_failed,
            "has_skipped": bool(document["skipped"]),
            "crc32": zlib.crc32(body),
        }
        # JSON has no raw tabs or line ends.
        line = json.dumps(head).encode() + b"\t" + body + b"\n"
        size = 0
        try:
            with self._path.open("ab", buffering=0) as stream:
                size = stream.tell()
                try:
                    _write_all(stream.fileno(), line)
                    os.fsync(stream.fileno())
                except OSError:
                    with suppress(OSError):
                        stream.truncate(size)
                    raise
        except OSError as error:
            raise WriteError(
                f"{self._path} could not be written: {error.strerror or error}.",
                remedy="Free some space, and run the command again: it goes on from here.",
            ) from error


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def find_records(folder: BatchFolder, units: Iterable[StudyUnit]) -> dict[str, StoredUnit]:
    """The records there are of the units as their files are now, by key.

    Of several of one unit those of the last attempt; lines that a process did not finish, and
    those of files that have changed since, are passed over.
    """
    current = {unit.key: unit.fingerprint for unit in units}
    found: dict[str, StoredUnit] = {}
    for path in sorted(folder.records.glob(f"*{_SUFFIX}")):
        for stored in _stored_in(path):
            if current.get(stored.key) != stored.fingerprint:
                continue
            before = found.get(stored.key)
            if before is None or stored.attempt > before.attempt:
                found[stored.key] = stored
    return found


def _stored_in(path: Path) -> Iterator[StoredUnit]:
    offset = 0
    try:
        with path.open("rb") as stream:
            for line in stream:
                parsed = _parse(line)
                if parsed is not None:
                    head = parsed[0]
                    yield StoredUnit(
                        path=path,
                        offset=offset,
                        key=head["key"],
                        fingerprint=head["fingerprint"],
                        attempt=head["attempt"],
                        scan_ids=tuple(head["scan_ids"]),
                        has_failed=head["has_failed"],
                        has_skipped=head["has_skipped"],
                    )
                offset += len(line)
    except OSError as error:
        raise BatchError(f"{path} cannot be read: {error.strerror or error}.") from error


def _parse(line: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Head and body of a line; None where it is not whole."""
    head, _, body = line.partition(b"\t")
    if not body.endswith(b"\n"):
        return None
    body = body[:-1]
    try:
        parsed: dict[str, Any] = json.loads(head)
        whole = parsed["crc32"] == zlib.crc32(body)
    except (ValueError, TypeError, KeyError):
        return None
    return (parsed, body) if whole else None
