"""The config of a slice graph; plain values, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphConfig:
    """Which instances of a bag are joined, and how strongly.

    The weights of an edge multiply; without any of them each edge weighs 1. The paper's graph
    is the default, the chain.

    Attributes:
        edges: ``slices`` joins slices by their order in the stack; ``bag`` takes the edges
            that come with each bag (any modality), and no weights of its own but those of
            ``similarity``.
        hops: Joins each slice with the next ``hops`` ones; 1 is the chain.
        length_mm: Weighs an edge by exp(-dz / length), dz the distance of the two slices along
            the stack; None for no such weight.
        gap_aware: Weighs an edge of k hops by min(1, k m / dz), m the bag's median spacing: where
            a slice is missing, its neighbours hold together half as strongly.
        similarity: Weighs an edge by exp(-d2 / (similarity * mean d2)), d2 the squared distance
            of the two feature vectors and the mean over the bag's edges; None for no such
            weight. No gradient passes through it.
    """

    edges: Literal["slices", "bag"] = "slices"
    hops: int = 1
    length_mm: float | None = None
    gap_aware: bool = False
    similarity: float | None = None

    def __post_init__(self) -> None:
        if self.hops < 1:
            raise ValueError(f"hops must be positive, not {self.hops}")
        for name, value in (("length_mm", self.length_mm), ("similarity", self.similarity)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
        if self.edges == "bag" and (self.hops > 1 or self.needs_positions):
            raise ValueError("edges that come with the bags have no hops, length_mm or gap_aware")

    @property
    def needs_positions(self) -> bool:
        """Whether the slices' positions in mm must be known."""
        return self.length_mm is not None or self.gap_aware

    def describe(self) -> str:
        """The graph in a few words, such as ``chain, exp(-dz/5 mm)``."""
        if self.edges == "bag":
            words = ["edges of the bag"]
        else:
            words = ["chain" if self.hops == 1 else f"{self.hops} hops"]
        if self.length_mm is not None:
            words.append(f"exp(-dz/{self.length_mm:g} mm)")
        if self.gap_aware:
            words.append("gap-aware")
        if self.similarity is not None:
            words.append(f"similarity {self.similarity:g}")
        return ", ".join(words)
