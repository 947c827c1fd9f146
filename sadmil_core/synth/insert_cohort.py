"""Synthetic hemorrhage in a folder of real scans: hosts found once, scans drawn by number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.dicom.codes import printable
from sadmil_core.errors import DecodeError
from sadmil_core.fitness import fitness_of_entry
from sadmil_core.progress import no_progress
from sadmil_core.synth.cohort import Cohort, CohortError, CohortReport, SyntheticScan
from sadmil_core.synth.find_host import find_host
from sadmil_core.synth.host import HostUnfit
from sadmil_core.synth.insert import insert_one
from sadmil_core.synth.pool import run_jobs, stopped
from sadmil_core.synth.series import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sadmil_core.dicom import CTVolume, StackEntry
    from sadmil_core.progress import Progress
    from sadmil_core.synth.host import Host

    _Outcome = str | dict[int, str]

POSITIVE_SHARE = 0.41
"""Of the scans: as in the RSNA 2019 data set."""

_TRIES = 4  # draws of one scan before it is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundHost:
    """A head to put lesions into.

    Attributes:
        name: Made from its pixels, so that it names nobody and stays the same.
        host: The head.
        frame: Where its slices lie, about the middle of the stack.
    """

    name: str
    host: Host
    frame: Frame


def load_host(entry: StackEntry, *, size: int | None = None) -> FoundHost:
    """Loads a stack and segments it.

    Args:
        entry: From an index.
        size: See :func:`~sadmil_core.synth.find_host.find_host`.

    Raises:
        HostUnfit: It cannot be a host; the message says why.
        DecodeError: It cannot be read.
    """
    reasons = fitness_of_entry(entry)
    if reasons.is_unfit:
        raise HostUnfit(f"unfit: {reasons.messages(reasons.level)}")
    volume = load_volume(entry)
    host = find_host(volume, size=size)
    return FoundHost(name=host_name(volume), host=host, frame=_frame(volume, host))


def host_name(volume: CTVolume) -> str:
    """The name of a host: the same pixels have the same one, and it tells nothing of them."""
    content = np.ascontiguousarray(volume.hu, np.int16).tobytes()
    return f"HOST-{hashlib.sha256(content).hexdigest()[:12].upper()}"


def _frame(volume: CTVolume, host: Host) -> Frame:
    geometry = volume.entry.geometry
    row, column = np.asarray(geometry.row_direction), np.asarray(geometry.column_direction)
    origins = np.asarray(geometry.origins_mm)
    # The first pixel of a block lies at the block's middle; where the table stood is left out.
    for direction, fine, coarse in (
        (column, geometry.row_spacing_mm, host.pixel_mm[0]),
        (row, geometry.column_spacing_mm, host.pixel_mm[1]),
    ):
        origins = origins + direction * 0.5 * (coarse - fine)
    rows, columns = host.hu.shape[1:]
    middle = (
        column * 0.5 * (rows - 1) * host.pixel_mm[0]
        + row * 0.5 * (columns - 1) * (host.pixel_mm[1])
    )
    origins = origins - (origins.mean(axis=0) + middle)
    return Frame(
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        origins_mm=origins,
        pixel_mm=host.pixel_mm,
        thickness_mm=host.thickness_mm,
    )


def insert_cohort(
    hosts: Path,
    out: Path,
    *,
    scans: int,
    seed: int,
    size: int | None = 256,
    positive_share: float = POSITIVE_SHARE,
    workers: int = 1,
    progress: Progress = no_progress,
) -> CohortReport:
    """Writes synthetic scans made from a folder of real ones.

    Scan number i depends on the seed, i and the hosts alone: a run that was killed goes on where
    it was, and more scans can be asked for later.

    Args:
        hosts: A folder of head CTs without a bleed.
        out: Empty, new, or an earlier run of the same settings.
        scans: How many there shall be.
        seed: Of everything that is drawn.
        size: Rows and columns are at most these; None for the hosts' own.
        positive_share: Share of the scans that bleed.
        workers: Processes, each at one host at a time.
        progress: Called after every scan; what it raises passes through.

    Raises:
        CohortError: No host can be used, or ``out`` is something else.
        WriteError: The system refused, for example because the disk is full; the scans that are
            written stay, and the next run goes on.
    """
    entries = index_folder(hosts).entries
    # Headers alone decide the order, so that it holds before any host is loaded.
    entries = tuple(sorted(entries, key=lambda e: (e.series_instance_uid, e.stack_index)))
    if not entries:
        raise CohortError(f"{hosts} holds no CT series.", remedy="Give a folder of head CTs.")
    cohort = Cohort(
        out,
        {
            "seed": seed,
            "size": size,
            "positive_share": positive_share,
            "hosts": [_digest(entry) for entry in entries],
        },
    )
    with cohort.open():
        plan = _Plan(
            cohort=cohort, entries=entries, scans=scans, seed=seed, size=size, share=positive_share
        )
        return _carry_out(plan, workers, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    cohort: Cohort
    entries: tuple[StackEntry, ...]
    scans: int
    seed: int
    size: int | None
    share: float


def _digest(entry: StackEntry) -> str:
    text = "\n".join(header.sop_instance_uid for header in entry.slices)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _carry_out(plan: _Plan, workers: int, progress: Progress) -> CohortReport:
    """Makes what is missing. Hosts that turn out unfit leave their scans to the others."""
    kept = _present(plan)
    unfit: dict[int, str] = {}
    given_up: dict[int, str] = {}

    def tell() -> None:
        progress(_present(plan), plan.scans, "Inserting")

    tell()
    while True:
        missing = [n for n in range(plan.scans) if n not in given_up and not plan.cohort.has(n)]
        work = _by_host(plan, missing, unfit)
        if not work:
            break
        for index, outcome in _run(plan, work, workers, tell):
            if isinstance(outcome, str):
                unfit[index] = outcome
            else:
                given_up |= outcome
            tell()
    skipped = [(_shown(plan.entries[index]), why) for index, why in sorted(unfit.items())]
    if len(unfit) == len(plan.entries):
        raise CohortError(
            f"None of the {len(unfit)} series can be a host: "
            + "; ".join(f"{name}: {why}" for name, why in skipped),
            remedy="Give a folder of head CTs without a bleed.",
        )
    skipped += [(f"scan {number}", why) for number, why in sorted(given_up.items())]
    return CohortReport(
        manifest=plan.cohort.write_manifest(plan.scans),
        written=_present(plan) - kept,
        kept=kept,
        skipped=tuple(skipped),
    )


def _present(plan: _Plan) -> int:
    return sum(plan.cohort.has(number) for number in range(plan.scans))


def _by_host(plan: _Plan, missing: Sequence[int], unfit: Iterable[int]) -> dict[int, list[int]]:
    """Which host makes which of the missing scans.

    Every round of as many scans as there are hosts goes through all of them, in an order of its
    own; the scans of an unfit one go to the next in that order.
    """
    left_out, count = set(unfit), len(plan.entries)
    work: dict[int, list[int]] = {}
    for number in missing:
        round_, place = divmod(number, count)
        order = np.random.default_rng([plan.seed, 1, round_]).permutation(count)
        turned = [int(order[(place + step) % count]) for step in range(count)]
        host = next((index for index in turned if index not in left_out), None)
        if host is not None:
            work.setdefault(host, []).append(number)
    return dict(sorted(work.items()))


def _run(
    plan: _Plan, work: Mapping[int, list[int]], workers: int, tell: Callable[[], None]
) -> Iterator[tuple[int, _Outcome]]:
    """Goes through the hosts, and yields what became of each."""
    alone = workers <= 1 or len(work) == 1
    jobs = {i: (plan, i, numbers, *([tell] if alone else [])) for i, numbers in work.items()}
    return run_jobs(_use_host, jobs, workers, tell)


def _use_host(
    plan: _Plan, index: int, numbers: Sequence[int], tell: Callable[[], None] | None = None
) -> _Outcome:
    """Makes the scans of one host.

    Returns:
        Why it cannot be a host; or the numbers of scans that were given up, with the reasons.
    """
    try:
        found = load_host(plan.entries[index], size=plan.size)
    except (HostUnfit, DecodeError) as error:
        return str(error)
    given_up: dict[int, str] = {}
    for number in numbers:
        if stopped():
            break
        scan = draw_scan(found, plan.seed, number, plan.share)
        if isinstance(scan, str):
            given_up[number] = scan
        else:
            plan.cohort.write(number, scan, f"{plan.seed}/{found.name}/{plan.size}")
        if tell is not None:
            tell()
    return given_up


def draw_scan(
    found: FoundHost, seed: int, number: int, positive_share: float = POSITIVE_SHARE
) -> SyntheticScan | str:
    """Makes scan ``number`` of a seed from a host; the same one each time.

    Returns:
        The scan, or why there is none.
    """
    positive = bool(np.random.default_rng([seed, 2, number]).random() < positive_share)
    reason = ""
    for attempt in range(_TRIES):
        rng = np.random.default_rng([seed, 3, number, attempt])
        try:
            scan = insert_one(found.host, rng, positive=positive)
        except HostUnfit as error:
            reason = str(error)
            continue
        return SyntheticScan(
            hu=scan.hu,
            truth=scan.truth,
            slices=scan.slices,
            kinds=scan.kinds,
            edits=scan.edits,
            frame=found.frame,
            patient_id=found.name,
        )
    return reason


def _shown(entry: StackEntry) -> str:
    return printable(str(entry.shown(entry.slices[0].path).parent))
