"""Smoothness of attention logits over the slice graph (arXiv 2307.09457, section 3).

With adjacency A, degree D and Laplacian L = D - A of the graph of a bag's slices,

    S1 = f' L f = sum over edges (f_i - f_j)^2        S2 = f' L' L f = |L f|^2

on the logits f, before the softmax. On the chain, where each slice is joined to the next,
both are differences of neighbours: O(S), and no S x S matrix is ever built.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def chain_smoothness(f_BS: Tensor, mask_BS: Tensor, order: Literal[1, 2]) -> Tensor:
    """S1 or S2 of each bag on the chain of its real slices, divided by their number.

    The division keeps long scans from outweighing short ones in a batch.

    Args:
        f_BS: Attention logits.
        mask_BS: True for real slices, which must come first in each bag.
        order: 1 for S1, 2 for S2.

    Returns:
        (B,) the penalty of each bag; 0 for a bag of one slice.
    """
    joined_BE = mask_BS[:, 1:] & mask_BS[:, :-1]
    zero = torch.zeros((), dtype=f_BS.dtype, device=f_BS.device)
    step_BE = torch.where(joined_BE, f_BS[:, 1:] - f_BS[:, :-1], zero)
    if order == 1:
        penalty_B = step_BE.square().sum(dim=-1)
    else:
        # (L f)_i is the step into slice i less the step out of it.
        into_BS = torch.nn.functional.pad(step_BE, (1, 0))
        out_BS = torch.nn.functional.pad(step_BE, (0, 1))
        penalty_B = (into_BS - out_BS).square().sum(dim=-1)
    return penalty_B / mask_BS.sum(dim=-1).clamp(min=1)
