"""SA-DMIL: encoder, attention pooling and head, on padded batches and on single bags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sadmil_core.model.attention import Attention, masked_softmax, padded_softmax
from sadmil_core.model.encoder import ConvEncoder

if TYPE_CHECKING:
    from sadmil_core.model.config import HeadConfig, ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BagOutput:
    """What the network says of B bags.

    Attributes:
        logit_B: Scan logits.
        attention_BS: Weights; 0 outside the mask.
        attention_logit_BS: f, before the softmax.
        evidence_BS: e_s = head(h_s); None where the head is not affine.
    """

    logit_B: Tensor
    attention_BS: Tensor
    attention_logit_BS: Tensor
    evidence_BS: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledBag:
    """What the network says of one bag of S encoded slices.

    Attributes:
        logit: Scan logit, a scalar.
        attention_S: Weights of the real slices; with pads they sum to less than 1.
        attention_logit_S: f.
        evidence_S: e, or None where the head is not affine.
        padding_contribution: The pads' part of the logit, a scalar, or None.
    """

    logit: Tensor
    attention_S: Tensor
    attention_logit_S: Tensor
    evidence_S: Tensor | None
    padding_contribution: Tensor | None


class Head(nn.Module):
    """Bag embedding z_BD to scan logit, through an optional hidden layer."""

    def __init__(self, features: int, config: HeadConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(features, config.hidden) if config.hidden else None
        self.output = nn.Linear(config.hidden or features, 1)
        self._relu = config.activation == "relu"

    def forward(self, z_BD: Tensor) -> Tensor:
        """Returns logits, of the leading dimensions of the input."""
        z_BD = self.dropout(z_BD)
        if self.hidden is not None:
            z_BD = self.hidden(z_BD)
            if self._relu:
                z_BD = torch.relu(z_BD)
        logit_B: Tensor = self.output(z_BD).squeeze(-1)
        return logit_B


class SaDmil(nn.Module):
    """The network of arXiv 2307.09457: a_s = softmax(f_s), z = sum a_s h_s, logit = head(z)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(config.encoder)
        self.attention = Attention(config.features, config.attention)
        self.head = Head(config.features, config.head)

    def encode(self, x_NCHW: Tensor) -> Tensor:
        """Encodes slices of any bags: (N, C, H, W) in [0, 1] to h_ND."""
        h_ND: Tensor = self.encoder(x_NCHW)
        return h_ND

    def cell_logits(self, y_NDhw: Tensor) -> Tensor:
        """What the head says of each cell of a feature map: (N, h, w).

        Raises:
            ValueError: A cell has other features than a slice (the encoder flattens its map).
        """
        if y_NDhw.shape[1] != self.config.features:
            raise ValueError("the encoder flattens its feature map: its cells have no logits")
        logit_NHW: Tensor = self.head(y_NDhw.permute(0, 2, 3, 1))
        return logit_NHW

    def forward(self, x_BSCHW: Tensor, mask_BS: Tensor) -> BagOutput:
        """Reads whole bags. Slices outside the mask are not even encoded.

        Args:
            x_BSCHW: Slices in [0, 1].
            mask_BS: True for real slices.
        """
        h_ND = self.encode(x_BSCHW[mask_BS])
        h_BSD = h_ND.new_zeros((*mask_BS.shape, h_ND.shape[-1]))
        h_BSD[mask_BS] = h_ND
        return self.pool_batch(h_BSD, mask_BS)

    def pool_batch(self, h_BSD: Tensor, mask_BS: Tensor) -> BagOutput:
        """Pools encoded bags and asks the head; the published padding plays no part here."""
        f_BS = self.attention(h_BSD)
        a_BS = masked_softmax(f_BS, mask_BS)
        z_BD = torch.einsum("bs,bsd->bd", a_BS, h_BSD)
        return BagOutput(
            logit_B=self.head(z_BD),
            attention_BS=a_BS,
            attention_logit_BS=f_BS,
            evidence_BS=self.head(h_BSD) if self.config.head.is_affine else None,
        )

    def pool(self, h_SD: Tensor, h_pad_D: Tensor | None = None) -> PooledBag:
        """Pools one encoded bag, with the checkpoint's own padding done analytically.

        The authors pad each bag with all-zero slices that take part in the softmax. All pads
        are alike, so one encoded zero slice, counted as often as there are pads, gives the
        same result.

        Args:
            h_SD: Encoded slices.
            h_pad_D: An encoded all-zero slice; needed where ``bag_padding`` exceeds S.

        Raises:
            ValueError: The pad is needed and missing.
        """
        pads = max(0, self.config.bag_padding - h_SD.shape[0])
        if pads and h_pad_D is None:
            raise ValueError("this checkpoint pads its bags: the encoded zero slice is needed")
        f_S = self.attention(h_SD)
        f_pad = self.attention(h_pad_D) if pads else f_S.new_zeros(())
        a_S, a_pad = padded_softmax(f_S, f_pad, pads)
        z_D = a_S @ h_SD
        evidence_S = padding = None
        if pads and h_pad_D is not None:
            z_D = z_D + pads * a_pad * h_pad_D
        if self.config.head.is_affine:
            evidence_S = self.head(h_SD)
            if pads and h_pad_D is not None:
                padding = pads * a_pad * self.head(h_pad_D)
        return PooledBag(
            logit=self.head(z_D),
            attention_S=a_S,
            attention_logit_S=f_S,
            evidence_S=evidence_S,
            padding_contribution=padding,
        )
