"""What the reader has asked the model beyond its answer, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sadmil_core.explain import Explanation
    from sadmil_core.result import ScanResult
    from viewer.model.state import ModelChoice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inquiry:
    """Questions about one result, and their answers; another result begins without any.

    Attributes:
        result: What they are about.
        trial_threshold: A slice threshold that is only tried out; it is never exported.
        without: (S,) the scan probability if each slice were left out, NaN where undefined; None
            before the network was asked.
        explanations: By slice.
    """

    result: ScanResult | None = None
    trial_threshold: float | None = None
    without: NDArray[np.float64] | None = None
    explanations: Mapping[int, Explanation] = field(default_factory=dict)


NOTHING_ASKED = Inquiry()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOptions:
    """How attention and explanations are shown, whatever the scan.

    Attributes:
        shows_evidence: The evidence curve is drawn, where there is one.
        shows_explanation: An explanation is laid over its slice.
        opacity: Of that, 0 to 1.
        other: The model whose curve is laid over that of the chosen one.
    """

    shows_evidence: bool = False
    shows_explanation: bool = True
    opacity: float = 0.5
    other: ModelChoice | None = None
