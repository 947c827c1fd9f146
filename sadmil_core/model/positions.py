"""Positions of slices along their stack, for layers that must do without them where unknown."""

from __future__ import annotations

import torch
from torch import Tensor

NOMINAL_SPACING_MM = 5.0
"""What a stack without positions is taken to have from slice to slice."""


def known_positions(position_mm_BS: Tensor | None, mask_BS: Tensor, dtype: torch.dtype) -> Tensor:
    """Positions in mm from the middle of each bag's range, 0 outside the bags.

    A bag with an unknown position anywhere has its slices placed evenly, ``NOMINAL_SPACING_MM``
    apart.

    Args:
        position_mm_BS: None or NaN where unknown.
        mask_BS: True for real slices.
        dtype: Of the result.
    """
    even_BS = (mask_BS.cumsum(dim=-1) - 1).to(torch.float64) * NOMINAL_SPACING_MM
    if position_mm_BS is None:
        z_BS = even_BS
    else:
        given_BS = position_mm_BS.to(torch.float64)
        known_B1 = (torch.isfinite(given_BS) | ~mask_BS).all(dim=-1, keepdim=True)
        z_BS = torch.where(known_B1 & mask_BS, given_BS, even_BS)
    infinity = float("inf")
    lowest = z_BS.masked_fill(~mask_BS, infinity).amin(dim=-1, keepdim=True)
    highest = z_BS.masked_fill(~mask_BS, -infinity).amax(dim=-1, keepdim=True)
    return torch.where(mask_BS, z_BS - (lowest + highest) / 2, 0.0).to(dtype)
