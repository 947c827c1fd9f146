"""One scan: its files found, its stack chosen and read, its pixels put into a store."""

from __future__ import annotations

import hashlib
import os
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from sadmil_core.data.store import StoredScan
from sadmil_core.dicom import WarningCode, index_folder, load_volume, merge_indexes, require_entries
from sadmil_core.errors import InputError, SadmilError, StoreError, UnscorableError, WriteError
from sadmil_core.fitness import FitnessLevel, fitness_of_volume
from sadmil_core.pixelgrid import lay_grid
from sadmil_core.preprocess import grid_slices
from sadmil_core.readout import Candidate, choose_readouts
from sadmil_core.result import MIN_SLICES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.data.store import StoreWriter
    from sadmil_core.dicom import CTVolume, StackEntry
    from sadmil_core.pixelgrid import GridConfig

_INT16 = (-32768, 32767)
_SAME_PLACE_MM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSource:
    """Where a scan comes from.

    Attributes:
        scan_id: Its name.
        paths: Files, folders or archives that hold it, and may hold more.
        series_instance_uid: The series to take; empty for the fittest.
        stack_index: The stack of it; None for the fittest.
        mask_path: A volume of the same matrix; what is above 0 is segmented. None without.
    """

    scan_id: str
    paths: tuple[Path, ...]
    series_instance_uid: str = ""
    stack_index: int | None = None
    mask_path: Path | None = None

    @classmethod
    def of(cls, scan: ManifestScan) -> ScanSource:
        """What a manifest says of it."""
        return cls(
            scan_id=scan.scan_id,
            paths=scan.sources,
            series_instance_uid=scan.series_instance_uid,
            stack_index=scan.stack_index,
            mask_path=scan.mask_path,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a scan.

    Attributes:
        kind: ``refused`` where the store cannot be written to: others will fare no better.
        message: Why it was not prepared.
        warnings: What reading and preparing it departed in.
    """

    kind: Literal["prepared", "unchanged", "failed", "refused"]
    message: str = ""
    warnings: tuple[str, ...] = field(default=())


def prepare_scan(source: ScanSource, writer: StoreWriter) -> Outcome:
    """Puts one scan into a store, unless it is there and its files are what they were.

    Never raises for what is in the files.
    """
    try:
        fingerprint = fingerprint_of(source)
        if _is_there(source.scan_id, fingerprint, writer):
            return Outcome(kind="unchanged")
        info, hu, mask = _read(source, fingerprint, writer.grid)
        writer.write(info, hu, mask)
    except WriteError as error:
        return Outcome(kind="refused", message=str(error))
    except SadmilError as error:
        return Outcome(kind="failed", message=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Outcome(kind="failed", message=f"{where}{error.strerror or error}.")
    except MemoryError:
        return Outcome(kind="failed", message="There is not enough memory for it.")
    # Thousands of scans wait behind this one, and a fault must not cost them; it is told.
    except Exception:  # noqa: BLE001
        last = traceback.format_exc().strip().splitlines()[-1]
        return Outcome(kind="failed", message=f"A fault of the program: {last}.")
    return Outcome(kind="prepared", warnings=info.warnings)


def fingerprint_of(source: ScanSource) -> str:
    """SHA-256 of what is to be read: which stack, and names, sizes and times of the files.

    Raises:
        InputError: A path is not there, or none is named.
        OSError: The system refused.
    """
    if not source.paths:
        raise InputError(
            f"Nothing says where the scan {source.scan_id} is.",
            remedy="Fill in `path` in the manifest.",
        )
    digest = hashlib.sha256(
        repr((source.series_instance_uid, source.stack_index, bool(source.mask_path))).encode()
    )
    masks = () if source.mask_path is None else (source.mask_path,)
    for path in (*source.paths, *masks):
        if not path.exists():
            raise InputError(f"{path} does not exist.", remedy="Check the manifest's paths.")
        for file in _files_below(path):
            status = os.stat(file)
            name = os.path.relpath(file, path.parent)
            digest.update(
                repr((name, status.st_size, status.st_mtime_ns)).encode("utf-8", "replace")
            )
    return digest.hexdigest()


def _files_below(path: Path) -> list[str]:
    if not path.is_dir():
        return [str(path)]
    found = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
    return sorted(file for file in found if os.path.exists(file))


def _is_there(scan_id: str, fingerprint: str, writer: StoreWriter) -> bool:
    if scan_id not in writer:
        return False
    try:
        return writer.info(scan_id).source_sha256 == fingerprint
    except StoreError:
        return False  # damaged: prepared again


def _read(
    source: ScanSource, fingerprint: str, grid: GridConfig
) -> tuple[StoredScan, NDArray[np.int16], NDArray[np.uint8] | None]:
    volume, warnings = _choose(source)
    entry = volume.entry
    if len(entry.slices) < MIN_SLICES:
        raise UnscorableError(f"It has {len(entry.slices)} slice(s); a bag needs {MIN_SLICES}.")
    hu, departures = grid_slices(volume, grid)
    warnings += [f"{each.code}: {each.message}" for each in (*entry.warnings, *departures)]
    whole = np.clip(np.rint(hu), *_INT16).astype(np.int16)
    if not np.array_equal(whole, hu):
        warnings.append(
            f"{WarningCode.ROUNDED_TO_STORE}: values are fractional, and were rounded to whole "
            "Hounsfield units"
        )
    positions = entry.geometry.position_mm
    info = StoredScan(
        scan_id=source.scan_id,
        sop_instance_uids=tuple(header.sop_instance_uid for header in entry.slices),
        frame_numbers=tuple(header.frame_number for header in entry.slices),
        position_mm=tuple(positions) if entry.geometry.has_positions else (None,) * len(positions),
        series_instance_uid=entry.series_instance_uid,
        stack_index=entry.stack_index,
        source_sha256=fingerprint,
        warnings=tuple(warnings),
    )
    mask = None if source.mask_path is None else _read_mask(source.mask_path, volume, grid)
    return info, whole, mask


def _choose(source: ScanSource) -> tuple[CTVolume, list[str]]:
    """The named stack, or the one that speaks for its study; and what to say of it."""
    index = require_entries(merge_indexes([index_folder(path) for path in source.paths]))
    entries = [entry for entry in index.entries if _is_named(entry, source)]
    if not entries:
        raise InputError(
            f"Series {source.series_instance_uid or 'any'}, stack {source.stack_index} of the "
            f"scan {source.scan_id} is not below {source.paths[0]}.",
            remedy="Correct the manifest's series or path.",
        )
    studies = {entry.study_instance_uid for entry in entries}
    if len(studies) > 1 and source.scan_id in studies:
        entries = [entry for entry in entries if entry.study_instance_uid == source.scan_id]
    elif len(studies) > 1:
        raise InputError(
            f"{source.paths[0]} holds {len(studies)} studies, and none of them is named "
            f"{source.scan_id}.",
            remedy="Name a series in the manifest, or one folder a scan.",
        )
    entry = entries[0] if len(entries) == 1 else _fittest(entries)
    volume = load_volume(entry)
    unfit = fitness_of_volume(volume).messages(FitnessLevel.UNFIT)
    return volume, [f"{WarningCode.UNFIT}: {unfit}"] if unfit else []


def _is_named(entry: StackEntry, source: ScanSource) -> bool:
    return source.series_instance_uid in ("", entry.series_instance_uid) and (
        source.stack_index in (None, entry.stack_index)
    )


def _fittest(entries: list[StackEntry]) -> StackEntry:
    """As `sadmil predict` reads the study out; where all are unfit, the least unfit."""
    fitness = {}
    for entry in entries:
        try:
            fitness[id(entry)] = fitness_of_volume(load_volume(entry))
        except SadmilError:
            continue  # another stack of the study may be whole
    read = [entry for entry in entries if id(entry) in fitness]
    for insist in (False, True):
        candidates = [
            Candidate(
                entry=entry,
                fitness=fitness[id(entry)],
                scorable=len(entry.slices) >= MIN_SLICES
                and (insist or not fitness[id(entry)].is_unfit),
            )
            for entry in read
        ]
        for choice in choose_readouts(candidates):
            if choice.has_answer:
                return next(entry for entry in read if choice.is_of(entry))
    raise UnscorableError("None of its series can be read as a bag of slices.")


def _read_mask(path: Path, volume: CTVolume, config: GridConfig) -> NDArray[np.uint8]:
    """The segmentation of a volume, laid on the same grid."""
    entries = require_entries(index_folder(path)).entries
    if len(entries) != 1 or entries[0].shape != volume.entry.shape:
        found = ", ".join(str(entry.shape) for entry in entries)
        raise InputError(
            f"The mask {path} is not one volume of {volume.entry.shape} slices, rows and columns "
            f"as its scan is, but {found}.",
            remedy="Export it on the scan's own matrix.",
        )
    mask = load_volume(entries[0])
    if mask.hu.shape != volume.hu.shape or _is_elsewhere(mask.entry, volume.entry):
        raise InputError(
            f"The mask {path} does not lie where its scan lies.",
            remedy="Export it on the scan's own matrix.",
        )
    grid = lay_grid(volume, config)
    planes: Iterable[NDArray[np.bool_]] = (plane > 0 for plane in mask.hu)
    if grid.size is not None:
        planes = (grid.resample(plane.astype(np.float32), 0.0) >= 0.5 for plane in planes)
    return np.stack(list(planes)).astype(np.uint8)


def _is_elsewhere(mask: StackEntry, scan: StackEntry) -> bool:
    # A mask that says nothing of its place is laid on its scan voxel by voxel.
    if WarningCode.NO_ORIENTATION in mask.warning_codes:
        return False
    if not (mask.geometry.has_positions and scan.geometry.has_positions):
        return False
    offsets = np.subtract(mask.geometry.origins_mm, scan.geometry.origins_mm)
    return bool(np.abs(offsets).max() > _SAME_PLACE_MM)
