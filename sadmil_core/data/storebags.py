"""Bags out of a store: Hounsfield units windowed, augmented, and joined with what is known."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from sadmil_core.data.augment import Augmentation, AugmentConfig, draw_augmentation
from sadmil_core.data.bags import BagSample
from sadmil_core.data.edges import read_edges
from sadmil_core.data.store import StoreReader
from sadmil_core.errors import StoreError
from sadmil_core.preprocess import preprocess_slice
from sadmil_core.training.order import seed_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from sadmil_core.data.scans import ManifestScan, SliceLabel
    from sadmil_core.data.store import StoredScan
    from sadmil_core.preprocess import PreprocessConfig

_NAMED = 5


class StoreBags:
    """Scans of a manifest whose pixels are in a store; a ``BagSource``.

    Args:
        scans: In the order in which they are counted.
        store: What `sadmil prepare` has written.
        preprocess: What the network sees.
        augment: None for scans as they are.
        seed: With the epoch and the scan's number it decides what augmentation draws.

    Raises:
        StoreError: There is no store of this grid, or it lacks scans.
    """

    def __init__(
        self,
        scans: Sequence[ManifestScan],
        store: Path,
        preprocess: PreprocessConfig,
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> None:
        self._scans, self._preprocess = tuple(scans), preprocess
        self._augment = None if augment == AugmentConfig() else augment
        self._seed, self._epoch = seed, 0
        self._reader = StoreReader(store, preprocess.grid)
        missing = [scan.scan_id for scan in self._scans if scan.scan_id not in self._reader]
        if missing:
            more = ", ..." if len(missing) > _NAMED else ""
            raise StoreError(
                f"The store {store} lacks {len(missing)} of {len(self._scans)} scans: "
                f"{', '.join(missing[:_NAMED])}{more}.",
                remedy="Run `sadmil prepare` with this manifest.",
            )

    def __len__(self) -> int:
        return len(self._scans)

    @cached_property
    def sha256(self) -> str:
        """Of what the pixels were made from, and of what the manifest says of them."""
        digest = hashlib.sha256(self._preprocess.grid.grid_sha256.encode())
        for scan, info in zip(self._scans, self._infos, strict=True):
            labels = join_labels(scan, info).tobytes()
            digest.update(f"{scan.scan_id} {scan.label} {info.source_sha256} ".encode() + labels)
            if scan.edges_path is not None:
                edges = read_edges(scan.edges_path, len(info.sop_instance_uids))
                digest.update(edges.pairs_E2.numpy().tobytes() + edges.weights_E.numpy().tobytes())
        return digest.hexdigest()

    @property
    def knows_positions(self) -> bool:
        """Whether each slice of each scan has its position."""
        return not any(None in info.position_mm for info in self._infos)

    @cached_property
    def _infos(self) -> tuple[StoredScan, ...]:
        return tuple(self._reader.info(scan.scan_id) for scan in self._scans)

    def set_epoch(self, epoch: int) -> None:
        """Augments otherwise from now on."""
        self._epoch = epoch

    @property
    def labels(self) -> tuple[float, ...]:
        """The label of each scan, NaN where unknown."""
        return tuple(_number(scan.label) for scan in self._scans)

    def __getitem__(self, index: int) -> BagSample:
        """A scan; the same whenever and wherever it is asked for in an epoch.

        Raises:
            StoreError: It is damaged, or its slice labels are of other slices.
        """
        scan = self._scans[index]
        info, hu = self._reader.info(scan.scan_id), self._reader.hu(scan.scan_id)
        labels = join_labels(scan, info)
        rng = np.random.default_rng(seed_for("augment", self._seed, self._epoch, index))
        drawn = Augmentation(kept=np.arange(len(hu)))
        if self._augment is not None:
            drawn = draw_augmentation(self._augment, rng, labels == 1)
        mask = self._reader.mask(scan.scan_id)
        position_mm = np.array([math.nan if p is None else p for p in info.position_mm], np.float32)
        edges = None
        if scan.edges_path is not None:
            edges = read_edges(scan.edges_path, len(hu), drawn.kept)
        return BagSample(
            scan_id=scan.scan_id,
            instances=torch.from_numpy(_see(hu, drawn, self._preprocess, rng)),
            label=_number(scan.label),
            slice_labels_S=torch.from_numpy(labels[drawn.kept]),
            masks_SHW=None if mask is None else _see_mask(mask, drawn, self._preprocess.size),
            position_mm_S=torch.from_numpy(position_mm[drawn.kept]),
            edges=edges,
        )


def join_labels(scan: ManifestScan, info: StoredScan) -> NDArray[np.float32]:
    """The labels of the slices of a stored scan, by instance, else by place in the stack.

    Labels of instances that the stack does not have (of other series of a study, say) are
    passed over.

    Returns:
        (S,) float32: 1, 0, or NaN where unknown.

    Raises:
        StoreError: There are labels, and none is of a slice that is there; or one is of a place
            beyond the stack.
    """
    labels = np.full(len(info.sop_instance_uids), math.nan, np.float32)
    places: dict[str, list[int]] = defaultdict(list)
    for index, uid in enumerate(info.sop_instance_uids):
        places[uid].append(index)
    known = [each for each in scan.slices if each.label is not None]
    for each in known:
        place = _place(each, places, info)
        if place is not None:
            labels[place] = _number(each.label)
    if known and np.isnan(labels).all():
        raise StoreError(
            f"None of the {len(known)} slice labels of scan {scan.scan_id} is of a slice in the "
            f"store, which holds stack {info.stack_index} of series {info.series_instance_uid}.",
            remedy="Name the labelled series in the manifest, and run `sadmil prepare` again.",
        )
    return labels


def _place(label: SliceLabel, places: dict[str, list[int]], info: StoredScan) -> int | None:
    if label.sop_instance_uid is None:
        index = label.slice_index
        if index is not None and index >= len(info.sop_instance_uids):
            raise StoreError(
                f"Line {label.line} of the manifest labels slice {index} of scan {info.scan_id}, "
                f"whose slices are 0 to {len(info.sop_instance_uids) - 1}.",
                remedy="Correct the manifest, or name slices by their instance UIDs.",
            )
        return index
    found = places.get(label.sop_instance_uid, [])
    if label.frame_number is not None:
        found = [i for i in found if (info.frame_numbers[i] or 1) == label.frame_number]
    return found[0] if len(found) == 1 else None


def _see(
    hu: NDArray[np.int16], drawn: Augmentation, config: PreprocessConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """What the network sees of the slices that stay, (S, channels, rows, columns)."""
    config = drawn.windows(config)
    x = np.empty((len(drawn.kept), len(config.windows), *config.size), np.float32)
    for k, index in enumerate(drawn.kept):
        plane = drawn.move(hu[index])
        if drawn.noise_sd_hu:
            noise = rng.standard_normal(plane.shape, np.float32)
            plane = plane + np.float32(drawn.noise_sd_hu) * noise
        x[k] = preprocess_slice(drawn.sharpen(plane), config)
    return x


def _see_mask(mask: NDArray[np.uint8], drawn: Augmentation, size: tuple[int, int]) -> Tensor:
    """The same of a segmentation: float32 of 0 and 1, (S, rows, columns)."""
    seen = np.empty((len(drawn.kept), *size), np.float32)
    for k, index in enumerate(drawn.kept):
        plane: NDArray[np.float32] = drawn.move(mask[index].astype(np.float32), 0.0).astype(
            np.float32, copy=False
        )
        if plane.shape != size:
            image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
            resized = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            plane = np.asarray(resized, dtype=np.float32)
        seen[k] = plane >= 0.5
    return torch.from_numpy(seen)


def _number(label: bool | None) -> float:
    return math.nan if label is None else float(label)
