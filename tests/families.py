"""One small config for each member of the model family, by name; they read features or images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sadmil_core.model.config import (
    AttentionConfig,
    ConvEncoderConfig,
    FeaturesConfig,
    HeadConfig,
    InstanceHeadConfig,
    ModelConfig,
)
from sadmil_core.model.context_config import BiGruConfig, SmConfig, TransformerConfig
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.model.sadmil import SaDmil
from tests.networks import small_config

FEATURES = 6

_PARTS: dict[str, dict[str, Any]] = {
    "attention": {},
    "ungated": {"attention": AttentionConfig(hidden=4, gated=False)},
    "relu head": {"head": HeadConfig(hidden=5, activation="relu", dropout=0.0)},
    "mean": {"pooling": "mean"},
    "max": {"pooling": "max"},
    "instance": {"instance": InstanceHeadConfig()},
    "instance max": {"instance": InstanceHeadConfig(hidden=3), "pooling": "instance-max"},
    "noisy or": {
        "instance": InstanceHeadConfig(hidden=3, activation="relu"),
        "pooling": "noisy-or",
    },
    "Sm on features": {
        "context": SmConfig(gamma=2.0, learned=True),
        "graph": GraphConfig(hops=2, length_mm=8.0),
    },
    "Sm on logits": {
        "context": SmConfig(where="logits"),
        "graph": GraphConfig(similarity=1.0, gap_aware=True),
    },
    "Sm, max": {"context": SmConfig(), "pooling": "max"},
    "transformer": {
        "context": TransformerConfig(width=8, heads=2, layers=2, dropout=0.0),
        "instance": InstanceHeadConfig(),
    },
    "BiGRU": {"context": BiGruConfig(hidden=4, layers=2)},
    "BiGRU, noisy or": {
        "context": BiGruConfig(hidden=4),
        "instance": InstanceHeadConfig(),
        "pooling": "noisy-or",
    },
    "probabilistic": {"attention": AttentionConfig(hidden=4, probabilistic=True)},
    "probabilistic, smooth": {
        "attention": AttentionConfig(hidden=4, probabilistic=True, prior_smoothness=3.0),
        "graph": GraphConfig(hops=2),
    },
    "transformer, probabilistic": {
        "context": TransformerConfig(width=8, heads=2, layers=1, dropout=0.0),
        "attention": AttentionConfig(hidden=4, probabilistic=True),
    },
}
MEMBERS = tuple(_PARTS)


def features_config(member: str) -> ModelConfig:
    """A member that reads features."""
    parts: dict[str, Any] = {
        "encoder": FeaturesConfig(features=FEATURES),
        "attention": AttentionConfig(hidden=4),
        "head": HeadConfig(hidden=0, dropout=0.0),
    }
    return ModelConfig(**(parts | _PARTS[member]))


def image_config(member: str) -> ModelConfig:
    """The same member behind a small encoder."""
    return replace(small_config(), **_PARTS[member])


def compact_image_config() -> ModelConfig:
    """GroupNorm and one feature a channel, so that cells can be asked about."""
    config = small_config()
    encoder = config.encoder
    assert isinstance(encoder, ConvEncoderConfig)
    return replace(config, encoder=replace(encoder, norm="group", output="max"))


def random_network(config: ModelConfig, seed: int = 0) -> SaDmil:
    """In evaluation mode, with weights large enough that slices differ."""
    torch.manual_seed(seed)
    module = SaDmil(config)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "log_gamma" not in name and "norm" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()
