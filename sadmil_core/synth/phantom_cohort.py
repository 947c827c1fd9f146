"""A folder of phantoms with bleeds and look-alikes: no patient, and no host, is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.progress import no_progress
from sadmil_core.synth.cohort import Cohort, CohortReport, SyntheticScan
from sadmil_core.synth.host import HostUnfit
from sadmil_core.synth.insert import (
    BLEEDS,
    InsertedScan,
    draw_bleeds,
    draw_look_alikes,
    lay_in,
    shown_slices,
)
from sadmil_core.synth.insert_cohort import POSITIVE_SHARE
from sadmil_core.synth.phantom import PhantomConfig
from sadmil_core.synth.phantom_host import make_phantom_host
from sadmil_core.synth.pool import run_jobs, stopped
from sadmil_core.synth.series import Frame

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.progress import Progress
    from sadmil_core.synth.host import Host
    from sadmil_core.synth.lesions import Edit

ARMS = ("natural", "uniform")
"""``natural``: whole heads, bleeds where they occur. ``uniform``: stacks that show a part of the
head, chosen so that a bleed lies anywhere along the stack equally often."""

_TRIES = 4  # heads drawn for one scan before it is given up
_BLEEDS = 16  # bleeds drawn for one head until one can be shown where it is to lie
_SPACING_MM, _FIELD_MM = (3.5, 5.5), (210.0, 250.0)
_HEIGHT_MM = (130.0, 165.0)  # of a whole head's stack
_TALL_MM, _PART_MM = 190.0, (50.0, 75.0)  # of the head drawn in the uniform arm, and of a stack
_PART_BLEED_MM = 20.0  # of the height that a bleed covers there: about a third of the stack
_AIR_MM, _TALL_AIR_MM = (2.0, 9.0), 20.0  # above the crown
_LEAST_SHOWN = 1 / 3  # of a bleed's slices, in a stack that cuts it
_COARSE = 400  # rows; above, three thin samples make a slice


def phantom_cohort(
    out: Path,
    *,
    scans: int,
    seed: int,
    arm: str = "natural",
    size: int = 256,
    positive_share: float = POSITIVE_SHARE,
    workers: int = 1,
    progress: Progress = no_progress,
) -> CohortReport:
    """Writes phantoms, about two in five of which bleed.

    Scan number i depends on the seed, i and the settings alone: a run that was killed goes on
    where it was, and more scans can be asked for later.

    Args:
        out: Empty, new, or an earlier run of the same settings.
        scans: How many there shall be.
        seed: Of everything that is drawn.
        arm: One of :data:`ARMS`.
        size: Rows and columns.
        positive_share: Share of the scans that bleed.
        workers: Processes.
        progress: Called after every scan; what it raises passes through.

    Raises:
        CohortError: ``out`` is something else.
        WriteError: The system refused, for example because the disk is full; the scans that are
            written stay, and the next run goes on.
    """
    if arm not in ARMS:
        raise ValueError(f"not an arm: {arm}")
    settings = {"phantoms": arm, "seed": seed, "size": size, "positive_share": positive_share}
    cohort = Cohort(out, settings)
    with cohort.open():
        kept = [number for number in range(scans) if cohort.has(number)]
        given_up: dict[int, str] = {}
        done = len(kept)

        def tell() -> None:
            progress(done, scans, "Making phantoms")

        tell()
        plan = _Plan(cohort=cohort, seed=seed, arm=arm, size=size, share=positive_share)
        jobs = {n: (plan, n) for n in range(scans) if not cohort.has(n)}
        for number, reason in run_jobs(_write, jobs, workers, tell):
            done += 1
            if reason:
                given_up[number] = reason
            tell()
        return CohortReport(
            manifest=cohort.write_manifest(scans),
            written=sum(cohort.has(number) for number in range(scans)) - len(kept),
            kept=len(kept),
            skipped=tuple((f"scan {n}", why) for n, why in sorted(given_up.items())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    cohort: Cohort
    seed: int
    arm: str
    size: int
    share: float


def _write(plan: _Plan, number: int) -> str:
    """Makes a scan; why there is none, where there is none."""
    if stopped():
        return ""
    scan = draw_phantom(plan.seed, number, plan.arm, size=plan.size, positive_share=plan.share)
    if isinstance(scan, str):
        return scan
    plan.cohort.write(number, scan, f"phantom/{plan.seed}/{plan.arm}/{plan.size}")
    return ""


def draw_phantom(
    seed: int,
    number: int,
    arm: str = "natural",
    *,
    size: int = 256,
    positive_share: float = POSITIVE_SHARE,
) -> SyntheticScan | str:
    """Makes phantom ``number`` of a seed; the same one each time.

    Args:
        seed: Of the cohort.
        number: Within it.
        arm: One of :data:`ARMS`.
        size: Rows and columns.
        positive_share: Share of the scans that bleed.

    Returns:
        The scan, or why there is none.
    """
    positive = bool(np.random.default_rng([seed, 2, number]).random() < positive_share)
    # Of all attempts: a place that few bleeds suit must not be drawn less often for that.
    place = float(np.random.default_rng([seed, 5, number]).random()) if arm == "uniform" else None
    reason = ""
    for attempt in range(_TRIES):
        rng = np.random.default_rng([seed, 4, number, attempt])
        try:
            host, scan = _draw(rng, size, positive, place)
        except HostUnfit as error:
            reason = str(error)
            continue
        if scan.positive != positive:
            reason = "the bleed did not show"
            continue
        return SyntheticScan(
            hu=scan.hu,
            truth=scan.truth,
            slices=scan.slices,
            kinds=scan.kinds,
            edits=scan.edits,
            frame=_frame(host, len(scan.hu)),
            patient_id=f"PHANTOM-{seed}-{number:05d}",
            site=f"phantom-{arm}",
            phantom=True,
        )
    return reason


def _draw(
    rng: np.random.Generator, size: int, positive: bool, place: float | None
) -> tuple[Host, InsertedScan]:
    if place is not None:
        return _draw_part(rng, size, positive, place)
    host = _head(rng, size, float(rng.uniform(*_HEIGHT_MM)), float(rng.uniform(*_AIR_MM)))
    edits = draw_look_alikes(host, rng)
    if positive:
        edits += draw_bleeds(host, rng, list(BLEEDS))
    return host, lay_in(host, edits, rng)


def _draw_part(
    rng: np.random.Generator, size: int, positive: bool, place: float
) -> tuple[Host, InsertedScan]:
    """A part of a head, with a bleed at a place along the stack.

    Heads that do not bleed are cut as if they did, so that the cut tells nothing.
    """
    host = _head(rng, size, _TALL_MM, _TALL_AIR_MM)
    count = round(float(rng.uniform(*_PART_MM)) / host.spacing_mm[0])
    edits = draw_look_alikes(host, rng)
    bleeds, start = draw_bleeds_at(host, rng, place, count)
    scan = lay_in(host, [*edits, *bleeds] if positive else edits, rng)
    part = slice(start, start + count)
    cut = replace(
        scan,
        hu=scan.hu[part],
        truth=scan.truth[part],
        slices=scan.slices[part],
        kinds={kind: shown[part] for kind, shown in scan.kinds.items()},
    )
    return host, cut


def draw_bleeds_at(
    host: Host, rng: np.random.Generator, place: float, slices: int
) -> tuple[list[Edit], int]:
    """Draws bleeds, and the part of the stack that shows them at a place along it.

    All places at which the part shows enough of them are equally likely, those at which it ends
    within them included.

    Args:
        host: A head whose stack is higher than the part.
        rng: Source of randomness.
        place: 0 where the bleed lies as low in the part as it may, towards 1 as high.
        slices: Of the part.

    Returns:
        The bleeds, and the first slice of the part.

    Raises:
        HostUnfit: No bleed was drawn that the stack reaches far enough beyond.
    """
    for _ in range(_BLEEDS):
        bleeds = draw_bleeds(host, rng, list(BLEEDS), median_mm=_PART_BLEED_MM)
        start = _cut_around(host, bleeds, place, slices)
        if start is not None:
            return bleeds, start
    raise HostUnfit("no bleed was drawn that the stack could show where it was to lie")


def _cut_around(host: Host, bleeds: list[Edit], place: float, count: int) -> int | None:
    shown = np.flatnonzero(shown_slices(host, bleeds))
    first, length = int(shown[0]), int(shown[-1] - shown[0]) + 1
    least = max(1, round(_LEAST_SHOWN * length))
    # Of the bleed within the stack: its first slice, below 0 where it is cut.
    lowest, highest = least - length, count - least
    start = first - (lowest + int(place * (highest - lowest + 1)))
    inside = (shown >= start) & (shown < start + count)
    if not 0 <= start <= len(host.hu) - count or not inside.any():
        return None
    return start


def _head(rng: np.random.Generator, size: int, height_mm: float, air_mm: float) -> Host:
    spacing = round(float(rng.uniform(*_SPACING_MM)), 2)
    pixel = round(float(rng.uniform(*_FIELD_MM)) / size, 4)
    coarse = size < _COARSE
    config = PhantomConfig(
        slices=round(height_mm / spacing),
        size=size,
        pixel_mm=pixel,
        spacing_mm=spacing,
        supersampling=2 if coarse else 3,
        anatomy_mm=max(pixel, 1.0) if coarse else 0.75,
        air_above_mm=air_mm,
    )
    return make_phantom_host(rng, config)


def _frame(host: Host, slices: int) -> Frame:
    rows, columns = host.hu.shape[1:]
    origins = np.zeros((slices, 3))
    origins[:, 0] = -0.5 * (columns - 1) * host.pixel_mm[1]
    origins[:, 1] = -0.5 * (rows - 1) * host.pixel_mm[0]
    origins[:, 2] = host.position_mm[:slices]
    return Frame(
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, 1.0, 0.0),
        origins_mm=origins,
        pixel_mm=host.pixel_mm,
        thickness_mm=host.thickness_mm,
    )
