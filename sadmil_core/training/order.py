"""Which bags make which step, on which rank: a function of seed, epoch and step alone."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def seed_for(*parts: int | str) -> int:
    """A seed of 63 bits from any parts, as unrelated to its neighbours as a hash makes it.

    Nothing random has a state that would have to be saved: whatever a run draws, it draws from
    a generator seeded by where it is.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """A permutation of ``count`` bags."""
    generator = torch.Generator().manual_seed(seed_for("order", seed, epoch))
    return torch.randperm(count, generator=generator).tolist()


def steps_per_epoch(count: int, bags_per_step: int) -> int:
    """Steps of an epoch; the last one may have fewer bags."""
    return -(-count // bags_per_step)


def bags_of_step(order: Sequence[int], step: int, bags_per_step: int) -> list[int]:
    """The bags of one step, over all ranks."""
    return list(order[step * bags_per_step : (step + 1) * bags_per_step])


def batches_of_rank(
    bags: Sequence[int], rank: int, world_size: int, bags_per_batch: int
) -> list[list[int]]:
    """One rank's share of a step, in batches; it may be none."""
    share = list(bags[rank::world_size])
    return [share[i : i + bags_per_batch] for i in range(0, len(share), bags_per_batch)]
