"""Which studies there are, whether they have changed, and who reads which."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sadmil_core.batch.index import FileRow
    from sadmil_core.batch.ranks import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyUnit:
    """What is read in one go: a study, or studies that share a SeriesInstanceUID.

    Attributes:
        key: The StudyInstanceUID, or the first of them.
        series: The SeriesInstanceUIDs, sorted.
        slices: How many.
        fingerprint: Another one where a file has been added, changed, renamed or removed.
    """

    key: str
    series: tuple[str, ...]
    slices: int
    fingerprint: str


def make_units(files: Iterable[FileRow]) -> tuple[StudyUnit, ...]:
    """Groups files into what can be read apart from the rest.

    Args:
        files: By real path; lost ones belong to the series they name.

    Returns:
        The units by key. Series without a single slice are in none.
    """
    slices: dict[tuple[str, str], int] = defaultdict(int)
    digests: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for file in files:
        if file.slices:
            slices[file.study, file.series] += file.slices
        digests[file.series].update(repr((file.real, file.stamp, file.reason)).encode())
    groups = _connected(slices)
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for pair in slices:
        members[groups[pair[0]]].append(pair)
    return tuple(
        _unit(key, pairs, sum(slices[pair] for pair in pairs), digests)
        for key, pairs in sorted(members.items())
    )


def _unit(
    key: str, pairs: list[tuple[str, str]], slices: int, digests: dict[str, hashlib._Hash]
) -> StudyUnit:
    series = tuple(sorted({uid for _, uid in pairs}))
    whole = hashlib.sha256("".join(digests[uid].hexdigest() for uid in series).encode())
    return StudyUnit(key=key, series=series, slices=slices, fingerprint=whole.hexdigest()[:32])


def _connected(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first study, by UID, of those that each study shares series with, at whatever remove."""
    first: dict[str, str] = {}

    def root(study: str) -> str:
        while first.setdefault(study, study) != study:
            first[study] = study = first[first[study]]
        return study

    of_series: dict[str, str] = {}
    for study, series in pairs:
        low, high = sorted((root(study), root(of_series.setdefault(series, study))))
        first[high] = low
    return {study: root(study) for study in list(first)}


def share_of(units: Sequence[StudyUnit], shard: Shard) -> tuple[StudyUnit, ...]:
    """The units that one shard reads; each unit is in exactly one of them.

    The largest first, each to the shard with the fewest slices so far, so that all end at
    about the same time. Depends on nothing but the units and the number of shards.
    """
    loads = [0] * shard.count
    mine: list[StudyUnit] = []
    for unit in sorted(units, key=lambda each: (-each.slices, each.key)):
        target = loads.index(min(loads))
        loads[target] += unit.slices
        if target == shard.index:
            mine.append(unit)
    return tuple(sorted(mine, key=lambda each: each.key))
