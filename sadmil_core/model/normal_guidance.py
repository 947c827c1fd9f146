"""Normal Guidance: attention that is bell-shaped along the stack.

Harvey, Loevlie, Hughes, "Normal Guidance is what Attention Needs", 2026, arXiv 2605.27306. The
reference is a normal distribution over the slices' positions with the attention's own mean
and variance, so that where the attention lies and how wide it is stay free.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sadmil_core.model.positions import known_positions

_LEAST_SD = 0.25  # of the mean spacing: the narrowest bell is practically one slice


def normal_guidance(a_BS: Tensor, position_mm_BS: Tensor | None, mask_BS: Tensor) -> Tensor:
    """KL(a || q) of each bag, q the discrete normal of the attention's mean and variance.

    The sum weighs each slice by its attention, so that slices without any, whose logarithm has
    no bound, do not count. Gradients pass through the moments, too.

    Args:
        a_BS: Attention weights; they need not sum to 1 (pads may hold the rest).
        position_mm_BS: Along the stack; None or NaN where unknown.
        mask_BS: True for real slices.

    Returns:
        (B,), in nats; 0 for a bag of one slice.
    """
    zero = torch.zeros((), dtype=a_BS.dtype, device=a_BS.device)
    a_BS = torch.where(mask_BS, a_BS, zero)
    a_BS = a_BS / a_BS.sum(dim=-1, keepdim=True)
    z_BS = known_positions(position_mm_BS, mask_BS, a_BS.dtype)
    gaps_B1 = (mask_BS.sum(dim=-1, keepdim=True) - 1).clamp(min=1)
    spacing_B1 = (z_BS.amax(dim=-1, keepdim=True) - z_BS.amin(dim=-1, keepdim=True)) / gaps_B1
    z_BS = z_BS / torch.where(spacing_B1 > 0, spacing_B1, torch.ones_like(spacing_B1))
    mean_B1 = (a_BS * z_BS).sum(dim=-1, keepdim=True)
    variance_B1 = (a_BS * (z_BS - mean_B1).square()).sum(dim=-1, keepdim=True)
    exponent = -(z_BS - mean_B1).square() / (2 * variance_B1.clamp(min=_LEAST_SD**2))
    log_q_BS = torch.log_softmax(exponent.masked_fill(~mask_BS, float("-inf")), dim=-1)
    # Of slices without attention neither the value nor the gradient is to be NaN.
    held = mask_BS & (a_BS > 0)
    log_a_BS = torch.log(torch.where(held, a_BS, torch.ones_like(a_BS)))
    difference_BS = torch.where(held, log_a_BS - log_q_BS.masked_fill(~held, 0.0), zero)
    return (a_BS * difference_BS).sum(dim=-1)
