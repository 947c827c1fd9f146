"""Smoothness of attention over a slice graph (arXiv 2307.09457, section 3).

    S1 = f' L f        S2 = f' L' L f = |L f|^2

on the logits f, before the softmax. Both are divided by the bag's number of slices, so that long
scans do not outweigh short ones in a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sadmil_core.model.graph import chain_graph

if TYPE_CHECKING:
    from torch import Tensor

    from sadmil_core.model.graph import SliceGraph

Order = Literal[1, 2]


def smoothness(
    f_BS: Tensor, mask_BS: Tensor, graph: SliceGraph, order: Order, *, self_loops: bool = False
) -> Tensor:
    """S1 or S2 of each bag, divided by its number of real slices.

    Args:
        f_BS: Attention logits (or weights, for fidelity to the authors' code).
        mask_BS: True for real slices.
        graph: Of the same bags.
        order: 1 for S1, 2 for S2.
        self_loops: L = D + I - A, as the authors' code has it, in place of L = D - A: it pulls
            f itself towards 0, too.

    Returns:
        (B,) the penalty of each bag.
    """
    if order == 1:
        penalty_B = graph.quadratic(f_BS)
        if self_loops:
            penalty_B = penalty_B + f_BS.masked_fill(~mask_BS, 0.0).square().sum(dim=-1)
    else:
        curvature_BS = graph.laplacian(f_BS)
        if self_loops:
            curvature_BS = curvature_BS + f_BS.masked_fill(~mask_BS, 0.0)
        penalty_B = curvature_BS.square().sum(dim=-1)
    return penalty_B / mask_BS.sum(dim=-1).clamp(min=1)


def chain_smoothness(f_BS: Tensor, mask_BS: Tensor, order: Order) -> Tensor:
    """:func:`smoothness` on the paper's graph, the chain of a bag's slices."""
    return smoothness(f_BS, mask_BS, chain_graph(mask_BS), order)
