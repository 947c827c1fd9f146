"""Frozen features: what a trained encoder makes of each slice, written once, to train on often."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import torch

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.data.manifest import SliceLabel, write_manifest
from sadmil_core.data.store import StoreReader, scan_key
from sadmil_core.data.storebags import StoreBags, join_labels
from sadmil_core.errors import ModelError
from sadmil_core.progress import Cancelled, Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.data.store import StoredScan
    from sadmil_core.model.sadmil import SaDmil
    from sadmil_core.model.trained import TrainedModel

MANIFEST = "manifest.csv"
_CHUNK = 16  # slices encoded at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesReport:
    """What was written.

    Attributes:
        manifest: The new manifest.
        features: D.
        written: Scans encoded now.
        kept: Scans whose features were there.
    """

    manifest: Path
    features: int
    written: int
    kept: int


def write_features(
    scans: Sequence[ManifestScan],
    store: Path,
    model: TrainedModel,
    folder: Path,
    *,
    device: torch.device | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> FeaturesReport:
    """Encodes the scans of a store and writes a manifest of the features.

    A scan is a ``.npz`` of ``features`` (S, D) float32 and, where all are known, ``position_mm``
    (S,); each is written whole or not at all, and a scan whose file is of the same network and
    pixels is not encoded again. The manifest comes last; its slices are known by their place.

    Args:
        scans: What to encode; their splits, labels, sites and edges stay.
        store: Where their pixels are; of the model's own grid.
        model: Whose encoder is used, in evaluation mode; context and pooling play no part.
        folder: Made if need be.
        device: Where to compute; None for the CPU.
        stop: Asked before each scan; then what is written stays, and no manifest is.
        progress: Told after each scan.

    Raises:
        ModelError: The model reads no images.
        StoreError: The store is of another grid, or lacks scans.
        WriteError: The system refused.
        Cancelled: Asked to stop.
    """
    header = model.header
    if not header.model.reads_images:
        raise ModelError(f"{header.name} reads features, and has no encoder to make them.")
    bags = StoreBags(scans, store, header.preprocess)
    reader = StoreReader(store, header.preprocess.grid)
    device = device or torch.device("cpu")
    encoder = model.module.to(device).eval()
    make_folder(folder / "features")
    written, named, width = 0, [], 0
    for index, scan in enumerate(scans):
        if stop():
            raise Cancelled
        info = reader.info(scan.scan_id)
        path = folder / "features" / f"{scan_key(scan.scan_id)}.npz"
        identity = _identity(header.model_sha256, info)
        shape = _shape(path, identity)
        if shape is None:
            sample = bags[index]
            features = _encode(encoder, sample.instances, device)
            shape = features.shape
            _write(path, features, sample.position_mm_S.numpy(), identity)
            written += 1
        width = shape[1]
        named.append(_described(scan, info, path))
        progress(index + 1, len(scans), "encoding scans")
    write_manifest(named, folder / MANIFEST)
    return FeaturesReport(
        manifest=folder / MANIFEST,
        features=width,
        written=written,
        kept=len(scans) - written,
    )


def _encode(module: SaDmil, instances: torch.Tensor, device: torch.device) -> NDArray[np.float32]:
    parts = []
    with torch.inference_mode():
        for part in torch.split(instances, _CHUNK):
            x = part.to(device, memory_format=torch.channels_last)
            parts.append(module.encode(x).float().cpu())
    features: NDArray[np.float32] = torch.cat(parts).numpy()
    return features


def _identity(model_sha256: str, info: StoredScan) -> str:
    return hashlib.sha256(f"{model_sha256} {info.source_sha256}".encode()).hexdigest()


def _write(
    path: Path, features: NDArray[np.float32], position_mm: NDArray[np.float32], identity: str
) -> None:
    known = {} if np.isnan(position_mm).any() else {"position_mm": position_mm}
    with replacing(path) as stream:
        np.savez(
            stream, allow_pickle=False, features=features, identity=np.array(identity), **known
        )


def _shape(path: Path, identity: str) -> tuple[int, ...] | None:
    """The shape of features that are there and of the same network and pixels."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if str(arrays["identity"]) == identity:
                shape: tuple[int, ...] = arrays["features"].shape
                return shape
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # not there, or damaged: written again
    return None


def _described(scan: ManifestScan, info: StoredScan, path: Path) -> ManifestScan:
    """The scan with its features; each slice by its place, with what is known of it."""
    labels = join_labels(scan, info)
    subtypes = {each.sop_instance_uid: each.subtypes for each in scan.slices}
    slices = tuple(
        SliceLabel(
            sop_instance_uid=uid or None,
            frame_number=frame,
            slice_index=at,
            label=None if np.isnan(labels[at]) else bool(labels[at]),
            subtypes=subtypes.get(uid, {}) if frame is None else {},
        )
        for at, (uid, frame) in enumerate(
            zip(info.sop_instance_uids, info.frame_numbers, strict=True)
        )
    )
    return replace(
        scan,
        slices=slices,
        features_path=path,
        series_instance_uid=info.series_instance_uid,
        stack_index=info.stack_index,
    )
