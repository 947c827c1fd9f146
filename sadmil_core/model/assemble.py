"""An encoder and a network over its features, put together into one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from sadmil_core.errors import ModelError
from sadmil_core.model.config import FeaturesConfig
from sadmil_core.model.sadmil import SaDmil

if TYPE_CHECKING:
    from sadmil_core.model.config import ModelConfig
    from sadmil_core.model.trained import TrainedModel


def assembled(encoder: TrainedModel, head: TrainedModel) -> SaDmil:
    """A network that reads images with one's encoder and answers with the other's heads.

    Args:
        encoder: Whose encoder is taken.
        head: Trained on features (``FeaturesConfig``) that this encoder gave.

    Returns:
        In evaluation mode; on a scan it gives what ``head`` gives on the scan's features.

    Raises:
        ModelError: ``head`` reads images itself, or features of another width.
    """
    width = encoder.module.encoder.features
    config = head.header.model
    if not isinstance(config.encoder, FeaturesConfig) or config.encoder.features != width:
        raise ModelError(
            f"{head.header.name} does not read the {width} features that {encoder.header.name} "
            "gives of a slice."
        )
    source = encoder.header.model
    module = SaDmil(replace(config, encoder=source.encoder, input_size=source.input_size))
    state = {k: v for k, v in head.module.state_dict().items() if not k.startswith("encoder.")}
    for name, tensor in encoder.module.state_dict().items():
        if name.startswith("encoder."):
            state[name] = tensor
    module.load_state_dict(state)
    return module.eval()


def over_features(encoder: TrainedModel, config: ModelConfig, seed: int) -> SaDmil:
    """A network over an encoder's features that begins with the encoder's own scan head.

    What tells a slice that bleeds from another is then there before any scan label is seen; only
    attention starts at random.

    Args:
        encoder: Its head was trained on slices.
        config: With ``FeaturesConfig`` and a head like the encoder's.
        seed: Of the weights drawn at random.

    Raises:
        ModelError: The heads do not match.
    """
    torch.manual_seed(seed)
    module = SaDmil(config)
    if module.head is None or encoder.module.head is None:
        raise ModelError("a network without a scan head cannot begin with another's")
    try:
        module.head.load_state_dict(encoder.module.head.state_dict())
    except RuntimeError as error:
        raise ModelError(f"{encoder.header.name} has another head", detail=str(error)) from error
    return module.eval()
