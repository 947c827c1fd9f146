"""Attention pooling over the slices of a bag (Ilse et al. 2018, arXiv 1802.04712)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sadmil_core.model.config import AttentionConfig


class Attention(nn.Module):
    """Attention logits f_s = w . tanh(V h_s), or w . (tanh(V h_s) * sigmoid(U h_s)) if gated."""

    def __init__(self, features: int, config: AttentionConfig) -> None:
        super().__init__()
        self.value = nn.Linear(features, config.hidden, bias=config.bias)
        self.gate = nn.Linear(features, config.hidden, bias=config.bias) if config.gated else None
        self.weight = nn.Linear(config.hidden, 1, bias=False)

    def forward(self, h_BSD: Tensor) -> Tensor:
        """Returns f_BS (any leading dimensions are kept)."""
        u_BSK = torch.tanh(self.value(h_BSD))
        if self.gate is not None:
            u_BSK = u_BSK * torch.sigmoid(self.gate(h_BSD))
        f_BS: Tensor = self.weight(u_BSK).squeeze(-1)
        return f_BS


def masked_softmax(f_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Softmax over the real slices of each bag; exactly 0 elsewhere.

    Args:
        f_BS: Logits; their values outside the mask do not matter, even if not finite.
        mask_BS: True for real slices; every bag needs one.

    Raises:
        ValueError: A bag has no real slice.
    """
    if not bool(mask_BS.any(dim=-1).all()):
        raise ValueError("a bag without a real slice has no attention")
    return torch.softmax(f_BS.masked_fill(~mask_BS, float("-inf")), dim=-1)


def padded_softmax(f_S: Tensor, f_pad: Tensor, pads: int) -> tuple[Tensor, Tensor]:
    """Softmax over S real slices and ``pads`` identical extra ones, without building them.

    Args:
        f_S: Logits of the real slices.
        f_pad: Logit of one pad (a scalar).
        pads: How many pads there are; 0 for none.

    Returns:
        a_S of the real slices, and the weight of one pad (a scalar); together they sum to
        1 with the pad counted ``pads`` times.
    """
    f_all = torch.cat([f_S, f_pad.reshape(1)]) if pads else f_S
    weights = torch.exp(f_all - f_all.max())
    real = weights[: f_S.shape[0]]
    pad = weights[-1] if pads else torch.zeros((), dtype=f_S.dtype, device=f_S.device)
    total = real.sum() + pads * pad
    return real / total, pad / total
