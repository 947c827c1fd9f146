"""Decisions that flip when noise is added to a scan's Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sadmil_core.evaluation.assessment import wilson

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanNoise:
    """What noise changed in one scan, over its repeats.

    Attributes:
        slices: Slice decisions compared.
        slice_flips: Those that changed.
        repeats: How often the scan was read with noise.
        scan_flips: How often its own decision changed.
    """

    slices: int
    slice_flips: int
    repeats: int
    scan_flips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFlips:
    """What noise changed in all scans of one model.

    Attributes:
        sd_hu: Standard deviation of the noise added, independent from voxel to voxel.
        scans: By scan.
    """

    sd_hu: float
    scans: tuple[ScanNoise, ...]

    @classmethod
    def of(cls, sd_hu: float, scans: Iterable[ScanNoise]) -> NoiseFlips:
        """Gathers scans."""
        return cls(sd_hu=sd_hu, scans=tuple(scans))

    @property
    def message(self) -> str:
        """The flips in words."""
        slices, flips = self._slices
        repeats, scan_flips = self._repeats
        return (
            f"With noise of {self.sd_hu:g} HU added, {flips} of {slices} slice decisions "
            f"({flips / max(slices, 1):.1%}) and {scan_flips} of {repeats} scan decisions "
            f"({scan_flips / max(repeats, 1):.1%}) changed."
        )

    @property
    def _slices(self) -> tuple[int, int]:
        return sum(s.slices for s in self.scans), sum(s.slice_flips for s in self.scans)

    @property
    def _repeats(self) -> tuple[int, int]:
        return sum(s.repeats for s in self.scans), sum(s.scan_flips for s in self.scans)

    def as_mapping(self) -> dict[str, Any]:
        """The flips as values JSON can hold, shares with Wilson intervals."""
        found: dict[str, Any] = {"sd_hu": self.sd_hu, "scans": len(self.scans)}
        for name, (n, flips) in (("slice", self._slices), ("scan", self._repeats)):
            share = flips / n if n else None
            found[f"{name}_decisions"] = {
                "value": share,
                "interval": None if share is None else list(wilson(share, n)),
                "flips": flips,
                "n": n,
            }
        return found
