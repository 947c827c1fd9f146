"""All slices of a store in two files that are mapped into memory: any 48 of them in a moment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.data.store import StoreReader
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.data.scans import ManifestScan

_HU_FILE, _MASK_FILE, _INDEX_FILE = "hu.npy", "masks.npy", "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePool:
    """The slices of some scans, one after the other.

    A store is read scan by scan; training on single slices of many scans would wait for it.

    Attributes:
        hu: (N, rows, columns) int16, Hounsfield units; mapped, not loaded.
        masks: (N, rows, columns) uint8: 1 where there is blood; mapped.
        starts: By scan, the number of its first slice.
    """

    hu: NDArray[np.int16]
    masks: NDArray[np.uint8]
    starts: Mapping[str, int]


def open_slice_pool(
    scans: Sequence[ManifestScan],
    store: Path,
    folder: Path,
    progress: Progress = no_progress,
) -> SlicePool:
    """The pool of these scans, written first where it is not there.

    Args:
        scans: All of them have masks in the store.
        store: Their pixels.
        folder: Of the pool's files: 3 bytes a pixel.
        progress: Told after each scan.

    Raises:
        StoreError: The store lacks a scan, or is damaged.
        WriteError: The disk is full, or the like.
    """
    reader = StoreReader(store)
    infos = {scan.scan_id: reader.info(scan.scan_id) for scan in scans}
    lines = "\n".join(f"{name} {info.source_sha256}" for name, info in infos.items())
    identity = hashlib.sha256(lines.encode()).hexdigest()
    counts = [len(info.position_mm) for info in infos.values()]
    starts = dict(zip(infos, np.cumsum([0, *counts]).tolist(), strict=False))
    make_folder(folder)
    index = folder / _INDEX_FILE
    if not index.is_file() or json.loads(index.read_text("utf-8")) != identity:
        index.unlink(missing_ok=True)
        size = reader.hu(scans[0].scan_id).shape[1:]
        shape = (sum(counts), *size)
        _write(folder / _HU_FILE, shape, np.int16, (reader.hu(n) for n in infos), progress)
        _write(folder / _MASK_FILE, shape, np.uint8, (_mask(reader, n) for n in infos), progress)
        # Last: files without an index are not whole.
        with replacing(index) as stream:
            stream.write(json.dumps(identity).encode())
    return SlicePool(
        hu=np.load(folder / _HU_FILE, mmap_mode="r"),
        masks=np.load(folder / _MASK_FILE, mmap_mode="r"),
        starts=starts,
    )


def _mask(reader: StoreReader, name: str) -> NDArray[np.uint8]:
    mask = reader.mask(name)
    if mask is None:
        raise ValueError(f"scan {name} has no mask")
    return mask


def _write(
    path: Path,
    shape: tuple[int, ...],
    dtype: type[np.generic],
    scans: Iterable[NDArray[np.generic]],
    progress: Progress,
) -> None:
    start = 0
    with replacing(path) as stream:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for values in scans:
            stream.write(np.ascontiguousarray(values, dtype=dtype).tobytes())
            start += len(values)
            progress(start, shape[0], f"gathering {path.stem}")
