"""Poolings without attention, and what stands in its place.

Mean and maximum of the features, and maximum of the slices' probabilities, as compared by Wang
et al., "Revisiting Multiple Instance Neural Networks", 2018, arXiv 1610.02501 (MI-Net, mi-Net).
Noisy-or, a scan positive unless every slice is negative: Maron and Lozano-Perez, "A framework
for multiple-instance learning", NIPS 1997.

Each also says what share of the answer is a slice's, which a report shows as its attention:
shares are non-negative, sum to 1 and are 0 outside the bag. No gradient passes through those of
the maxima.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def pool_mean(h_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """z_BD, the mean of the features, and the equal shares a_BS = 1 / S."""
    a_BS = mask_BS.to(h_BSD.dtype) / mask_BS.sum(dim=-1, keepdim=True)
    return torch.einsum("bs,bsd->bd", a_BS, h_BSD), a_BS


def pool_max(h_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """z_BD, the maximum of each feature, and the share of the features each slice holds.

    Slices that tie for a feature share it.
    """
    z_BD = h_BSD.masked_fill(~mask_BS[..., None], float("-inf")).amax(dim=1)
    held_BSD = ((h_BSD == z_BD[:, None]) & mask_BS[..., None]).to(h_BSD.dtype)
    return z_BD, (held_BSD / held_BSD.sum(dim=1, keepdim=True)).mean(dim=-1)


def instance_max(logit_BS: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of the most suspicious slice, (B,), and all of the share to it."""
    top_B = logit_BS.masked_fill(~mask_BS, float("-inf")).amax(dim=-1)
    held_BS = ((logit_BS == top_B[:, None]) & mask_BS).to(logit_BS.dtype)
    return top_B, held_BS / held_BS.sum(dim=-1, keepdim=True)


def noisy_or(logit_BS: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of p = 1 - prod (1 - p_s), (B,), and each slice's share of -log(1 - p)."""
    zero = torch.zeros((), dtype=logit_BS.dtype, device=logit_BS.device)
    # -log(1 - p_s) = softplus(logit_s), and these add up to u = -log(1 - p).
    surprise_BS = torch.where(mask_BS, softplus(torch.where(mask_BS, logit_BS, zero)), zero)
    u_B = surprise_BS.sum(dim=-1)
    # log(p / (1 - p)) = log(exp(u) - 1), without overflow for large u.
    tiny = torch.finfo(u_B.dtype).tiny
    logit_B = u_B + torch.log(-torch.expm1(-u_B.clamp(min=tiny)))
    return logit_B, surprise_BS / u_B.clamp(min=tiny)[:, None]
