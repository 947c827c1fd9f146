"""A bidirectional GRU over the slices of a bag, before they are pooled.

The gated recurrent unit is of Cho et al., EMNLP 2014, arXiv 1406.1078; reading a CT's slices as
a sequence in both directions is customary in hemorrhage detection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

if TYPE_CHECKING:
    from sadmil_core.model.context_config import BiGruConfig


class BiGruContext(nn.Module):
    """Each slice gets the states of both directions at it; pads are not read."""

    def __init__(self, features: int, config: BiGruConfig) -> None:
        super().__init__()
        self.features = 2 * config.hidden
        self.gru = nn.GRU(
            features,
            config.hidden,
            num_layers=config.layers,
            dropout=config.dropout,
            batch_first=True,
            bidirectional=True,
        )

    def forward(self, h_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Returns (B, S, 2 hidden); 0 outside the mask.

        Raises:
            ValueError: A bag's real slices do not all come first.
        """
        count_B = mask_BS.sum(dim=-1)
        places_S = torch.arange(mask_BS.shape[1], device=mask_BS.device)
        if not torch.equal(mask_BS, places_S < count_B[:, None]):
            raise ValueError("a recurrent network needs the real slices of each bag first")
        packed = pack_padded_sequence(h_BSD, count_B.cpu(), batch_first=True, enforce_sorted=False)
        y_BSD, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=mask_BS.shape[1]
        )
        return y_BSD
