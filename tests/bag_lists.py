"""Bags in memory for tests of training: bright squares in the slices of positive scans."""

from __future__ import annotations

import math

import torch

from sadmil_core.data.bags import BagSample


class BagList:
    """Scans kept in memory; ``bags[i]`` may be asked from several threads."""

    def __init__(self, samples: list[BagSample]) -> None:
        self._samples = samples
        self.epoch = 0
        self.drawn: list[int] = []

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> BagSample:
        self.drawn.append(index)
        return self._samples[index]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def labels(self) -> tuple[float, ...]:
        return tuple(sample.label for sample in self._samples)


def square_scans(
    count: int, seed: int, *, dtype: torch.dtype = torch.float32, size: int = 32
) -> list[BagSample]:
    """Every second scan bleeds in two slices; scans have 3 to 7 slices."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(count):
        slices = 3 + int(torch.randint(0, 5, (), generator=generator))
        x = 0.3 * torch.rand(slices, 3, size, size, generator=generator, dtype=dtype)
        labels = torch.zeros(slices)
        if i % 2:
            first = int(torch.randint(0, slices - 1, (), generator=generator))
            labels[first : first + 2] = 1
            x[first : first + 2, :, 10:18, 10:18] += 0.6
        samples.append(
            BagSample(
                scan_id=f"scan{seed}-{i}",
                instances=x,
                label=float(i % 2),
                slice_labels_S=labels if i % 3 else torch.full((slices,), math.nan),
                position_mm_S=5.0 * torch.arange(slices),
            )
        )
    return samples
