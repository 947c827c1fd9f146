"""Measurements as ratios, both sides in one run, against what a user would otherwise pick.

Never asserted in tests: wall-clock times on shared machines are noisy.
"""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measured ratio.

    Attributes:
        name: What was compared.
        ours_ms: Median time of this program's way.
        theirs_ms: Median time of the other way.
        other: What the other way is.
        ratio: Median of the ratios of neighbouring runs, ours over theirs.
        limit: The ratio that is aimed for, or None.
        runs: How many pairs of runs.
    """

    name: str
    ours_ms: float
    theirs_ms: float
    other: str
    ratio: float
    limit: float | None
    runs: int

    @property
    def holds(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.limit is None or self.ratio <= self.limit


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    other: str,
    limit: float | None,
    runs: int = 7,
) -> Comparison:
    """Runs both ways alternately, after one warm-up each, and takes medians.

    Neighbouring runs share the machine's mood, so the ratio is taken pair by pair.

    Args:
        name: What is compared.
        ours: This program's way.
        theirs: The other way.
        other: What the other way is.
        limit: The ratio aimed for.
        runs: Pairs of runs.
    """
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(runs)]
    return of_pairs(name, pairs, other=other, limit=limit)


def of_pairs(
    name: str, pairs: Sequence[tuple[float, float]], *, other: str, limit: float | None
) -> Comparison:
    """What neighbouring times come to.

    Args:
        name: What was compared.
        pairs: Seconds of this program's way and of the other, run after run.
        other: What the other way is.
        limit: The ratio aimed for.
    """
    return Comparison(
        name=name,
        ours_ms=round(1e3 * statistics.median(a for a, _ in pairs), 3),
        theirs_ms=round(1e3 * statistics.median(b for _, b in pairs), 3),
        other=other,
        ratio=round(statistics.median(a / b for a, b in pairs), 4),
        limit=limit,
        runs=len(pairs),
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def as_document(comparisons: list[Comparison], notes: dict[str, Any]) -> dict[str, Any]:
    """The JSON document of a run."""
    import os

    return {
        "machine": {
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "comparisons": [{**asdict(c), "holds": c.holds} for c in comparisons],
        **notes,
    }
