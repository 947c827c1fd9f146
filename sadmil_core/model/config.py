"""The configs of the network; plain values, no torch.

Fields that came after the first checkpoints are left out of a mapping at their default, so that
those checkpoints keep their hashes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sadmil_core.configs import OMIT_DEFAULT
from sadmil_core.model.context_config import BiGruConfig, SmConfig, TransformerConfig
from sadmil_core.model.graph_config import GraphConfig

Context = SmConfig | TransformerConfig | BiGruConfig
Pooling = Literal["attention", "mean", "max", "instance-max", "noisy-or"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvEncoderConfig:
    """A stack of convolution, ReLU, norm and 2 x 2 max-pool blocks.

    Attributes:
        kind: Of encoder.
        in_channels: Windows of the input.
        channels: Output channels of each block.
        kernels: Kernel size of each block (odd).
        padding: ``same`` or ``valid`` for each block.
        dropout: Dropout probability after each block (0 for none).
        output: ``flatten`` in row, column, channel order, as the published network does;
            ``max`` or ``mean`` over all positions.
        norm_eps: The norm's epsilon.
        norm: ``batch``, or ``group``, which knows nothing of the other slices of a batch (so a
            step is the same however slices are spread over processes) and comes after the
            maximum, on a quarter of the values.
        unpooled: How many of the last blocks have no max-pool: they see more without cells that
            grow coarser.
    """

    kind: Literal["convolutions"] = field(default="convolutions", metadata=OMIT_DEFAULT)
    in_channels: int = 3
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    padding: tuple[Literal["same", "valid"], ...]
    dropout: tuple[float, ...]
    output: Literal["flatten", "max", "mean"]
    norm_eps: float = 1e-3
    norm: Literal["batch", "group"] = field(default="batch", metadata=OMIT_DEFAULT)
    unpooled: int = field(default=0, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        lengths = {len(self.channels), len(self.kernels), len(self.padding), len(self.dropout)}
        if len(lengths) != 1 or not self.channels:
            raise ValueError("channels, kernels, padding and dropout need one value per block")
        if any(kernel % 2 == 0 or kernel < 1 for kernel in self.kernels):
            raise ValueError(f"kernels must be odd, not {self.kernels}")
        if min(self.in_channels, *self.channels) < 1:
            raise ValueError(f"channels must be positive, not {self.in_channels}, {self.channels}")
        if not 0 <= self.unpooled <= len(self.channels):
            raise ValueError(f"unpooled must be 0 to {len(self.channels)}, not {self.unpooled}")
        if not self.norm_eps > 0:
            raise ValueError(f"norm_eps must be positive, not {self.norm_eps}")
        if not all(0 <= p < 1 for p in self.dropout):
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}")

    @property
    def strides(self) -> tuple[int, ...]:
        """The factor by which each block makes its input smaller: 2, or 1 without a max-pool."""
        return (2,) * (len(self.channels) - self.unpooled) + (1,) * self.unpooled

    def spatial_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the last feature map for an input of ``size``.

        Raises:
            ValueError: The input is too small for the blocks.
        """
        rows, columns = size
        for kernel, padding, stride in zip(self.kernels, self.padding, self.strides, strict=True):
            lost = 0 if padding == "same" else kernel - 1
            rows, columns = (rows - lost) // stride, (columns - lost) // stride
        if min(rows, columns) < 1:
            raise ValueError(f"an input of {size[0]} x {size[1]} is too small for the encoder")
        return rows, columns

    def features(self, size: tuple[int, int]) -> int:
        """D, the number of features of a slice of ``size``."""
        rows, columns = self.spatial_size(size)
        return self.channels[-1] * (rows * columns if self.output == "flatten" else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """A network of torchvision or timm without its classifier.

    Attributes:
        kind: Of encoder.
        library: Whose network.
        name: The library's name of it, such as ``resnet18``.
        weights: What training starts from: ``none`` for random weights, ``imagenet`` for the
            library's own, or a path to a state dict (.safetensors, or .pth without code).
            A trained checkpoint holds its weights itself and asks for none of these.
        frozen: Whether the network keeps these weights, and its stored statistics.
        in_channels: Windows of the input; other than 3 pass a learned 1 x 1 convolution first.
        normalisation: ``imagenet`` shifts and scales the 3 channels as its networks expect.
    """

    kind: Literal["backbone"] = "backbone"
    library: Literal["torchvision", "timm"]
    name: str
    weights: str = "none"
    frozen: bool = False
    in_channels: int = 3
    normalisation: Literal["imagenet", "none"] = "imagenet"

    def __post_init__(self) -> None:
        if not self.name or not self.weights:
            raise ValueError("a backbone needs a name, and weights (`none` for random ones)")
        if self.in_channels < 1:
            raise ValueError(f"in_channels must be positive, not {self.in_channels}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesConfig:
    """No encoder: the slices come as features that another network has computed.

    Attributes:
        kind: Of encoder.
        features: D.
    """

    kind: Literal["features"] = "features"
    features: int

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"features must be positive, not {self.features}")


Encoder = ConvEncoderConfig | BackboneConfig | FeaturesConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionConfig:
    """The attention of Ilse et al. 2018: f = w . tanh(V h), times sigmoid(U h) where gated.

    Attributes:
        hidden: K.
        gated: Whether sigmoid(U h) takes part.
        bias: Of V and U.
        probabilistic: Each logit has a mean and a variance (arXiv 2507.14932), so that the
            attention has a standard deviation.
        prior_smoothness: Of probabilistic attention: lambda in the prior N(0, (I + lambda L)^-1)
            over the slice graph; 0 for independent slices.
        samples: Of probabilistic attention: draws by which it is averaged in evaluation.
    """

    hidden: int = 64
    gated: bool = True
    bias: bool = False
    probabilistic: bool = field(default=False, metadata=OMIT_DEFAULT)
    prior_smoothness: float = field(default=0.0, metadata=OMIT_DEFAULT)
    samples: int = field(default=64, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"hidden must be positive, not {self.hidden}")
        if not self.prior_smoothness >= 0:
            raise ValueError(f"prior_smoothness must not be negative, not {self.prior_smoothness}")
        if self.prior_smoothness and not self.probabilistic:
            raise ValueError("prior_smoothness is of probabilistic attention only")
        if self.samples < 32 or self.samples % 32:
            raise ValueError(f"samples must be a multiple of 32, not {self.samples}")


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
class InstanceHeadConfig(HeadConfig):
    """From the features of a slice to the logit of its own probability."""

    hidden: int = 0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The whole network.

    Attributes:
        encoder: Slice to features.
        attention: Features to weights, where ``pooling`` is ``attention``.
        head: Bag embedding to scan logit, where ``pooling`` makes an embedding.
        input_size: Rows and columns of a slice; means nothing where slices come as features.
        bag_padding: Pad bags to this size with all-zero slices that take part in the softmax,
            as the published checkpoints do; 0 for none.
        context: Lets the slices of a bag see each other before they are pooled.
        pooling: ``attention`` weighs the features of the slices, ``mean`` averages them, ``max``
            takes the maximum of each feature; ``instance-max`` and ``noisy-or`` make the scan
            probability from the slices' own, and need ``instance``.
        instance: Gives each slice a probability of its own.
        graph: Over the slices of a bag, where ``context`` or the prior of probabilistic
            attention needs one.
    """

    encoder: Encoder
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    input_size: tuple[int, int] = (512, 512)
    bag_padding: int = 0
    context: Context | None = field(default=None, metadata=OMIT_DEFAULT)
    pooling: Pooling = field(default="attention", metadata=OMIT_DEFAULT)
    instance: InstanceHeadConfig | None = field(default=None, metadata=OMIT_DEFAULT)
    graph: GraphConfig = field(default_factory=GraphConfig, metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        if self.bag_padding < 0:
            raise ValueError(f"bag_padding must not be negative, not {self.bag_padding}")
        plain = self.pooling == "attention" and not self.attention.probabilistic
        if self.bag_padding and not (plain and self.context is None and self.reads_images):
            raise ValueError("bag_padding is for plain attention over images only")
        if self.pooling in ("instance-max", "noisy-or") and self.instance is None:
            raise ValueError(f"pooling {self.pooling!r} needs an instance head")
        if self.smooths_logits and not plain:
            raise ValueError("the Sm operator on logits needs plain attention")
        if isinstance(self.context, SmConfig) and self.pooling == "mean":
            raise ValueError("the Sm operator leaves the mean as it is: choose another pooling")
        if isinstance(self.encoder, ConvEncoderConfig):
            self.encoder.spatial_size(self.input_size)

    @property
    def reads_images(self) -> bool:
        """Whether slices come as images, not as features computed before."""
        return not isinstance(self.encoder, FeaturesConfig)

    @property
    def in_channels(self) -> int | None:
        """Windows of the input; None where slices come as features."""
        return None if isinstance(self.encoder, FeaturesConfig) else self.encoder.in_channels

    @property
    def features(self) -> int | None:
        """D of the encoder; None where only the library of a backbone knows."""
        if isinstance(self.encoder, ConvEncoderConfig):
            return self.encoder.features(self.input_size)
        return self.encoder.features if isinstance(self.encoder, FeaturesConfig) else None

    @property
    def has_attention(self) -> bool:
        """Whether there are attention logits to learn, to smooth or to guide."""
        return self.pooling == "attention"

    @property
    def smooths_logits(self) -> bool:
        """Whether the Sm operator acts on the attention logits."""
        return isinstance(self.context, SmConfig) and self.context.where == "logits"

    @property
    def gives_evidence(self) -> bool:
        """Whether the scan logit is a sum over slices of weight times evidence.

        False where the head is not affine or the slices are mixed before it, so that no slice
        can be told apart from its neighbours.
        """
        weighted = self.pooling in ("attention", "mean")
        return weighted and self.head.is_affine and self.context is None

    @property
    def gives_cells(self) -> bool:
        """Whether the head can be asked about each cell of the last feature map."""
        mixed = self.context is not None and not self.smooths_logits
        return (
            isinstance(self.encoder, ConvEncoderConfig)
            and self.encoder.output != "flatten"
            and not mixed
        )

    @property
    def needs_graph(self) -> bool:
        """Whether :attr:`graph` is used at all."""
        prior = self.has_attention and self.attention.prior_smoothness > 0
        return prior or isinstance(self.context, SmConfig)


def published_encoder() -> ConvEncoderConfig:
    """The encoder of the paper's published checkpoints (authors' code, MIT licence)."""
    return ConvEncoderConfig(
        channels=(16, 32, 32, 32, 32, 32),
        kernels=(5, 3, 3, 3, 3, 3),
        padding=("same", "valid", "valid", "valid", "valid", "valid"),
        dropout=(0.0, 0.3, 0.0, 0.0, 0.3, 0.3),
        output="flatten",
    )


def published_config() -> ModelConfig:
    """The network of the paper's published checkpoints (authors' code, MIT licence)."""
    return ModelConfig(encoder=published_encoder(), bag_padding=57)


def compact_config(norm: Literal["batch", "group"] = "group") -> ModelConfig:
    """A network for slices of 256 x 256 with 0.3 million parameters.

    Args:
        norm: Of its encoder; with ``group`` training is the same however bags are spread.
    """
    return ModelConfig(
        encoder=ConvEncoderConfig(
            channels=(16, 32, 64, 96, 128),
            kernels=(5, 3, 3, 3, 3),
            padding=("same",) * 5,
            dropout=(0.0, 0.0, 0.1, 0.1, 0.1),
            output="max",
            norm=norm,
        ),
        head=HeadConfig(hidden=0, dropout=0.1),
        input_size=(256, 256),
    )
