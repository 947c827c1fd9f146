"""Results kept from one run to the next: what a model said of a stack, and when.

A file a result, in the user's cache folder. It is found by the stack, the model and the settings
it was read with, by hashes alone: neither names nor UIDs nor folders stand in it or in its name.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import __version__
from sadmil_core.atomic import make_folder, replacing
from sadmil_core.dicom import CodedWarning, WarningCode
from sadmil_core.fitness import Fitness, FitnessCode, FitnessLevel, FitnessReason
from sadmil_core.paths import cache_dir
from sadmil_core.report import ScanRecord
from sadmil_core.result import DecisionRule, Execution, ModelIdentity, ScanResult

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.devices import DeviceChoice, Precision
    from sadmil_core.dicom import StackEntry

_log = logging.getLogger(__name__)
_MAGIC = b"sadmil result 1\n"
_DIGEST_BYTES = 32
_SUFFIX = ".result"
_STALE_S = 3600.0
_KEPT_SHARE = 0.9
"""Of the limits, once they were reached: the folder is not thinned out with every result."""
_DETACHED = frozenset({".mhd", ".nhdr"})
"""Headers of volumes whose voxels lie in another file, which may change alone."""
_ARRAYS = (
    "attention",
    "attention_logit",
    "evidence",
    "contribution",
    "attention_sd",
    "slice_probability",
    "features",
)
_NUMBERS = ("padding_contribution", "bag_size", "bag_padding", "scan_logit", "scan_probability")
_VALUES = ("entry", "rule", "model", "execution", "warnings")
assert {*_ARRAYS, *_NUMBERS, *_VALUES} == {field.name for field in fields(ScanResult)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSettings:
    """What a result depends on besides stack and model.

    Attributes:
        device: Where the model was asked to run: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``.
    """

    device: DeviceChoice
    precision: Precision


def series_digest(entry: StackEntry) -> str | None:
    """What tells a stack, as it is on the disk now, from all others.

    The hash of the slices' SOPInstanceUIDs, frames, file sizes and modification times, in their
    order, and of what else of the series was found. All of it is known since the headers were
    read, so that it costs no access to a file: a hash of the pixels would take as long as
    loading them, and a result could not be shown before. The program trusts sizes and times of
    files elsewhere, too, when it reads pixels at an offset noted earlier.

    Of an archive it is the archive's own size and time that count: those of what was unpacked
    are new each time.

    Returns:
        SHA-256 in hexadecimal digits; None where files may change unnoticed.
    """
    lines: list[object] = [entry.stack_index, entry.warning_codes]
    lines += sorted(str(file.reason) for file in entry.skipped)
    try:
        for archive in entry.archives:
            status = archive.source.stat()
            lines.append((status.st_size, status.st_mtime_ns))
    except OSError:
        return None
    for header in entry.slices:
        if header.path.suffix.lower() in _DETACHED:
            return None
        size, mtime_ns = header.file_stamp
        unpacked = bool(entry.archives) and entry.shown(header.path) != header.path
        stamp = (size, 0 if unpacked else mtime_ns)
        lines.append((header.sop_instance_uid, header.frame_number, stamp))
    return hashlib.sha256(repr(lines).encode("utf-8", "backslashreplace")).hexdigest()


class ResultCache:
    """The results in one folder; any number of processes may use it at once.

    What cannot be read or written costs time, never an answer: it is logged, and the caller
    goes without.

    Args:
        folder: Where they lie; in the user's cache folder if None.
        limit_bytes: What they may take together.
        limit_count: How many there may be. Beyond either the ones longest not used go first.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        limit_bytes: int = 256 << 20,
        limit_count: int = 4000,
    ) -> None:
        self.folder = folder or cache_dir() / "results"
        self._limit_bytes, self._limit_count = limit_bytes, limit_count

    def get(
        self, entry: StackEntry, model: ModelIdentity, settings: ReadSettings
    ) -> ScanRecord | None:
        """What the model said of a stack, if it is known.

        A damaged file is removed.

        Args:
            entry: From an index, or as it was loaded.
            model: Which weights.
            settings: What they are to be asked with.

        Returns:
            The record, with the time it was made.
        """
        path = self._path(entry, model, settings)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        found = _parse(data, entry, model)
        with suppress(OSError):
            if found is None:
                _log.warning("a damaged result is removed: %s", path.name)
                path.unlink()
            else:
                os.utime(path)  # it has been used: others go first
        return found

    def put(
        self, record: ScanRecord, settings: ReadSettings, read_at: datetime | None = None
    ) -> bool:
        """Keeps what a model said.

        Not kept is what another try may do better (files that could not be read or decoded, a
        device that had to give way), and what was scored only on the user's insistence: that
        holds for the one time.

        Args:
            record: The record.
            settings: What the model was asked with.
            read_at: When; now, if None.

        Returns:
            Whether it was kept.

        Raises:
            WriteError: The system refused.
        """
        if not _is_lasting(record):
            return False
        path = self._path(record.entry, record.model, settings)
        if path is None:
            return False
        body = _body(record, read_at or datetime.now(UTC))
        make_folder(self.folder)
        with replacing(path) as stream:
            stream.write(_MAGIC + hashlib.sha256(body).digest() + body)
        self._thin_out()
        return True

    def clear(self) -> None:
        """Removes all results."""
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):
                path.unlink()

    def _path(self, entry: StackEntry, model: ModelIdentity, settings: ReadSettings) -> Path | None:
        series = series_digest(entry)
        if series is None:
            return None
        parts = (__version__, series, model.sha256, settings.device, settings.precision)
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]
        return self.folder / f"{name}{_SUFFIX}"

    def _thin_out(self) -> None:
        """Removes what was longest not used, where there is too much."""
        found: list[tuple[float, int, str]] = []
        with suppress(OSError), os.scandir(self.folder) as listing:
            for file in listing:
                with suppress(OSError):  # another process has just removed it
                    status = file.stat()
                    if file.name.endswith(_SUFFIX):
                        found.append((status.st_mtime, status.st_size, file.path))
                    elif file.name.endswith(".part") and time.time() - status.st_mtime > _STALE_S:
                        os.unlink(file.path)
        size, count = sum(each[1] for each in found), len(found)
        if size <= self._limit_bytes and count <= self._limit_count:
            return
        for _, bytes_, path in sorted(found):
            if size <= _KEPT_SHARE * self._limit_bytes and count <= _KEPT_SHARE * self._limit_count:
                return
            with suppress(OSError):
                os.unlink(path)
            size, count = size - bytes_, count - 1


def _is_lasting(record: ScanRecord) -> bool:
    if record.scored_though_unfit or not (record.result or record.passed_over):
        return False
    passing = {WarningCode.SLICES_UNDECODABLE, WarningCode.DEVICE_FALLBACK}
    return passing.isdisjoint(warning.code for warning in record.warnings)


def _body(record: ScanRecord, read_at: datetime) -> bytes:
    """A record as bytes: a line of JSON, then the arrays as a NumPy archive."""
    result, failure = record.result, record.failure
    head: dict[str, Any] = {
        "read_at": read_at.astimezone(UTC).isoformat(),
        "brain_slices": record.fitness.brain_slices,
        "reasons": [asdict(reason) for reason in record.fitness.reasons],
        "failure": failure and [failure.code, failure.message],
        "result": result and _values(result),
    }
    stream = io.BytesIO()
    stream.write(json.dumps(head).encode() + b"\n")
    if result is not None:
        arrays = {name: getattr(result, name) for name in _ARRAYS}
        np.savez(stream, **{name: a for name, a in arrays.items() if a is not None})
    return stream.getvalue()


def _values(result: ScanResult) -> dict[str, Any]:
    execution = {**asdict(result.execution), "seconds": dict(result.execution.seconds)}
    numbers = {name: getattr(result, name) for name in _NUMBERS}
    warnings = [[warning.code, warning.message] for warning in result.warnings]
    return {"rule": asdict(result.rule), "execution": execution, "warnings": warnings, **numbers}


def _parse(data: bytes, entry: StackEntry, model: ModelIdentity) -> ScanRecord | None:
    """The reverse of what :meth:`ResultCache.put` writes; None where it is anything else."""
    start = len(_MAGIC) + _DIGEST_BYTES
    body = data[start:]
    if data[:start] != _MAGIC + hashlib.sha256(body).digest():
        return None
    line, _, rest = body.partition(b"\n")
    head: dict[str, Any] = json.loads(line)
    result = _result(head["result"], rest, entry, model) if head["result"] else None
    if result is not None and len(result.attention) != len(entry.slices):
        return None
    reasons = tuple(
        FitnessReason(FitnessCode(r["code"]), FitnessLevel(r["level"]), r["message"])
        for r in head["reasons"]
    )
    return ScanRecord(
        entry=entry,
        model=model,
        fitness=Fitness(reasons=reasons, brain_slices=head["brain_slices"]),
        result=result,
        failure=_warning(head["failure"]) if head["failure"] else None,
        read_at=datetime.fromisoformat(head["read_at"]),
    )


def _result(
    values: dict[str, Any], packed: bytes, entry: StackEntry, model: ModelIdentity
) -> ScanResult:
    arrays: dict[str, Any] = dict.fromkeys(_ARRAYS)
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        for name in stored.files:
            arrays[name] = stored[name]
            arrays[name].flags.writeable = False
    return ScanResult(
        entry=entry,
        model=model,
        rule=DecisionRule(**values["rule"]),
        execution=Execution(**values["execution"]),
        warnings=tuple(map(_warning, values["warnings"])),
        **arrays,
        **{name: values[name] for name in _NUMBERS},
    )


def _warning(stored: list[str]) -> CodedWarning:
    code, message = stored
    return CodedWarning(WarningCode(code), message)
