"""The configs of what mixes the slices of a bag before they are pooled; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SmConfig:
    """The Sm operator (I + gamma L)^-1 over the slice graph (arXiv 2410.03276).

    Attributes:
        kind: Of context.
        where: What is smoothed, the ``features`` or the attention ``logits``.
        gamma: How strongly; where it is learned, where it starts.
        learned: Whether gamma is learned, as a positive number.
    """

    kind: Literal["sm"] = "sm"
    where: Literal["features", "logits"] = "features"
    gamma: float = 1.0
    learned: bool = False

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise ValueError(f"gamma must be positive, not {self.gamma}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Self-attention between slices, with their positions in mm.

    Attributes:
        kind: Of context.
        width: Features of a slice inside and after it.
        heads: Of each layer.
        layers: How many.
        dropout: In each layer.
    """

    kind: Literal["transformer"] = "transformer"
    width: int = 128
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.width, self.heads, self.layers) < 1:
            raise ValueError("width, heads and layers must be positive")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x {self.heads} heads")
        _check_dropout(self.dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class BiGruConfig:
    """A recurrent network that reads the stack in both directions.

    Attributes:
        kind: Of context.
        hidden: Units in each direction; a slice has twice as many features after it.
        layers: How many.
        dropout: Between layers.
    """

    kind: Literal["bigru"] = "bigru"
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.hidden, self.layers) < 1:
            raise ValueError("hidden and layers must be positive")
        _check_dropout(self.dropout)
        if self.dropout and self.layers == 1:
            raise ValueError("dropout is between layers, and there is one")


def _check_dropout(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
