"""Self-attention between the slices of a bag, before they are pooled.

After Shao et al., "TransMIL: Transformer based Correlated Multiple Instance Learning",
NeurIPS 2021, arXiv 2106.00908. A CT has tens of slices, not thousands of patches, so their
approximation of self-attention is not needed: these are full transformer layers. A slice is
placed by its position in mm, not by its number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sadmil_core.model.positions import known_positions

if TYPE_CHECKING:
    from sadmil_core.model.context_config import TransformerConfig

_SHORTEST_MM, _LONGEST_MM = 5.0, 1000.0


class TransformerContext(nn.Module):
    """Projection to the width of the layers, position encoding, transformer layers."""

    def __init__(self, features: int, config: TransformerConfig) -> None:
        super().__init__()
        self.features = config.width
        self.projection = nn.Linear(features, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            dim_feedforward=2 * config.width,
            dropout=config.dropout,
            batch_first=True,
            norm_first=True,
        )
        # Nested tensors would spare the pads, at the price of numbers that depend on them.
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, h_BSD: Tensor, mask_BS: Tensor, position_mm_BS: Tensor | None) -> Tensor:
        """Returns (B, S, width); what stands outside the mask means nothing."""
        position_mm_BS = known_positions(position_mm_BS, mask_BS, h_BSD.dtype)
        x = self.projection(h_BSD) + encode_positions(position_mm_BS, self.features)
        result: Tensor = self.norm(self.layers(x, src_key_padding_mask=~mask_BS))
        return result


def encode_positions(position_mm_BS: Tensor, width: int) -> Tensor:
    """Sines and cosines of the position, (B, S, width).

    Their wavelengths go in equal ratios from 5 mm, two thin slices, to a metre.
    """
    count = width // 2
    exponent = torch.arange(count, dtype=position_mm_BS.dtype, device=position_mm_BS.device)
    ratio = (_LONGEST_MM / _SHORTEST_MM) ** (exponent / max(count - 1, 1))
    angle = position_mm_BS[..., None] * (2 * math.pi / (_SHORTEST_MM * ratio))
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)
