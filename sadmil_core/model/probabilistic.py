"""Probabilistic attention: each logit has a mean and a variance.

Castro-Macias, Morales-Alvarez, Wu, Molina, Katsaggelos, "Probabilistic smooth attention for deep
multiple instance learning in medical imaging", Pattern Recognition 2025, arXiv 2507.14932.
The logits of a bag are q(f) = N(mu, diag(s^2)), both from the features; their prior is
N(0, (I + lambda L)^-1) over the slice graph. Training draws f once a step and pays the
divergence from the prior; evaluation averages the softmax over a fixed set of draws, so that a
scan read twice gives the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sadmil_core.model.attention import Attention, masked_softmax

if TYPE_CHECKING:
    from sadmil_core.model.config import AttentionConfig
    from sadmil_core.model.graph import SliceGraph

_FIRST_LOG_VARIANCE = -2.0  # a standard deviation of 0.37 logits, so that training starts calm
_SEED = 20250714


class ProbabilisticAttention(Attention):
    """Attention whose hidden units also give the logarithm of the variance."""

    def __init__(self, features: int, config: AttentionConfig) -> None:
        super().__init__(features, config)
        self.log_variance = nn.Linear(config.hidden, 1)
        nn.init.constant_(self.log_variance.bias, _FIRST_LOG_VARIANCE)
        self._samples = config.samples

    def distribution(self, h_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation of the logits, (B, S) each."""
        u_BSK = self.hidden(h_BSD)
        mean_BS: Tensor = self.weight(u_BSK).squeeze(-1)
        return mean_BS, torch.exp(0.5 * self.log_variance(u_BSK).squeeze(-1))

    def weigh(self, mean_BS: Tensor, sd_BS: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        """The attention and its standard deviation, (B, S) each, 0 outside the mask.

        In training one draw, whose deviation is not known: zeros.
        """
        if self.training:
            f_BS = mean_BS + sd_BS * torch.randn_like(mean_BS)
            a_BS = masked_softmax(f_BS, mask_BS)
            return a_BS, torch.zeros_like(a_BS)
        noise_SM = fixed_noise(mask_BS.shape[1], self._samples).to(mean_BS)
        f_BMS = mean_BS[:, None] + sd_BS[:, None] * noise_SM.T
        a_BMS = masked_softmax(f_BMS, mask_BS[:, None].expand_as(f_BMS))
        return a_BMS.mean(dim=1), a_BMS.std(dim=1, correction=0)


def fixed_noise(slices: int, samples: int) -> Tensor:
    """(slices, samples) standard normal draws, each with its negative among them.

    Row s is the same however many rows there are, so that a slice's draws do not depend on the
    length of the longest bag beside it: rows are whole multiples of the 16 values that torch
    makes at once.
    """
    generator = torch.Generator().manual_seed(_SEED)
    half = torch.randn(slices, samples // 2, generator=generator)
    return torch.cat([half, -half], dim=1)


def divergence(
    mean_BS: Tensor,
    sd_BS: Tensor,
    mask_BS: Tensor,
    graph: SliceGraph | None = None,
    smoothness: float = 0.0,
) -> Tensor:
    """KL(q || prior) of each bag, divided by its number of slices.

    The prior's own log-determinant, which no weight of the network can change, is left out; it
    is 0 for independent slices.

    Args:
        mean_BS: Of the logits.
        sd_BS: Of the logits.
        mask_BS: True for real slices.
        graph: Over the slices; needed where ``smoothness`` is not 0.
        smoothness: Lambda of the prior.
    """
    zero = torch.zeros((), dtype=mean_BS.dtype, device=mean_BS.device)
    mean_BS = torch.where(mask_BS, mean_BS, zero)
    variance_BS = torch.where(mask_BS, sd_BS.square(), zero)
    log_variance_BS = torch.where(mask_BS, 2 * torch.log(sd_BS), zero)
    count_B = mask_BS.sum(dim=-1).clamp(min=1)
    total_B = (mean_BS.square() + variance_BS - log_variance_BS).sum(dim=-1) - count_B
    if smoothness and graph is not None:
        trace_B = (_degrees(graph, mean_BS) * variance_BS).sum(dim=-1)
        total_B = total_B + smoothness * (graph.quadratic(mean_BS) + trace_B)
    return 0.5 * total_B / count_B


def _degrees(graph: SliceGraph, like_BS: Tensor) -> Tensor:
    edges = graph.edge_list()
    weights_E = edges.weights_E.to(like_BS.dtype)
    degree = torch.zeros(like_BS.numel(), dtype=like_BS.dtype, device=like_BS.device)
    for end in (0, 1):
        degree = degree.index_add(0, edges.pairs_E2[:, end], weights_E)
    return degree.reshape(like_BS.shape)
