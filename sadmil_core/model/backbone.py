"""Encoders of torchvision and timm, without their classifiers. Both libraries are an extra."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sadmil_core.errors import ModelError
from sadmil_core.model.checkpointing import set_checkpointing
from sadmil_core.model.encoder import SliceEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from sadmil_core.model.config import BackboneConfig

_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in red, green, blue
_CLASSIFIERS = ("fc", "classifier", "head", "heads")
"""What torchvision's networks call their last layers."""


class BackboneEncoder(SliceEncoder):
    """Windows to 3 channels, the shift and scale the network expects, the network."""

    mean: Tensor
    sd: Tensor

    def __init__(self, config: BackboneConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self._config = config
        self.adapter = _make_adapter(config.in_channels) if config.in_channels != 3 else None
        self.net = _make_network(config, size, pretrained=False)
        imagenet = config.normalisation == "imagenet"
        for name, values in (("mean", _MEAN), ("sd", _SD)):
            plain = (0.0 if name == "mean" else 1.0,) * 3
            tensor = torch.tensor(values if imagenet else plain).reshape(3, 1, 1)
            self.register_buffer(name, tensor, persistent=False)
        if config.frozen:
            self.net.requires_grad_(False)
        self.features = self._count_features(size)
        self.train(self.training)

    def forward(self, x_N: Tensor) -> Tensor:
        """Returns h_ND."""
        if self.adapter is not None:
            x_N = self.adapter(x_N)
        h_ND: Tensor = self.net((x_N - self.mean) / self.sd).flatten(1)
        return h_ND

    def train(self, mode: bool = True) -> BackboneEncoder:
        """As for every module; a frozen network keeps its stored statistics."""
        super().train(mode)
        if self._config.frozen:
            self.net.eval()
        return self

    def set_convolution_dtype(self, dtype: torch.dtype) -> None:
        """As :meth:`SliceEncoder.set_convolution_dtype`, and all other layers with them."""
        self.to(dtype)
        for module in self.net.modules():
            if isinstance(module, _BatchNorm):
                module.float()

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """As :meth:`SliceEncoder.set_activation_checkpointing`, by the network's own blocks."""
        set_checkpointing(_blocks(self.net), enabled)

    def load_initial_weights(self, size: tuple[int, int]) -> None:
        """Gives the network the weights that training is to start from.

        Args:
            size: Rows and columns of a slice.

        Raises:
            ModelError: They cannot be had, or are of another network.
        """
        weights = self._config.weights
        if weights == "none":
            return
        if weights == "imagenet":
            state = _make_network(self._config, size, pretrained=True).state_dict()
        else:
            state = _read_state(Path(weights).expanduser())
        own = self.net.state_dict()
        missing = sorted(set(own) - set(state))
        # A classifier's weights are in the file, and not in the network.
        unknown = sorted(k for k in set(state) - set(own) if k.split(".")[0] not in _CLASSIFIERS)
        other = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
        if missing or unknown or other:
            raise ModelError(
                f"{weights} does not hold the weights of {self._config.name}.",
                remedy="Give a state dict of the same network of the same library.",
                detail=f"missing: {missing}; unknown: {unknown}; of another shape: {other}",
            )
        self.net.load_state_dict({name: state[name] for name in own})

    def _count_features(self, size: tuple[int, int]) -> int:
        training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad():
                answer = self.net(torch.zeros(1, 3, *size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ModelError(
                f"{self._config.name} cannot read slices of {size[0]} x {size[1]}.",
                remedy="Choose an input_size that the network is made for.",
                detail=str(error),
            ) from error
        finally:
            self.net.train(training)
        if not isinstance(answer, Tensor):
            raise ModelError(
                f"{self._config.name} does not give one vector of features for a slice.",
                remedy="Choose a network for the classification of images.",
            )
        return answer.flatten(1).shape[1]


def _make_adapter(channels: int) -> nn.Conv2d:
    """Any number of windows to 3 channels, at first in order: linear from the first to the last."""
    adapter = nn.Conv2d(channels, 3, 1, bias=False)
    order = torch.eye(channels)[None]
    weights = nn.functional.interpolate(order, size=3, mode="linear", align_corners=True)[0]
    with torch.no_grad():
        adapter.weight.copy_(weights.T[:, :, None, None])
    return adapter


def _make_network(config: BackboneConfig, size: tuple[int, int], *, pretrained: bool) -> nn.Module:
    library = _import_library(config.library)
    make = _make_torchvision if config.library == "torchvision" else _make_timm
    try:
        return make(library, config.name, size, pretrained)
    except (ValueError, RuntimeError, TypeError, AssertionError) as error:
        raise ModelError(
            f"{config.library} makes no network {config.name!r}"
            f"{' with ImageNet weights' if pretrained else ''}.",
            remedy=f"Look the name up in the documentation of {config.library}.",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    except OSError as error:  # of urllib and of the Hugging Face client alike
        raise ModelError(
            f"The ImageNet weights of {config.name} could not be fetched.",
            remedy="Check the connection, or give the path of a state dict as `weights`.",
            detail=str(error),
        ) from error


def _import_library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    # torchvision raises RuntimeError where it was built for another torch.
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            f"This model's encoder is of {name}, which cannot be used here.",
            remedy="Install it with `pip install 'sadmil-viewer[backbones]'`, in the build "
            "(CPU or CUDA) of the torch that is installed.",
            detail=f"{type(error).__name__}: {error}",
        ) from error


def _make_torchvision(
    library: Any, name: str, size: tuple[int, int], pretrained: bool
) -> nn.Module:
    weights = "DEFAULT" if pretrained else None
    net: nn.Module = library.models.get_model(name, weights=weights)
    for attribute in _CLASSIFIERS:
        if hasattr(net, attribute):
            setattr(net, attribute, nn.Identity())
            return net
    raise ValueError("its classifier has a name that is not known here")


def _make_timm(library: Any, name: str, size: tuple[int, int], pretrained: bool) -> nn.Module:
    options = {"pretrained": pretrained, "num_classes": 0}
    try:
        # Transformers are made for a size, ...
        net: nn.Module = library.create_model(name, img_size=size, **options)
    except TypeError:  # ... and convolutional networks know no such argument.
        net = library.create_model(name, **options)
    return net


def _blocks(net: nn.Module) -> Iterator[nn.Module]:
    """The parts of a network's sequences of blocks, which take and give one tensor each.

    Not single layers: an activation in place would change what the layer before it has kept.
    """
    for child in net.children():
        if isinstance(child, nn.Sequential):
            yield from (block for block in child.children() if any(block.children()))


def _read_state(path: Path) -> dict[str, Tensor]:
    """A state dict; of a file by torch.save only tensors are read, never code."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch.load lets through whatever a zip, an unpickler and a tensor can raise.
    except Exception as error:
        raise ModelError(
            f"{path} cannot be read as a state dict.",
            remedy="Give a .safetensors file, or a .pth file that holds tensors only.",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ModelError(
            f"{path} is not a state dict.", remedy="Save the network's `state_dict()` alone."
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
