"""The variables of the authors' TensorFlow model as the state of this program's network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.errors import WeightsError
from sadmil_core.model.config import published_config, published_encoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_BLOCKS = 6
_ATTENTION, _HIDDEN, _OUTPUT = 12, 13, 14
_LAYER_PREFIX = "layer_with_weights-"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class OtherNetworkError(WeightsError):
    """Tensors that are not those of the published network; says which and why."""


def to_state_dict(bundle: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The network's state from the variables of the authors' model.

    TensorFlow keeps convolution kernels as (height, width, in, out) and dense ones as
    (in, out); here they are (out, in, height, width) and (out, in). Both flatten feature maps
    in row, column, channel order, so that nothing need be permuted behind the encoder.

    Args:
        bundle: Tensors by TensorFlow's names; optimizer state and counters are passed over.

    Returns:
        Tensors by the parameter names of ``SaDmil(published_config())``.

    Raises:
        OtherNetworkError: A tensor is missing, superfluous, not finite, or of another
            shape or type.
    """
    variables = _Variables(bundle)
    state: dict[str, NDArray[Any]] = {}
    for block in range(_BLOCKS):
        state |= _block(variables, block)
    config = published_config()
    features = published_encoder().features(config.input_size)
    units, hidden = config.attention.hidden, config.head.hidden
    for ours, theirs, shape in (
        ("value", "v", (features, units)),
        ("gate", "u", (features, units)),
        ("weight", "w", (units, 1)),
    ):
        state[f"attention.{ours}.weight"] = variables.take(_ATTENTION, theirs, shape).T
    state["head.hidden.weight"] = variables.take(_HIDDEN, "kernel", (features, hidden)).T
    state["head.hidden.bias"] = variables.take(_HIDDEN, "bias", (hidden,))
    state |= _output(variables, hidden)
    variables.require_all_taken()
    return {name: np.array(tensor, order="C") for name, tensor in state.items()}


def _block(variables: _Variables, block: int) -> dict[str, NDArray[Any]]:
    encoder = published_encoder()
    inputs = (encoder.in_channels, *encoder.channels)[block]
    outputs, kernel = encoder.channels[block], encoder.kernels[block]
    conv, norm, ours = 2 * block, 2 * block + 1, f"encoder.blocks.{block}"
    weight = variables.take(conv, "kernel", (kernel, kernel, inputs, outputs))
    variance = variables.take(norm, "moving_variance", (outputs,))
    if variance.min() < 0:
        raise OtherNetworkError(f"the variance of BatchNorm layer {norm} is negative")
    return {
        f"{ours}.conv.weight": weight.transpose(3, 2, 0, 1),
        f"{ours}.conv.bias": variables.take(conv, "bias", (outputs,)),
        f"{ours}.norm.weight": variables.take(norm, "gamma", (outputs,)),
        f"{ours}.norm.bias": variables.take(norm, "beta", (outputs,)),
        f"{ours}.norm.running_mean": variables.take(norm, "moving_mean", (outputs,)),
        f"{ours}.norm.running_var": variance,
        # TensorFlow does not count; the momentum is fixed, so the number is never used.
        f"{ours}.norm.num_batches_tracked": np.zeros((), dtype=np.int64),
    }


def _output(variables: _Variables, hidden: int) -> dict[str, NDArray[Any]]:
    """The output layer as one logit.

    One of the published models ends in a softmax over two classes, which equals a sigmoid of
    the difference of their logits.
    """
    two_way = variables.shape(_OUTPUT, "bias") == (2,)
    classes = 2 if two_way else 1
    weight = variables.take(_OUTPUT, "kernel", (hidden, classes))
    bias = variables.take(_OUTPUT, "bias", (classes,))
    if two_way:
        weight, bias = weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]
    return {"head.output.weight": weight.T, "head.output.bias": bias}


class _Variables:
    """The model's variables in a bundle; each is checked when taken, and each must be."""

    def __init__(self, bundle: Mapping[str, NDArray[Any]]) -> None:
        self._left = {
            name.removesuffix(_SUFFIX): tensor
            for name, tensor in bundle.items()
            if name.startswith(_LAYER_PREFIX)
            and name.endswith(_SUFFIX)
            and "/.OPTIMIZER_SLOT/" not in name
        }

    def shape(self, layer: int, variable: str) -> tuple[int, ...] | None:
        """The shape of a variable, or None where there is none of that name."""
        tensor = self._left.get(f"{_LAYER_PREFIX}{layer}/{variable}")
        return None if tensor is None else tensor.shape

    def take(self, layer: int, variable: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A variable of this shape, float32 and finite.

        Raises:
            OtherNetworkError: There is none.
        """
        name = f"{_LAYER_PREFIX}{layer}/{variable}"
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise OtherNetworkError(f"it has no tensor {name}")
        if tensor.shape != shape:
            raise OtherNetworkError(f"{name} is of shape {tensor.shape}, not {shape}")
        if tensor.dtype != np.float32:
            raise OtherNetworkError(f"{name} is of type {tensor.dtype}, not float32")
        if not np.isfinite(tensor).all():
            raise OtherNetworkError(f"{name} holds values that are not finite")
        return tensor

    def require_all_taken(self) -> None:
        """Refuses a model with more variables than the published one.

        Raises:
            OtherNetworkError: Variables are left over.
        """
        if self._left:
            raise OtherNetworkError(
                f"it has {len(self._left)} more variables, such as {min(self._left)}"
            )
