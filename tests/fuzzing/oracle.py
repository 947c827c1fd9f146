"""What must hold of any file, however broken, alone and among clean neighbours."""

from __future__ import annotations

import resource
import warnings
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom import (
    CTVolume,
    SeriesIndex,
    StackEntry,
    WarningCode,
    index_folder,
    load_volume,
)
from sadmil_core.errors import SadmilError
from tests.fuzzing.mutations import ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.fuzzing.mutations import Case
    from tests.fuzzing.seeds import Seed

MEMORY_MIB = 300
"""By how much a broken file of a few kilobytes may raise the peak of the process."""
_LONGEST_MESSAGE = 400

_PLACE = frozenset(
    {ANY, 0x0020000D, 0x0020000E, 0x00200032, 0x00200037, 0x00209113, 0x00209116, 0x52009229}
)
"""A changed value of these may move a slice, or make it one of another series."""
_DECODING = frozenset(
    {
        ANY,
        *(0x00020010, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100),
        *(0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00280121, 0x00281052, 0x00281053),
        *(0x00283000, 0x00289145, 0x52009229, 0x52009230, 0x7FE00001, 0x7FE00010),
    }
)
"""A changed value of these may change pixels, and nothing can tell that it did."""
_OPTIONAL = frozenset({0x00280120, 0x00280121, 0x7FE00010, 0xFFFEE000, ANY})
"""May be absent: that they are lost cannot be told, and padding and pixels change with them."""
_KIND = frozenset(
    {
        ANY,
        *(0x00020002, 0x00020010, 0x00080008, 0x00080016, 0x00080060, 0x00280002, 0x00280004),
        *(0x00280010, 0x00280011),
    }
)
"""A changed value of these may make the file something else than a CT slice."""


@dataclass(slots=True)
class Verdict:
    """What became of one mutant.

    Attributes:
        outcome: How the mutated file ended, one word or a skip reason.
        defects: What must not be, one sentence each.
    """

    outcome: str = ""
    defects: list[str] = field(default_factory=list)


def judge(
    folder: Path, mutant: Path, seed: Seed, target: int, case: Case, say: Callable[[str], None]
) -> Verdict:
    """Reads a mutant alone and in its folder, and checks all that must hold.

    Args:
        folder: The neighbours and the mutant; nothing else.
        mutant: The mutated file.
        seed: What all of it was made from.
        target: Which file of the seed the mutant was; its slices are not expected where it was
            a foreign one.
        case: What was done to it.
        say: Called with the name of each phase before it begins.
    """
    verdict = Verdict()
    peak = _peak_mib()
    say("alone")
    _judge_one(mutant, verdict, seed, case)
    say("in its folder")
    _judge_folder(folder, mutant, verdict, seed, target, case)
    if _peak_mib() - peak > MEMORY_MIB:
        verdict.defects.append(f"memory: the peak rose by {_peak_mib() - peak} MiB")
    return verdict


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _judge_one(mutant: Path, verdict: Verdict, seed: Seed, case: Case) -> None:
    read = _read(mutant, verdict)
    if read is None:
        return
    index, volumes = read
    _check_accounts(index, {mutant}, verdict)
    _check_volumes(index, volumes, verdict)


def _read(
    path: Path, verdict: Verdict
) -> tuple[SeriesIndex, dict[tuple[str, int], CTVolume | None]] | None:
    """Indexes a path and loads all that is there; None for a stack that cannot be decoded."""
    volumes: dict[tuple[str, int], CTVolume | None] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            index = index_folder(path)
            for entry in index.entries:
                try:
                    volumes[entry.series_instance_uid, entry.stack_index] = load_volume(entry)
                except SadmilError as error:
                    volumes[entry.series_instance_uid, entry.stack_index] = None
                    _check_text(str(error), "error", verdict)
        except Exception as error:  # noqa: BLE001 - to find these is what all this is for
            verdict.defects.append(f"exception: {type(error).__name__}: {error}")
            return None
    for warning in caught:
        if not issubclass(warning.category, UserWarning):
            verdict.defects.append(f"python warning: {warning.category.__name__} {warning.message}")
    return index, volumes


def _check_accounts(index: SeriesIndex, files: set[Path], verdict: Verdict) -> None:
    """Every file is a slice, a counted duplicate or skipped with a reason, and one of these."""
    skipped = Counter(file.path for file in index.skipped)
    read = {header.path for header in index.headers}
    if set(skipped) | read != files or set(skipped) & read or any(n > 1 for n in skipped.values()):
        verdict.defects.append("accounts: files lost, or counted twice")
    for file in index.skipped:
        _check_text(file.message, "skip reason", verdict)
    in_stacks = Counter(
        (header.path, header.frame_number) for entry in index.entries for header in entry.slices
    )
    if any(n > 1 for n in in_stacks.values()):
        verdict.defects.append("accounts: a slice stands in two stacks")
    dropped: Counter[str] = Counter()
    for header in index.headers:
        if (header.path, header.frame_number) not in in_stacks:
            dropped[header.series_instance_uid] += 1
    for series, count in dropped.items():
        entries = [e for e in index.entries if e.series_instance_uid == series]
        for entry in entries:
            said = [w.message for w in entry.warnings if w.code == WarningCode.DUPLICATES_DROPPED]
            if not said or int(said[0].split()[0]) != count:
                verdict.defects.append(f"silent: {count} slice(s) of {series} dropped, {said}")
        if not entries:
            verdict.defects.append(f"silent: all slices of {series} dropped")


def _check_volumes(
    index: SeriesIndex, volumes: dict[tuple[str, int], CTVolume | None], verdict: Verdict
) -> None:
    """Order, shapes, keys and texts."""
    if len(volumes) != len(index.entries):
        verdict.defects.append("keys: two stacks share one")
    for entry in index.entries:
        for warning in entry.warnings:
            _check_text(warning.message, warning.code, verdict)
        _check_order(entry, verdict)
        volume = volumes[entry.series_instance_uid, entry.stack_index]
        if volume is None:
            continue
        _check_order(volume.entry, verdict)
        if volume.hu.shape != volume.entry.shape:
            verdict.defects.append(f"shape: {volume.hu.shape}, {volume.entry.shape}")
        if not np.isfinite(volume.hu).all():
            verdict.defects.append("values: not finite")
        lost = len(entry.slices) - len(volume.entry.slices)
        if lost and WarningCode.SLICES_UNDECODABLE not in volume.entry.warning_codes:
            verdict.defects.append("silent: slices lost while loading")


def _check_order(stack: StackEntry, verdict: Verdict) -> None:
    """A position to a slice, each nearer to the head than the one before."""
    positions = stack.geometry.position_mm
    if len(positions) != len(stack.slices):
        verdict.defects.append("geometry: not a position to a slice")
    if not all(b > a for a, b in pairwise(positions)):
        verdict.defects.append(f"order: positions {positions}")


def _check_text(text: str, kind: str, verdict: Verdict) -> None:
    """A sentence for people: short, and with nothing that a terminal would act on."""
    if not text.strip() or len(text) > _LONGEST_MESSAGE or not text.isprintable():
        verdict.defects.append(f"text: {kind}: {text[:300]!r} ({len(text)})")


def _judge_folder(
    folder: Path, mutant: Path, verdict: Verdict, seed: Seed, target: int, case: Case
) -> None:
    read = _read(folder, verdict)
    if read is None:
        return
    index, volumes = read
    _check_accounts(index, set(folder.iterdir()), verdict)
    _check_volumes(index, volumes, verdict)
    loaded = [volume for volume in volumes.values() if volume is not None]
    _check_neighbours(loaded, mutant, seed, target, verdict)
    verdict.outcome = _outcome(index, loaded, mutant, seed, target, case, verdict)


def _check_neighbours(
    loaded: Iterable[CTVolume], mutant: Path, seed: Seed, target: int, verdict: Verdict
) -> None:
    """Their voxels are all there, in one stack, in their order."""
    found: list[list[int]] = []
    is_mixed = False
    for volume in loaded:
        here = []
        # Two images at one place, and nothing tells which is the stray one: that was said.
        is_mixed |= WarningCode.MIXED_STACKS in volume.entry.warning_codes
        for index, header in enumerate(volume.entry.slices):
            if header.path != mutant:
                z = _slice_number(header.path, header.frame_number, seed)
                here.append(z)
                if not np.array_equal(volume.hu[index], seed.hu[z]):
                    verdict.defects.append(f"neighbours: slice {z} shows something else")
        if here:
            found.append(here)
    mutated = range(target * seed.frames, (target + 1) * seed.frames)
    expected = [z for z in range(len(seed.hu)) if z not in mutated]
    if sorted(z for here in found for z in here) != expected:
        verdict.defects.append(f"neighbours: {found} are there, not {expected}")
    elif any(here != sorted(here) for here in found):
        verdict.defects.append(f"order: neighbours stand as {found}")
    elif len(found) > 1 and not is_mixed:
        verdict.defects.append(f"grouping: neighbours fell apart into {found}")


def _slice_number(path: Path, frame_number: int | None, seed: Seed) -> int:
    return int(path.stem) * seed.frames + (frame_number or 1) - 1


def _outcome(
    index: SeriesIndex,
    loaded: list[CTVolume],
    mutant: Path,
    seed: Seed,
    target: int,
    case: Case,
    verdict: Verdict,
) -> str:
    """How the mutant ended, and whether a departure of it was kept silent."""
    # A series whose files say at once that one is lost or odd has told all there is to tell.
    said = {
        code
        for entry in [*index.entries, *(volume.entry for volume in loaded)]
        for code in entry.warning_codes
    } - {WarningCode.TILTED}
    for file in index.skipped:
        if file.path == mutant:
            silent = not file.reason.is_failure and not said and seed.foreign is None
            if (
                silent
                and not (case.tags | case.framed) & _KIND
                and case.content[128:132] == b"DICM"
            ):
                verdict.defects.append(f"silent: skipped as {file.reason} ({file.message})")
            return f"skipped {file.reason}"
    found = [
        (volume, k)
        for volume in loaded
        for k, header in enumerate(volume.entry.slices)
        if header.path == mutant
    ]
    if not found:
        dropped = not any(h.path == mutant for e in index.entries for h in e.slices)
        return "dropped as duplicate" if dropped else "undecodable"
    if seed.foreign is not None:
        return "loaded, foreign"
    wrong = _differing(found, seed, target)
    if not wrong:
        return "loaded" if not said else "loaded, warned"
    if said:
        return f"loaded with other {wrong}, warned"
    telling = _PLACE if wrong == "place" else _DECODING
    optional = frozenset() if wrong == "place" else _OPTIONAL
    if not (case.tags & telling or case.framed & optional):
        verdict.defects.append(f"silent: loaded with other {wrong}")
    return f"loaded with other {wrong}, not warned"


def _differing(found: list[tuple[CTVolume, int]], seed: Seed, target: int) -> str:
    """In what the mutant's slices differ from the clean ones; empty where in nothing."""
    first = target * seed.frames
    if len(found) != seed.frames:
        return "frames"
    for volume, k in found:
        z = first + (volume.entry.slices[k].frame_number or 1) - 1
        if not np.array_equal(volume.hu[k], seed.hu[z]):
            return "pixels"
        if len(volume.entry.slices) != len(seed.hu) or k != z:
            return "place"
    return ""
