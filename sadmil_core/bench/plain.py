"""The published network as one would first write it, to measure training against.

An ``nn.Sequential`` in torch's default memory format, nothing in place, the loss of the paper
spelled out for one scan. Its parameters stand in the order of those of ``SaDmil``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sadmil_core.model.config import ConvEncoderConfig

if TYPE_CHECKING:
    from sadmil_core.model.config import ModelConfig


class PlainNetwork(nn.Module):
    """Convolutions, gated attention over a padded bag, and an affine head.

    Args:
        config: Of the published network, at any input size.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        if not isinstance(encoder, ConvEncoderConfig):
            raise ValueError("the plain network has a convolutional encoder")
        layers: list[nn.Module] = []
        channels = encoder.in_channels
        for outputs, kernel, padding, dropout in zip(
            encoder.channels, encoder.kernels, encoder.padding, encoder.dropout, strict=True
        ):
            layers += [
                nn.Conv2d(channels, outputs, kernel, padding=padding),
                nn.ReLU(),
                nn.BatchNorm2d(outputs, eps=encoder.norm_eps),
                nn.MaxPool2d(2),
                nn.Dropout(dropout),
            ]
            channels = outputs
        self.encoder = nn.Sequential(*layers)
        features, hidden = encoder.features(config.input_size), config.attention.hidden
        self.value = nn.Linear(features, hidden, bias=False)
        self.gate = nn.Linear(features, hidden, bias=False)
        self.weight = nn.Linear(hidden, 1, bias=False)
        self.head = nn.Sequential(
            nn.Linear(features, config.head.hidden), nn.Linear(config.head.hidden, 1)
        )
        self.dropout = nn.Dropout(config.head.dropout)
        self._bag = config.bag_padding

    def forward(self, x_SCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one scan of S slices, padded to a bag with copies of one encoded zero slice.

        Returns:
            The scan logit, and the attention logits f_S.
        """
        count = len(x_SCHW)
        x_NCHW = torch.cat([x_SCHW, torch.zeros_like(x_SCHW[:1])])
        h_ND = self.encoder(x_NCHW).permute(0, 2, 3, 1).flatten(1)
        pads = max(self._bag - count, 0)
        h_BD = torch.cat([h_ND[:count], h_ND[count:].expand(pads, -1)])
        f_B = self.weight(torch.tanh(self.value(h_BD)) * torch.sigmoid(self.gate(h_BD)))[:, 0]
        z_D = torch.softmax(f_B, dim=0) @ h_BD
        return self.head(self.dropout(z_D))[0], f_B[:count]

    def loss(self, x_SCHW: Tensor, label: float, alpha: float) -> Tensor:
        """(1 - alpha) cross-entropy + alpha S1 / S on the chain of the slices."""
        logit, f_S = self(x_SCHW)
        fit = binary_cross_entropy_with_logits(logit, torch.full_like(logit, label))
        smooth: Tensor = (f_S[1:] - f_S[:-1]).square().sum() / len(f_S)
        return (1 - alpha) * fit + alpha * smooth


class PlainStep:
    """A training step of it.

    Args:
        config: Of the network.
        x_SCHW: One scan, contiguous.
        label: Of it.
        alpha: Share of smoothness.
    """

    def __init__(self, config: ModelConfig, x_SCHW: Tensor, label: float, alpha: float) -> None:
        self._network = PlainNetwork(config).train()
        self._x_SCHW, self._label, self._alpha = x_SCHW.contiguous(), label, alpha
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=1e-6)

    def train(self) -> None:
        """One step: forward, loss, backward, optimizer."""
        self._optimizer.zero_grad()
        self._network.loss(self._x_SCHW, self._label, self._alpha).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
