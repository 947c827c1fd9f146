"""Slice encoders: x_NCHW in [0, 1] to h_ND."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sadmil_core.model.config import ConvEncoderConfig


class ConvBlock(nn.Module):
    """Convolution, ReLU, BatchNorm, 2 x 2 max-pool, dropout.

    Where BatchNorm uses its stored statistics and has no negative scale, BatchNorm after ReLU
    is a non-decreasing function of each value, so the maximum may be taken first: the same
    numbers from a quarter of the work and memory traffic.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, padding: str, dropout: float, eps: float
    ) -> None:
        super().__init__()
        margin = kernel // 2 if padding == "same" else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=margin)
        self.norm = nn.BatchNorm2d(outputs, eps=eps)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)

    @property
    def pools_first(self) -> bool:
        """Whether pooling right after the convolution gives exactly the same output."""
        return not self.norm.training and bool((self.norm.weight >= 0).all())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns (N, outputs, H', W') with H' and W' about halved."""
        y_NCHW = self.conv(x_NCHW)
        if self.pools_first:
            y_NCHW = self.norm(torch.relu(self.pool(y_NCHW)))
        else:
            y_NCHW = self.pool(self.norm(torch.relu(y_NCHW)))
        dropped: Tensor = self.dropout(y_NCHW)
        return dropped


class ConvEncoder(nn.Module):
    """The convolutional encoder, the paper's among others (see ``ConvEncoderConfig``)."""

    def __init__(self, config: ConvEncoderConfig) -> None:
        super().__init__()
        widths = (config.in_channels, *config.channels)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(widths[i], widths[i + 1], kernel, padding, dropout, config.norm_eps)
                for i, (kernel, padding, dropout) in enumerate(
                    zip(config.kernels, config.padding, config.dropout, strict=True)
                )
            )
        )
        self._output = config.output

    def set_convolution_dtype(self, dtype: torch.dtype) -> None:
        """Runs the convolutions in another precision; BatchNorm keeps its statistics in fp32.

        For inference. Done once, where autocast would cast the weights again for each chunk.

        Args:
            dtype: Of the convolutions' weights; inputs must be given in it.
        """
        for block in self.blocks:
            block.conv.to(dtype)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns h_ND, in the dtype of the input."""
        return self.reduce(self.cells(x_NCHW))

    def cells(self, x_NCHW: Tensor) -> Tensor:
        """Returns the last feature map, (N, D, h, w)."""
        y_NDhw: Tensor = self.blocks(x_NCHW)
        return y_NDhw

    def reduce(self, y_NDhw: Tensor) -> Tensor:
        """Makes the features of a slice of its feature map."""
        if self._output == "max":
            return torch.amax(y_NDhw, dim=(2, 3))
        if self._output == "mean":
            return torch.mean(y_NDhw, dim=(2, 3))
        # Row, column, channel: the order of the authors' channels-last framework.
        return y_NDhw.permute(0, 2, 3, 1).flatten(1)
