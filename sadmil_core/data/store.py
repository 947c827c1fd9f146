"""A store of prepared scans: Hounsfield units on one grid, as a Zarr v3 group.

A scan is a group of its own, written under another name and renamed when it is whole: whatever
ends the writer, a scan is there or it is not. Labels are not in a store.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from sadmil_core import __version__
from sadmil_core.atomic import explain_refusal
from sadmil_core.configs import from_mapping, to_mapping
from sadmil_core.errors import StoreError
from sadmil_core.pixelgrid import GridConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

STORE_SCHEMA = 1
_SCANS, _UNFINISHED = "scans", ".unfinished"
_HU, _MASK = "hu", "mask"
_SHARD = Path("c/0/0/0")
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScan:
    """What a store knows of a scan beside its pixels; S slices, foot to head.

    Attributes:
        scan_id: Its name in the manifest.
        sop_instance_uids: Of each slice.
        frame_numbers: Of each slice, counted from 1; None where the file had a single one.
        position_mm: Of each slice along the stack's normal; None where the files have none.
        series_instance_uid: What was read.
        stack_index: The stack of it.
        source_sha256: Of the names, sizes and times of the files it was made from.
        warnings: Codes and sentences: what reading and preparing departed in.
    """

    scan_id: str
    sop_instance_uids: tuple[str, ...]
    frame_numbers: tuple[int | None, ...]
    position_mm: tuple[float | None, ...]
    series_instance_uid: str
    stack_index: int
    source_sha256: str
    warnings: tuple[str, ...] = ()


def scan_key(scan_id: str) -> str:
    """The name of a scan's group: 24 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(scan_id.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class StoreReader:
    """The scans of a store; safe to use from several threads.

    Args:
        path: The store's folder.
        grid: What its pixels must be; None for whatever they are.

    Attributes:
        path: As given.
        grid: What they are.

    Raises:
        StoreError: There is no store, one of a newer schema, or one with another grid.
    """

    def __init__(self, path: Path, grid: GridConfig | None = None) -> None:
        self.path = path
        self.grid = _read_root(path)
        if grid is not None and grid.grid_sha256 != self.grid.grid_sha256:
            raise StoreError(
                f"The store {path} holds {self.grid}; wanted is {grid}.",
                remedy="Prepare another store for this preprocessing.",
            )

    def __contains__(self, scan_id: str) -> bool:
        return self._folder(scan_id).is_dir()

    def info(self, scan_id: str) -> StoredScan:
        """What is known of a scan.

        Raises:
            StoreError: It is not there, or damaged.
        """
        with self._reading(scan_id) as folder:
            attributes = zarr.open_group(folder, mode="r").attrs.asdict()
            info = from_mapping(StoredScan, attributes, f"scan {scan_id}")
            if info.scan_id != scan_id:
                raise ValueError(f"it says it is {info.scan_id}")
            return info

    def hu(self, scan_id: str) -> NDArray[np.int16]:
        """Hounsfield units, (S, rows, columns).

        Raises:
            StoreError: The scan is not there, or damaged.
        """
        return self._array(scan_id, _HU).astype(np.int16, copy=False)

    def mask(self, scan_id: str) -> NDArray[np.uint8] | None:
        """The segmentation, 0 and 1 in the shape of :meth:`hu`; None where there is none.

        Raises:
            StoreError: As :meth:`hu`.
        """
        if scan_id in self and not (self._folder(scan_id) / _MASK).exists():
            return None
        return self._array(scan_id, _MASK).astype(np.uint8, copy=False)

    def _array(self, scan_id: str, name: str) -> NDArray[Any]:
        with self._reading(scan_id) as folder:
            if not (folder / name / _SHARD).is_file():  # which zarr would read as zeros
                raise ValueError(f"its pixels ({name}) are missing")
            return np.asarray(zarr.open_array(folder / name, mode="r")[:])

    def _folder(self, scan_id: str) -> Path:
        return self.path / _SCANS / scan_key(scan_id)

    @contextmanager
    def _reading(self, scan_id: str) -> Iterator[Path]:
        folder = self._folder(scan_id)
        if not folder.is_dir():
            raise StoreError(
                f"The store {self.path} has no scan {scan_id}.",
                remedy="Run `sadmil prepare` with a manifest that has it.",
            )
        try:
            yield folder
        except MemoryError:
            raise
        # Each codec and zarr itself have their own kinds of error for what is damaged.
        except Exception as error:
            raise StoreError(
                f"Scan {scan_id} in the store {self.path} cannot be read ({folder.name}): {error}.",
                remedy="Delete that folder of the store and run `sadmil prepare` again.",
            ) from error


class StoreWriter(StoreReader):
    """A store that is added to; several processes may do so at once.

    The store is made where there is none.

    Args:
        path: The store's folder; made with those above it.
        grid: What its pixels are.

    Raises:
        StoreError: Something else stands there, or a store with another grid.
        WriteError: The system refused.
    """

    def __init__(self, path: Path, grid: GridConfig) -> None:
        with _writing(path):
            _make_root(path, grid)
        super().__init__(path, grid)
        self._unfinished = path / _UNFINISHED

    def write(
        self, info: StoredScan, hu: NDArray[np.int16], mask: NDArray[np.uint8] | None = None
    ) -> None:
        """Adds a scan, or replaces it.

        Args:
            info: Names it.
            hu: (S, rows, columns) Hounsfield units on the store's grid.
            mask: The same shape, 0 and 1.

        Raises:
            WriteError: The system refused; nothing of the scan is left behind.
        """
        if not hu.ndim == 3 or len(info.sop_instance_uids) != len(hu):
            raise ValueError(f"{len(info.sop_instance_uids)} slices do not fit {hu.shape}")
        if mask is not None and mask.shape != hu.shape:
            raise ValueError(f"a mask of {mask.shape} does not fit {hu.shape}")
        target = self._folder(info.scan_id)
        temporary = self._unfinished / _temporary_name(target.name)
        with _writing(self.path):
            try:
                self._unfinished.mkdir(exist_ok=True)
                group = zarr.create_group(temporary, zarr_format=3, attributes=to_mapping(info))
                _add_array(group, _HU, hu)
                if mask is not None:
                    _add_array(group, _MASK, mask)
                _flush(temporary)
                self._put(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what writers that are gone have left half."""
        with suppress(OSError, ValueError):  # ValueError: a name that no writer gave
            for left in list(self._unfinished.iterdir()):
                if _is_abandoned(left):
                    shutil.rmtree(left, ignore_errors=True)
            self._unfinished.rmdir()  # only where it is empty

    def _put(self, temporary: Path, target: Path) -> None:
        if target.exists():  # a folder cannot be renamed over another
            aside = self._unfinished / _temporary_name(target.name)
            os.rename(target, aside)
            os.rename(temporary, target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(temporary, target)


def _add_array(group: zarr.Group, name: str, values: NDArray[Any]) -> None:
    """One chunk a slice, one file a scan; slices of zeros are written too."""
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(1, *values.shape[1:]),
        shards=values.shape,
        compressors=ZstdCodec(level=3, checksum=True),
        config={"write_empty_chunks": True},
    )
    array[:] = values


def _make_root(path: Path, grid: GridConfig) -> None:
    """Writes the store's own header, whole or not at all, where the folder is new or empty."""
    path.mkdir(parents=True, exist_ok=True)
    found = {each.name for each in path.iterdir()}
    if "zarr.json" in found or found - {_UNFINISHED, _SCANS}:
        return  # a store, or what the reader will refuse
    attributes = {
        "store_schema": STORE_SCHEMA,
        "grid": to_mapping(grid),
        "grid_sha256": grid.grid_sha256,
        "software_version": __version__,
    }
    unfinished = path / _UNFINISHED
    unfinished.mkdir(exist_ok=True)
    temporary = unfinished / _temporary_name("root")
    group = zarr.create_group(temporary, zarr_format=3, attributes=attributes)
    group.create_group(_SCANS)
    _flush(temporary)
    with suppress(OSError):  # another process was first
        os.rename(temporary / _SCANS, path / _SCANS)
    os.replace(temporary / "zarr.json", path / "zarr.json")
    shutil.rmtree(temporary, ignore_errors=True)


def _read_root(path: Path) -> GridConfig:
    try:
        attributes = zarr.open_group(path, mode="r", zarr_format=3).attrs.asdict()
        schema = attributes["store_schema"]
        if not isinstance(schema, int) or schema > STORE_SCHEMA:
            raise StoreError(
                f"The store {path} is of schema {schema}; this program reads {STORE_SCHEMA}.",
                remedy="Use a newer version of the program.",
            )
        grid = from_mapping(GridConfig, attributes["grid"], "grid")
        if attributes["grid_sha256"] != grid.grid_sha256:
            raise ValueError("its grid does not have the hash it says")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is no store of prepared scans: {error}.",
            remedy="Name one that `sadmil prepare` has written, or a new folder to prepare into.",
        ) from error
    return grid


def _temporary_name(name: str) -> str:
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    return f"{name}.{host}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


def _is_abandoned(left: Path) -> bool:
    """Whether its writer is gone: a process of this machine that is no more, or a day is over."""
    _, host, process, _ = left.name.rsplit(".", 3)
    if _temporary_name("").split(".")[1] == host and os.name == "posix":
        return not _is_running(int(process))
    return time.time() - left.stat().st_mtime > _ABANDONED_S


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(folder: Path) -> None:
    """To the disk, so that a crash of the machine leaves no scan that only looks whole."""
    for root, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(root, name), "rb+") as stream:
                os.fsync(stream.fileno())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOTDIR or isinstance(error, FileExistsError):
            raise StoreError(f"{path} is no folder.", remedy="Name a new folder.") from error
        raise explain_refusal(path, error) from error
