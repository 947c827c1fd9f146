"""Activation checkpointing: blocks that compute their activations again for the backward pass.

Memory then grows with the largest block, not with their number (Chen et al. 2016, arXiv
1604.06174). The gradients are those of an ordinary step, and so are BatchNorm's statistics.
"""

from __future__ import annotations

import contextlib
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def set_checkpointing(blocks: Iterable[nn.Module], enabled: bool) -> None:
    """Has blocks keep their inputs only, or (again) all that their backward needs.

    Args:
        blocks: Each is recomputed as one.
        enabled: Whether they are.
    """
    for block in blocks:
        if enabled:
            # A bound method is copied along with its module, where a closure would not be.
            block.forward = MethodType(_forward_checkpointed, block)
        else:
            block.__dict__.pop("forward", None)


def _forward_checkpointed(self: nn.Module, *inputs: Any) -> Any:
    forward = type(self).forward
    if not torch.is_grad_enabled():
        return forward(self, *inputs)
    return checkpoint(
        forward,
        self,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(self)),
    )


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """BatchNorm's running statistics have had this batch already."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm)]
    kept = [
        (n.momentum, None if n.num_batches_tracked is None else n.num_batches_tracked.clone())
        for n in norms
    ]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
