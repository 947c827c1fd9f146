"""One scan at a time: which bleeds and look-alikes a head gets, drawn as they occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.data.scans import SUBTYPES
from sadmil_core.synth import extraaxial, intraaxial
from sadmil_core.synth.artefacts import spoil
from sadmil_core.synth.host import HostUnfit
from sadmil_core.synth.insertion import BLOOD_SHARE, VISIBLE_MM2, apply_edits
from sadmil_core.synth.lookalikes import LOOK_ALIKES
from sadmil_core.synth.variants import vary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.lesions import Edit

    Draw = Callable[[Host, np.random.Generator], list[Edit]]

MEDIAN_EXTENT_MM, EXTENT_SPREAD, MOST_EXTENT_MM = 46.0, 0.65, 160.0
"""How much of the head's height a bleed covers: ten slices of about 4.6 mm, 1 to 32 of them."""

_LAYERED = {
    "epidural": extraaxial.draw_epidural,
    "subdural": extraaxial.draw_subdural,
    "subarachnoid": extraaxial.draw_subarachnoid,
}
"""Layers, whose height is drawn first."""
_BESIDE = 0.6
"""How often blood in sulci that comes with another bleed lies next to it."""
_CANDIDATES = 3
_NEAR = 0.35  # a candidate this near to the number of slices wanted is taken at once


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertedScan:
    """A head with what was put into it.

    Attributes:
        hu: (S, R, C) float32, Hounsfield units.
        truth: (S, R, C) bool: where there is blood.
        slices: (S,) bool: the slices that show any.
        kinds: By kind of bleed, (S,) bool: the slices that show it.
        edits: The kinds of everything that was put in, look-alikes too, in order.
    """

    hu: NDArray[np.float32]
    truth: NDArray[np.bool_]
    slices: NDArray[np.bool_]
    kinds: Mapping[str, NDArray[np.bool_]]
    edits: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """Whether any slice shows blood."""
        return bool(self.slices.any())


BLEEDS: Mapping[str, tuple[tuple[float, Draw], ...]] = {
    "intraparenchymal": (
        (0.76, intraaxial.draw_intraparenchymal),
        (0.12, intraaxial.draw_posterior_fossa),
        (0.12, intraaxial.draw_petechial),
    ),
    "intraventricular": ((1.0, intraaxial.draw_intraventricular),),
    "epidural": ((1.0, extraaxial.draw_epidural),),
    "subdural": ((1.0, extraaxial.draw_subdural),),
    "subarachnoid": ((1.0, extraaxial.draw_subarachnoid),),
}
"""Ways to draw each kind of bleed, with how often."""
FIRST: Mapping[str, float] = {
    "subdural": 0.36,
    "subarachnoid": 0.22,
    "intraparenchymal": 0.30,
    "intraventricular": 0.07,
    "epidural": 0.05,
}
"""How often a kind is the main one of a positive scan."""
WITH: Mapping[str, Mapping[str, float]] = {
    "epidural": {"subdural": 0.2, "subarachnoid": 0.25, "intraparenchymal": 0.15},
    "subdural": {"subarachnoid": 0.25, "intraparenchymal": 0.12, "intraventricular": 0.05},
    "subarachnoid": {"intraventricular": 0.25, "subdural": 0.2, "intraparenchymal": 0.15},
    "intraparenchymal": {"intraventricular": 0.33, "subarachnoid": 0.22, "subdural": 0.1},
    "intraventricular": {"subarachnoid": 0.25},
}
"""How often others come with it."""


def insert_one(
    host: Host,
    rng: np.random.Generator,
    kind_set: Collection[str] | None = None,
    positive: bool = True,
) -> InsertedScan:
    """Puts bleeds, or what only looks like one, into a head.

    Args:
        host: The head; it is not changed.
        rng: Source of randomness.
        kind_set: The kinds of bleeds to draw from; None for all.
        positive: Whether the scan is to bleed. Look-alikes and edits without blood are put in
            either way, equally often.

    Raises:
        HostUnfit: The head has no place for any of these bleeds.
    """
    unknown = sorted(set(kind_set or ()) - set(SUBTYPES))
    if unknown:
        raise ValueError(f"not a kind of bleed: {', '.join(unknown)}")
    host = vary(host, rng)
    edits = draw_look_alikes(host, rng)
    if positive:
        edits += draw_bleeds(host, rng, [k for k in BLEEDS if kind_set is None or k in kind_set])
    return lay_in(host, edits, rng)


def lay_in(host: Host, edits: Sequence[Edit], rng: np.random.Generator) -> InsertedScan:
    """Puts edits into a head, and artefacts over all.

    Args:
        host: The head; it is not changed.
        edits: Look-alikes first, then bleeds.
        rng: Source of the noise and the artefacts.
    """
    inserted = apply_edits(host, edits, rng)
    hu, artefacts = spoil(host, inserted.hu, rng)
    return InsertedScan(
        hu=hu,
        truth=inserted.truth,
        slices=inserted.slices,
        kinds=inserted.kinds,
        edits=tuple(dict.fromkeys([*(edit.kind for edit in edits), *artefacts])),
    )


def draw_look_alikes(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Draws what only looks like a bleed, and edits that show nothing at all."""
    edits: list[Edit] = []
    for often, draw in LOOK_ALIKES.values():
        if rng.random() < often:
            try:
                edits += draw(host, rng)
            except HostUnfit:
                continue  # this head has no place for it; others have
    return edits


def draw_bleeds(
    host: Host,
    rng: np.random.Generator,
    kinds: Sequence[str],
    *,
    median_mm: float = MEDIAN_EXTENT_MM,
) -> list[Edit]:
    """Draws bleeds that show in about as many slices as is common.

    Args:
        host: The head.
        rng: Source of randomness.
        kinds: Those to draw from.
        median_mm: How much of the head's height they cover, half of them less.

    Raises:
        HostUnfit: The head has no place for any of them.
    """
    extent = float(median_mm * np.exp(EXTENT_SPREAD * rng.standard_normal()))
    extent = float(np.clip(extent, host.spacing_mm[0], MOST_EXTENT_MM))
    wanted = max(1.0, extent / host.spacing_mm[0])
    best: list[Edit] = []
    nearest = np.inf
    reason = HostUnfit("no bleed found a place in this head")
    for _ in range(4 * _CANDIDATES):
        try:
            edits = _draw_together(host, rng, kinds, extent)
        except HostUnfit as error:
            reason = error
            continue
        shown = int(shown_slices(host, edits).sum())
        if shown == 0:
            continue
        off = abs(np.log(shown / wanted))
        if off < nearest:
            best, nearest = edits, off
        if nearest < _NEAR:
            break
    if not best:
        raise reason
    return best


def _draw_together(
    host: Host, rng: np.random.Generator, kinds: Sequence[str], extent_mm: float
) -> list[Edit]:
    weights = np.array([FIRST[kind] for kind in kinds])
    first = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    edits = _draw_kind(host, rng, first, extent_mm)
    for kind, often in WITH[first].items():
        if kind in kinds and rng.random() < often:
            try:
                if kind == "subarachnoid" and rng.random() < _BESIDE:
                    edits += extraaxial.draw_subarachnoid(host, rng, beside=edits[0])
                else:
                    edits += _draw_kind(host, rng, kind, 0.6 * extent_mm)
            except HostUnfit:
                continue  # the main bleed stands without it
    return edits


def _draw_kind(host: Host, rng: np.random.Generator, kind: str, extent_mm: float) -> list[Edit]:
    ways = BLEEDS[kind]
    weights = np.array([often for often, _ in ways])
    draw = ways[int(rng.choice(len(ways), p=weights / weights.sum()))][1]
    if draw is intraaxial.draw_intraparenchymal:
        # Of a body as high as that.
        likely = float(np.clip(0.4 * (extent_mm / 10) ** 3, 1.0, 60.0))
        range_ml = max(1.0, 0.5 * likely), min(60.0, max(2.0 * likely, 3.0))
        return intraaxial.draw_intraparenchymal(host, rng, volume_ml=range_ml)
    for layered in (
        extraaxial.draw_epidural,
        extraaxial.draw_subdural,
        extraaxial.draw_subarachnoid,
    ):
        if draw is layered:
            return layered(host, rng, extent_mm=extent_mm)
    return draw(host, rng)


def shown_slices(host: Host, edits: Sequence[Edit]) -> NDArray[np.bool_]:
    """(S,) bool: about which slices will show a bleed; quicker than laying the edits in."""
    area = np.zeros(len(host.hu))
    pixel = host.pixel_mm[0] * host.pixel_mm[1]
    for edit in edits:
        if edit.bleed:
            area[edit.box[0]] += (edit.occupancy >= BLOOD_SHARE).sum(axis=(1, 2)) * pixel
    shown: NDArray[np.bool_] = area >= VISIBLE_MM2
    return shown
