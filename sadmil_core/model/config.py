"""The configs of the network; plain values, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvEncoderConfig:
    """A stack of convolution, ReLU, BatchNorm and 2 x 2 max-pool blocks.

    Attributes:
        in_channels: Windows of the input.
        channels: Output channels of each block.
        kernels: Kernel size of each block (odd).
        padding: ``same`` or ``valid`` for each block.
        dropout: Dropout probability after each block (0 for none).
        output: ``flatten`` in row, column, channel order, as the published network does;
            ``max`` or ``mean`` over all positions.
        norm_eps: BatchNorm's epsilon.
    """

    in_channels: int = 3
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    padding: tuple[Literal["same", "valid"], ...]
    dropout: tuple[float, ...]
    output: Literal["flatten", "max", "mean"]
    norm_eps: float = 1e-3

    def __post_init__(self) -> None:
        lengths = {len(self.channels), len(self.kernels), len(self.padding), len(self.dropout)}
        if len(lengths) != 1 or not self.channels:
            raise ValueError("channels, kernels, padding and dropout need one value per block")
        if any(kernel % 2 == 0 or kernel < 1 for kernel in self.kernels):
            raise ValueError(f"kernels must be odd, not {self.kernels}")
        if min(self.in_channels, *self.channels) < 1:
            raise ValueError(f"channels must be positive, not {self.in_channels}, {self.channels}")
        if not self.norm_eps > 0:
            raise ValueError(f"norm_eps must be positive, not {self.norm_eps}")
        if not all(0 <= p < 1 for p in self.dropout):
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}")

    def spatial_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the last feature map for an input of ``size``.

        Raises:
            ValueError: The input is too small for the blocks.
        """
        rows, columns = size
        for kernel, padding in zip(self.kernels, self.padding, strict=True):
            lost = 0 if padding == "same" else kernel - 1
            rows, columns = (rows - lost) // 2, (columns - lost) // 2
        if min(rows, columns) < 1:
            raise ValueError(f"an input of {size[0]} x {size[1]} is too small for the encoder")
        return rows, columns

    def features(self, size: tuple[int, int]) -> int:
        """D, the number of features of a slice of ``size``."""
        rows, columns = self.spatial_size(size)
        return self.channels[-1] * (rows * columns if self.output == "flatten" else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionConfig:
    """The attention of Ilse et al. 2018: f = w . tanh(V h), times sigmoid(U h) where gated."""

    hidden: int = 64
    gated: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"hidden must be positive, not {self.hidden}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """From the bag embedding to the scan logit.

    Attributes:
        hidden: Units of a layer before the output; 0 for none.
        activation: ``linear`` keeps the whole head affine, so that evidence is defined.
        dropout: Before the hidden layer.
    """

    hidden: int = 128
    activation: Literal["linear", "relu"] = "linear"
    dropout: float = 0.25

    def __post_init__(self) -> None:
        if self.hidden < 0:
            raise ValueError(f"hidden must not be negative, not {self.hidden}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}")

    @property
    def is_affine(self) -> bool:
        """Whether the scan logit is a weighted sum of per-slice evidence."""
        return self.hidden == 0 or self.activation == "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The whole network.

    Attributes:
        encoder: Slice to features.
        attention: Features to weights.
        head: Bag embedding to scan logit.
        input_size: Rows and columns of a slice.
        bag_padding: Pad bags to this size with all-zero slices that take part in the softmax,
            as the published checkpoints do; 0 for none.
    """

    encoder: ConvEncoderConfig
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    input_size: tuple[int, int] = (512, 512)
    bag_padding: int = 0

    def __post_init__(self) -> None:
        if self.bag_padding < 0:
            raise ValueError(f"bag_padding must not be negative, not {self.bag_padding}")
        self.encoder.spatial_size(self.input_size)

    @property
    def features(self) -> int:
        """D, the number of features of a slice."""
        return self.encoder.features(self.input_size)


def published_config() -> ModelConfig:
    """The network of the paper's published checkpoints (authors' code, MIT licence)."""
    return ModelConfig(
        encoder=ConvEncoderConfig(
            channels=(16, 32, 32, 32, 32, 32),
            kernels=(5, 3, 3, 3, 3, 3),
            padding=("same", "valid", "valid", "valid", "valid", "valid"),
            dropout=(0.0, 0.3, 0.0, 0.0, 0.3, 0.3),
            output="flatten",
        ),
        bag_padding=57,
    )
