"""Bags for training: samples of one scan, and batches without a single padded slice.

A batch holds the real slices of all its bags one after another; what belongs to a slice beside
its pixels (labels, positions) is padded to (B, S) with a mask. Slices run foot to head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sadmil_core.model.graph import EdgeList

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class BagSample:
    """One scan.

    Attributes:
        scan_id: Which.
        instances: (S, C, H, W) float32 in [0, 1], or (S, D) features.
        label: 1, 0, or NaN where unknown.
        slice_labels_S: float32; NaN where unknown.
        masks_SHW: float32 of 0 and 1, NaN throughout a slice without a mask; None without any.
        position_mm_S: float32 along the stack, NaN where unknown.
        edges: The bag's own, as indices into its S instances; None without.
    """

    scan_id: str
    instances: Tensor
    label: float
    slice_labels_S: Tensor
    masks_SHW: Tensor | None = None
    position_mm_S: Tensor
    edges: EdgeList | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The bags of one forward pass: B bags of at most S slices, N slices in all.

    Attributes:
        scan_ids: Of each bag.
        instances: (N, C, H, W) or (N, D), bag after bag.
        mask_BS: True for real slices.
        label_B: NaN where unknown.
        slice_label_BS: NaN where unknown, and outside the mask.
        position_mm_BS: NaN where unknown, and outside the mask.
        masks_NHW: None where no bag has one.
        edges: As indices into B * S places; None where a bag has none.
    """

    scan_ids: tuple[str, ...]
    instances: Tensor
    mask_BS: Tensor
    label_B: Tensor
    slice_label_BS: Tensor
    position_mm_BS: Tensor
    masks_NHW: Tensor | None = None
    edges: EdgeList | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; images channels last."""
        instances = self.instances
        if instances.ndim == 4:
            instances = instances.to(device, memory_format=torch.channels_last, non_blocking=True)
        else:
            instances = instances.to(device, non_blocking=True)
        return replace(
            self,
            instances=instances,
            mask_BS=self.mask_BS.to(device),
            label_B=self.label_B.to(device),
            slice_label_BS=self.slice_label_BS.to(device),
            position_mm_BS=self.position_mm_BS.to(device),
            masks_NHW=None if self.masks_NHW is None else self.masks_NHW.to(device),
            edges=None if self.edges is None else self.edges.to(device),
        )


class BagSource(Protocol):
    """Scans that can be drawn one by one."""

    def __len__(self) -> int:
        """How many scans there are."""

    def __getitem__(self, index: int) -> BagSample:
        """A scan, augmented as (seed, epoch, index) says; safe to call from several threads."""

    def set_epoch(self, epoch: int) -> None:
        """Augments otherwise from now on."""

    @property
    def labels(self) -> tuple[float, ...]:
        """The label of each scan, NaN where unknown; known without reading a pixel."""


def collate(samples: Sequence[BagSample]) -> Batch:
    """Puts scans into a batch."""
    sizes = [len(sample.slice_labels_S) for sample in samples]
    nan = float("nan")
    mask_BS = torch.arange(max(sizes))[None, :] < torch.tensor(sizes)[:, None]
    return Batch(
        scan_ids=tuple(sample.scan_id for sample in samples),
        instances=torch.cat([sample.instances for sample in samples]),
        mask_BS=mask_BS,
        label_B=torch.tensor([sample.label for sample in samples], dtype=torch.float32),
        slice_label_BS=pad_sequence([s.slice_labels_S for s in samples], True, nan),
        position_mm_BS=pad_sequence([s.position_mm_S for s in samples], True, nan),
        masks_NHW=_masks(samples),
        edges=_edges(samples, max(sizes)),
    )


def _masks(samples: Sequence[BagSample]) -> Tensor | None:
    known = [sample.masks_SHW for sample in samples if sample.masks_SHW is not None]
    if not known:
        return None
    empty = known[0].new_full(known[0].shape[1:], float("nan"))
    return torch.cat(
        [
            empty.expand(len(s.slice_labels_S), *empty.shape)
            if s.masks_SHW is None
            else s.masks_SHW
            for s in samples
        ]
    )


def _edges(samples: Sequence[BagSample], size: int) -> EdgeList | None:
    lists = [sample.edges for sample in samples]
    known = [edges for edges in lists if edges is not None]
    if len(known) != len(lists):
        return None
    return EdgeList(
        pairs_E2=torch.cat([edges.pairs_E2 + b * size for b, edges in enumerate(known)]),
        weights_E=torch.cat([edges.weights_E for edges in known]),
    )
