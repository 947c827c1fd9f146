"""Slice encoders: x_NCHW in [0, 1] to h_ND."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sadmil_core.model.checkpointing import set_checkpointing

if TYPE_CHECKING:
    from sadmil_core.model.config import ConvEncoderConfig, FeaturesConfig

_MAX_GROUPS = 8


class SliceEncoder(nn.Module, ABC):
    """What every encoder can do.

    Attributes:
        features: D.
    """

    features: int

    @abstractmethod
    def forward(self, x_N: Tensor) -> Tensor:
        """Returns h_ND."""

    def cells(self, x_N: Tensor) -> Tensor:
        """Returns the last feature map, (N, D', h, w), where the encoder has one."""
        raise ValueError("only a convolutional encoder gives cells")

    def reduce(self, y_NDhw: Tensor) -> Tensor:
        """Makes the features of slices of their feature maps."""
        raise ValueError("only a convolutional encoder gives cells")

    @abstractmethod
    def set_convolution_dtype(self, dtype: torch.dtype) -> None:
        """Runs the convolutions in another precision; BatchNorm keeps its statistics in fp32.

        For inference. Done once, where autocast would cast the weights again for each chunk.

        Args:
            dtype: Of the convolutions' weights; inputs must be given in it.
        """

    @abstractmethod
    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Computes activations again for the backward pass instead of keeping them all."""


class FeaturesEncoder(SliceEncoder):
    """Slices that come as features: they are what they are."""

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.features = config.features

    def forward(self, x_N: Tensor) -> Tensor:
        """Returns the (N, D) it is given."""
        if x_N.shape[1:] != (self.features,):
            raise ValueError(f"slices have {tuple(x_N.shape[1:])} features, not ({self.features},)")
        return x_N

    def set_convolution_dtype(self, dtype: torch.dtype) -> None:
        """As :meth:`SliceEncoder.set_convolution_dtype`; there are none."""

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """As :meth:`SliceEncoder.set_activation_checkpointing`; there are none."""


class ConvBlock(nn.Module):
    """Convolution, ReLU, norm, 2 x 2 max-pool (or none), dropout.

    GroupNorm comes after the maximum. Where BatchNorm uses its stored statistics and has no
    negative scale, BatchNorm after ReLU is a non-decreasing function of each value, so the
    maximum may be taken first: the same numbers from a quarter of the work and memory traffic.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        padding: str,
        dropout: float,
        eps: float,
        norm: str = "batch",
        stride: int = 2,
    ) -> None:
        super().__init__()
        margin = kernel // 2 if padding == "same" else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=margin)
        self.norm: nn.BatchNorm2d | nn.GroupNorm
        if norm == "batch":
            self.norm = nn.BatchNorm2d(outputs, eps=eps)
        else:
            self.norm = nn.GroupNorm(math.gcd(outputs, _MAX_GROUPS), outputs, eps=eps)
        self.pool = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    @property
    def pools_first(self) -> bool:
        """Whether pooling comes right after the convolution.

        With GroupNorm by definition, with BatchNorm where the output is exactly the same.
        """
        if isinstance(self.norm, nn.GroupNorm):
            return True
        return not self.norm.training and bool((self.norm.weight >= 0).all())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns (N, outputs, H', W'); H' and W' about halved where there is a max-pool."""
        y_NCHW = self.conv(x_NCHW)
        # ReLU in place: neither convolution nor maximum needs its output for its gradient, and
        # to fetch fresh memory of this size costs a CPU more than to compute.
        if self.pools_first:
            y_NCHW = self.norm(torch.relu_(self.pool(y_NCHW)))
        else:
            y_NCHW = self.pool(self.norm(torch.relu_(y_NCHW)))
        dropped: Tensor = self.dropout(y_NCHW)
        return dropped


class ConvEncoder(SliceEncoder):
    """The convolutional encoder, the paper's among others (see ``ConvEncoderConfig``)."""

    def __init__(self, config: ConvEncoderConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.features = config.features(size)
        widths = (config.in_channels, *config.channels)
        shape = zip(config.kernels, config.padding, config.dropout, config.strides, strict=True)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(
                    widths[i],
                    widths[i + 1],
                    kernel,
                    padding,
                    dropout,
                    config.norm_eps,
                    config.norm,
                    stride,
                )
                for i, (kernel, padding, dropout, stride) in enumerate(shape)
            )
        )
        self._output = config.output

    def set_convolution_dtype(self, dtype: torch.dtype) -> None:
        """As :meth:`SliceEncoder.set_convolution_dtype`."""
        for block in self.blocks:
            block.conv.to(dtype)

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """As :meth:`SliceEncoder.set_activation_checkpointing`, block by block."""
        set_checkpointing(self.blocks, enabled)

    def forward(self, x_N: Tensor) -> Tensor:
        """Returns h_ND, in the dtype of the input."""
        return self.reduce(self.cells(x_N))

    def cells(self, x_N: Tensor) -> Tensor:
        """As :meth:`SliceEncoder.cells`."""
        y_NDhw: Tensor = self.blocks(x_N)
        return y_NDhw

    def reduce(self, y_NDhw: Tensor) -> Tensor:
        """As :meth:`SliceEncoder.reduce`."""
        if self._output == "max":
            return torch.amax(y_NDhw, dim=(2, 3))
        if self._output == "mean":
            return torch.mean(y_NDhw, dim=(2, 3))
        # Row, column, channel: the order of the authors' channels-last framework.
        return y_NDhw.permute(0, 2, 3, 1).flatten(1)
