"""What the window costs: ``python -m viewer.bench`` prints it as JSON.

Called by ``sadmil bench`` in a process of its own, for the core imports no Qt. Everything runs
offscreen, at 1280 x 800 and a device pixel ratio of 1, on made scans.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadmil_core.bench import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number with its aim.

    Attributes:
        name: What was measured.
        value: The number.
        unit: ``ms``, ``MB``, ``1/s`` or ``ratio``.
        limit: What is aimed for: at most, or at least where ``at_least``; None for no aim.
        at_least: Whether more is better.
        beside: The same of what one would otherwise use, where there is such a thing.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    beside: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the aim is reached."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "value": round(self.value, 3), "holds": self.holds}


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON holds it."""
    return {**asdict(comparison), "holds": comparison.holds}
