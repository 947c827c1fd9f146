"""Splits of patients, never of scans or slices, alike in labels, sites and subtypes.

Who goes where depends on the seed and the patients' names, not on the order of rows, the machine
or the version of a random number generator.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from sadmil_core.data.scans import SPLITS, SUBTYPES, any_positive
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sadmil_core.data.scans import ManifestScan

_TOLERANCE = 1e-6


def split_scans(
    scans: Sequence[ManifestScan],
    fractions: Sequence[float],
    *,
    seed: int = 0,
    keep: Collection[str] = (),
    by_site: bool = True,
    by_subtype: bool = True,
) -> tuple[ManifestScan, ...]:
    """Splits patients into train, val and test.

    A patient is positive with any positive scan. In each class the parts have the sizes that the
    fractions ask for, to the nearest patient, and at least one patient each; sites and subtypes
    are spread evenly in them. A patient of unknown label goes to train, since nothing can be
    measured on it.

    Args:
        scans: Their own splits are replaced, but for those that are kept.
        fractions: Of patients, for train, val and, if there are three, test; they add up to 1.
        seed: Another one gives another split.
        keep: Splits (for example a published test set) whose patients stay where they are; the
            fractions then are those of the others.
        by_site: Whether to spread sites evenly.
        by_subtype: Whether to spread subtypes evenly, by each patient's rarest.

    Returns:
        The scans in their order.

    Raises:
        ManifestError: A class has fewer patients than there are parts to fill.
        ValueError: The fractions make no sense.
    """
    parts = {name: f for name, f in zip(SPLITS, fractions, strict=False) if f > 0}
    bad = not 1 < len(fractions) <= len(SPLITS) or min(fractions) < 0
    if bad or abs(math.fsum(fractions) - 1) > _TOLERANCE or "train" not in parts:
        raise ValueError("the fractions are two or three numbers from 0 that add up to 1")
    patients = _by_patient(scans)
    kept = {
        name: next(scan.split for scan in members if scan.split in keep)
        for name, members in patients.items()
        if any(scan.split in keep for scan in members)
    }
    free = {name: members for name, members in patients.items() if name not in kept}
    order = _ordered(free, seed, by_site=by_site, by_subtype=by_subtype)
    chosen = kept | _dealt(order, parts)
    return tuple(replace(scan, split=chosen[scan.patient_id]) for scan in scans)


def fold_scans(
    scans: Sequence[ManifestScan],
    folds: int,
    *,
    seed: int = 0,
    by_site: bool = True,
    by_subtype: bool = True,
) -> tuple[tuple[ManifestScan, ...], ...]:
    """Splits patients into folds for cross-validation.

    Args:
        scans: Their own splits are replaced.
        folds: How many, at least three: in fold k the k-th part is for testing, the next one
            for validation, the others for training.
        seed: As for :func:`split_scans`, and so are the rest.
        by_site: Whether to spread sites evenly.
        by_subtype: Whether to spread subtypes evenly.

    Returns:
        The scans in their order, once for each fold. Every labelled patient is for testing once.

    Raises:
        ManifestError: A class has fewer patients than there are folds.
        ValueError: There are fewer than three folds.
    """
    if folds < 3:
        raise ValueError("there must be at least three folds: one to test, one to validate")
    order = _ordered(_by_patient(scans), seed, by_site=by_site, by_subtype=by_subtype)
    part = _dealt(order, {str(k): 1 / folds for k in range(folds)}, unknown="")

    def split(patient: str, fold: int) -> str:
        if not part[patient]:
            return "train"
        return {0: "test", 1: "val"}.get((int(part[patient]) - fold) % folds, "train")

    return tuple(
        tuple(replace(scan, split=split(scan.patient_id, fold)) for scan in scans)
        for fold in range(folds)
    )


def _by_patient(scans: Iterable[ManifestScan]) -> dict[str, list[ManifestScan]]:
    patients: dict[str, list[ManifestScan]] = defaultdict(list)
    for scan in scans:
        patients[scan.patient_id].append(scan)
    return dict(patients)


def _ordered(
    patients: dict[str, list[ManifestScan]], seed: int, *, by_site: bool, by_subtype: bool
) -> dict[bool | None, list[str]]:
    """The patients of each class, those alike next to each other, else in drawn order."""
    positive: dict[str, list[str]] = {
        name: [kind for kind in SUBTYPES if any(scan.subtypes[kind] for scan in members)]
        for name, members in patients.items()
    }
    common = Counter(kind for kinds in positive.values() for kind in kinds)

    def key(name: str) -> tuple[str, str, bytes]:
        site = min(scan.site for scan in patients[name]) if by_site else ""
        rarest = min(positive[name], key=lambda kind: (common[kind], kind), default="")
        drawn = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()
        return site, rarest if by_subtype else "", drawn

    classes: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for name in sorted(patients, key=key):
        classes[any_positive(scan.label for scan in patients[name])].append(name)
    return classes


def _dealt(
    classes: dict[bool | None, list[str]], parts: dict[str, float], unknown: str = "train"
) -> dict[str, str]:
    """Which part each patient goes to.

    Each class is dealt out in its order, to whichever part is furthest behind its share; so any
    stretch of patients alike is shared out nearly as the whole.
    """
    chosen = dict.fromkeys(classes[None], unknown)
    for label, word in ((True, "positive"), (False, "negative")):
        names = classes[label]
        if len(names) < len(parts):
            raise ManifestError(
                f"{len(names)} {word} patient(s) cannot be split into {len(parts)} parts that "
                "each have one.",
                remedy="Add such patients, or ask for fewer parts.",
            )
        sizes = _sizes(len(names), parts)
        given = dict.fromkeys(parts, 0)
        for count, name in enumerate(names, start=1):
            behind = {p: sizes[p] * count / len(names) - given[p] for p in parts}
            part = max((p for p in parts if given[p] < sizes[p]), key=behind.__getitem__)
            given[part] += 1
            chosen[name] = part
    return chosen


def _sizes(count: int, parts: dict[str, float]) -> dict[str, int]:
    """Whole sizes by largest remainder, each at least one; ``count`` suffices for that."""
    shares = {name: count * fraction / sum(parts.values()) for name, fraction in parts.items()}
    sizes = {name: max(1, math.floor(share + _TOLERANCE)) for name, share in shares.items()}
    while sum(sizes.values()) != count:
        step = 1 if sum(sizes.values()) < count else -1
        able = [name for name in parts if sizes[name] + step > 0]
        name = max(able, key=lambda name: step * (shares[name] - sizes[name]))
        sizes[name] += step
    return sizes
