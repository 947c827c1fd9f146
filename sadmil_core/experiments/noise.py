"""The bags of a split with noise added: to the pixels of images, or to features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from sadmil_core.data.store import StoreReader
from sadmil_core.preprocess import preprocess_slice
from sadmil_core.training.order import seed_for

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.data.bags import BagSample, BagSource
    from sadmil_core.preprocess import PreprocessConfig


class NoisyFeatures:
    """Features with Gaussian noise, another in each feature of each instance.

    Args:
        bags: Without noise.
        share: The noise's standard deviation, as a share of each feature's over all instances.
        seed: With the number of the scan it decides what is drawn: alike for all networks.
    """

    def __init__(self, bags: BagSource, share: float, seed: int) -> None:
        self._bags, self._seed = bags, seed
        everything = torch.cat([bags[index].instances for index in range(len(bags))])
        self._sd_D = share * everything.std(dim=0, correction=0)

    def __len__(self) -> int:
        return len(self._bags)

    def set_epoch(self, epoch: int) -> None:
        """The same in every epoch."""

    @property
    def labels(self) -> tuple[float, ...]:
        """The label of each scan."""
        return self._bags.labels

    def __getitem__(self, index: int) -> BagSample:
        """A scan with noise."""
        sample = self._bags[index]
        generator = torch.Generator().manual_seed(seed_for("noise", self._seed, index))
        noise = torch.randn(sample.instances.shape, generator=generator)
        return replace(sample, instances=sample.instances + noise * self._sd_D)


class NoisyImages:
    """Images with Gaussian noise in Hounsfield units, another in each pixel.

    Args:
        bags: Without noise, from the same store.
        store: Where their pixels are.
        preprocess: What the network sees.
        sd_hu: The noise's standard deviation, in pixels as the store has them.
        seed: With the number of the scan it decides what is drawn: alike for all networks.
    """

    def __init__(
        self, bags: BagSource, store: Path, preprocess: PreprocessConfig, sd_hu: float, seed: int
    ) -> None:
        self._bags, self._preprocess = bags, preprocess
        self._reader = StoreReader(store, preprocess.grid)
        self._sd_hu, self._seed = np.float32(sd_hu), seed

    def __len__(self) -> int:
        return len(self._bags)

    def set_epoch(self, epoch: int) -> None:
        """The same in every epoch."""

    @property
    def labels(self) -> tuple[float, ...]:
        """The label of each scan."""
        return self._bags.labels

    def __getitem__(self, index: int) -> BagSample:
        """A scan with noise."""
        sample = self._bags[index]
        rng = np.random.default_rng(seed_for("noise", self._seed, index))
        seen = [
            preprocess_slice(
                plane + self._sd_hu * rng.standard_normal(plane.shape, np.float32),
                self._preprocess,
            )
            for plane in self._reader.hu(sample.scan_id)
        ]
        return replace(sample, instances=torch.from_numpy(np.stack(seen)))
