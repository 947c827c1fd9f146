"""The processes of a training run: one, or those that torchrun or a batch system started.

Gradients are added up by one all-reduce of all of them after the backward pass, not by hooks
during it: a step may leave a rank without any bag, and gradients of accumulated batches are
exchanged once. Since every loss is a sum divided by weights that all ranks share (see
``objective``), the sum over ranks is the gradient of the whole step.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those of the run.

    Attributes:
        rank: From 0.
        world_size: How many there are.
        device: Where this one computes.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Adds a tensor up over all ranks, in place; the same bits on each."""
        if self.world_size > 1:
            on_device = values.to(self.device)
            dist.all_reduce(on_device)
            values.copy_(on_device)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Adds the gradients up; a parameter that no bag of this rank has met counts as 0."""
        trained = [p for p in parameters if p.requires_grad]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        if self.world_size == 1:
            return
        grads = [p.grad for p in trained if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        for g, part in zip(grads, torch.split(flat, [g.numel() for g in grads]), strict=True):
            g.copy_(part.view_as(g))

    def average_buffers(self, module: nn.Module) -> None:
        """Gives BatchNorm the mean of what the ranks have seen."""
        if self.world_size == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world_size

    def gather(self, value: Any) -> list[Any]:
        """What each rank gives, in their order, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def joined_ranks(device: torch.device | None = None) -> Iterator[Ranks]:
    """Joins the run that the environment tells of (RANK, WORLD_SIZE, ...), or is one by itself.

    Args:
        device: Where to compute; None takes CUDA's device LOCAL_RANK, if any, else the CPU.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if device is None:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Ranks(device=device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Ranks(rank=rank, world_size=world, device=device)
    finally:
        dist.destroy_process_group()
