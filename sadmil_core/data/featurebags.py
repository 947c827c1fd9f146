"""Bags of features that another network has computed: of slices, or of anything else."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from sadmil_core.data.bags import BagSample
from sadmil_core.data.edges import read_edges
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.data.scans import ManifestScan

_LISTED = 20


class FeatureBags:
    """Scans of a manifest whose features lie in files of their own; a ``BagSource``.

    All are read at once: a scan is some hundred kilobytes.

    Args:
        scans: In the order in which they are counted; each with a ``features_path``: a .npy
            array (S, D), or a .npz of ``features`` (S, D) and, if known, ``position_mm`` (S,).
            Labels of instances are joined by ``slice_index``, the row.

    Attributes:
        features: D, alike in all scans.
        sha256: Of features, positions, edges and labels.

    Raises:
        ManifestError: Files cannot be used; all of them are listed.
    """

    def __init__(self, scans: Sequence[ManifestScan]) -> None:
        problems: list[str] = []
        samples: list[BagSample] = []
        digest = hashlib.sha256()
        for scan in scans:
            try:
                samples.append(_read(scan))
            except ManifestError as error:
                problems.append(str(error))
                continue
            _digest(digest, samples[-1])
        widths = sorted({int(sample.instances.shape[1]) for sample in samples})
        if len(widths) > 1:
            problems.append(f"the scans have different numbers of features: {widths}")
        if problems or not samples:
            listed = "; ".join(problems[:_LISTED]) or "there are none"
            more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
            raise ManifestError(
                f"The features of the manifest cannot be used: {listed}{more}.",
                problems=tuple(problems),
            )
        self._samples = tuple(samples)
        self.features = widths[0]
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._samples)

    def set_epoch(self, epoch: int) -> None:
        """The same in every epoch."""

    @property
    def knows_positions(self) -> bool:
        """Whether each instance of each scan has its position."""
        return not any(bool(s.position_mm_S.isnan().any()) for s in self._samples)

    @property
    def labels(self) -> tuple[float, ...]:
        """The label of each scan, NaN where unknown."""
        return tuple(sample.label for sample in self._samples)

    def __getitem__(self, index: int) -> BagSample:
        """A scan."""
        return self._samples[index]


def _digest(digest: hashlib._Hash, sample: BagSample) -> None:
    digest.update(f"{sample.scan_id} {sample.label}".encode())
    parts = [sample.instances, sample.slice_labels_S, sample.position_mm_S]
    if sample.edges is not None:
        parts += [sample.edges.pairs_E2, sample.edges.weights_E]
    for part in parts:
        digest.update(part.numpy().tobytes())


def _read(scan: ManifestScan) -> BagSample:
    if scan.features_path is None:
        raise ManifestError(f"scan {scan.scan_id} names no features_path")
    features, position_mm = _arrays(scan.features_path)
    count = len(features)
    edges = None if scan.edges_path is None else read_edges(scan.edges_path, count)
    return BagSample(
        scan_id=scan.scan_id,
        instances=torch.from_numpy(features),
        label=math.nan if scan.label is None else float(scan.label),
        slice_labels_S=torch.from_numpy(_labels(scan, count)),
        position_mm_S=torch.from_numpy(position_mm),
        edges=edges,
    )


def _arrays(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (S, D) and positions (S,), NaN where unknown."""
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        position: NDArray[Any] | None = None
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                position = loaded.get("position_mm")
                loaded = loaded["features"]
        if loaded.ndim != 2 or 0 in loaded.shape or loaded.dtype.kind != "f":
            raise ValueError(f"it holds {loaded.dtype} {loaded.shape}, not float (S, D)")
        if not np.isfinite(loaded).all():
            raise ValueError("it holds values that are no finite numbers")
        if position is None:
            position = np.full(len(loaded), math.nan)
        if position.shape != loaded.shape[:1] or position.dtype.kind not in "fiu":
            raise ValueError(f"position_mm is {position.dtype} {position.shape}")
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ManifestError(f"{path}: {reason}") from error
    return np.ascontiguousarray(loaded, np.float32), np.ascontiguousarray(position, np.float32)


def _labels(scan: ManifestScan, count: int) -> NDArray[np.float32]:
    labels = np.full(count, math.nan, np.float32)
    known = [each for each in scan.slices if each.label is not None]
    for each in known:
        if each.slice_index is None:
            raise ManifestError(
                f"scan {scan.scan_id}, line {each.line}: labels of features need a slice_index"
            )
        if each.slice_index >= count:
            raise ManifestError(
                f"scan {scan.scan_id}, line {each.line}: slice {each.slice_index} of {count}"
            )
        labels[each.slice_index] = float(bool(each.label))
    return labels
