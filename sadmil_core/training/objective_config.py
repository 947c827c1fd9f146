"""The config of what training minimises; plain values, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sadmil_core.model.graph_config import GraphConfig

Departure = Literal["smooth_attention", "swapped_alpha", "self_loops"]
Supervision = Literal["scan", "slice", "mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """(1 - alpha) cross-entropy + alpha S_k, and what labels of slices and pixels add to it.

    Attributes:
        alpha: Weight of smoothness; 0 is plain attention MIL (Att-MIL).
        order: 1 for S1, 2 for S2.
        graph: What is smooth over what.
        class_weights: ``inverse`` weighs scans by the inverse frequency of their class in the
            training split (the mean weight is 1); ``none`` weighs all alike.
        slice_weight: Weight of the cross-entropy over labelled slices; 0 for none. Slices
            without a label are passed over.
        attention_weight: Weight of the cross-entropy that draws the attention of positive scans
            with labelled slices to their positive ones.
        mask_weight: Weight of the cross-entropy over the cells of the last feature map, for
            scans with a mask.
        guidance_weight: Weight of Normal Guidance (arXiv 2605.27306).
        extra_weight: Weight of what the network adds itself (the divergence of probabilistic
            attention).
        departures: Where the authors' code differs from their paper, for fidelity experiments:
            ``smooth_attention`` takes S_k of the weights after the softmax, ``swapped_alpha``
            minimises alpha * cross-entropy + (1 - alpha) * S_k, ``self_loops`` has
            L = D + I - A. (That pads take part in the softmax is the network's ``bag_padding``.)
    """

    alpha: float = 0.0
    order: Literal[1, 2] = 1
    graph: GraphConfig = field(default_factory=GraphConfig)
    class_weights: Literal["inverse", "none"] = "inverse"
    slice_weight: float = 0.0
    attention_weight: float = 0.0
    mask_weight: float = 0.0
    guidance_weight: float = 0.0
    extra_weight: float = 1.0
    departures: tuple[Departure, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], not {self.alpha}")
        for name in ("slice", "attention", "mask", "guidance", "extra"):
            value = getattr(self, f"{name}_weight")
            if not value >= 0:
                raise ValueError(f"{name}_weight must not be negative, not {value}")

    @property
    def classification_share(self) -> float:
        """The weight of the scan's cross-entropy."""
        return self.alpha if "swapped_alpha" in self.departures else 1 - self.alpha

    @property
    def smoothness_share(self) -> float:
        """The weight of S_k."""
        return 1 - self.classification_share

    @property
    def shares(self) -> dict[str, float]:
        """What the mean of each term is multiplied with."""
        return {
            "scan": self.classification_share,
            "smooth": self.smoothness_share,
            "slice": self.slice_weight,
            "attention": self.attention_weight,
            "mask": self.mask_weight,
            "guidance": self.guidance_weight,
            "extra": self.extra_weight,
        }

    @property
    def supervision(self) -> Supervision:
        """The finest labels that are learned from; a checkpoint records it."""
        if self.mask_weight > 0:
            return "mask"
        return "slice" if self.slice_weight > 0 or self.attention_weight > 0 else "scan"

    def describe(self) -> str:
        """The method in a few words, such as ``S1, alpha 0.5, chain``."""
        if self.smoothness_share == 0:
            words = ["Att-MIL"]
        else:
            words = [f"S{self.order}", f"alpha {self.alpha:g}", self.graph.describe()]
        return ", ".join([*words, *self.departures])
