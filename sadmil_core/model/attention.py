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

    def hidden(self, h_BSD: Tensor) -> Tensor:
        """The hidden units u_BSK (any leading dimensions are kept)."""
        u_BSK = torch.tanh(self.value(h_BSD))
        if self.gate is not None:
            u_BSK = u_BSK * torch.sigmoid(self.gate(h_BSD))
        return u_BSK

    def forward(self, h_BSD: Tensor) -> Tensor:
        """Returns f_BS (any leading dimensions are kept)."""
        f_BS: Tensor = self.weight(self.hidden(h_BSD)).squeeze(-1)
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


def padded_softmax(
    f_BS: Tensor, mask_BS: Tensor, f_pad: Tensor, pads_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax over the real slices and identical extra ones, without building them.

    P pads of logit f count like one of logit f + log P.

    Args:
        f_BS: Logits.
        mask_BS: True for real slices; every bag needs one.
        f_pad: Logit of one pad (a scalar).
        pads_B: How many pads each bag has; 0 for none.

    Returns:
        a_BS of the real slices, and (B,) the weight of all pads together.
    """
    extra_B = f_pad + torch.log(pads_B.to(f_BS.dtype))
    mask_all = torch.cat([mask_BS, (pads_B > 0)[:, None]], dim=-1)
    a_all = masked_softmax(torch.cat([f_BS, extra_B[:, None]], dim=-1), mask_all)
    return a_all[:, :-1], a_all[:, -1]
