"""Splits: of patients, stratified, and the same whatever the order of rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadmil_core.data.manifest import ManifestScan
from sadmil_core.data.scans import unknown_subtypes
from sadmil_core.data.splits import fold_scans, split_scans
from sadmil_core.errors import ManifestError

FRACTIONS = (0.7, 0.15, 0.15)


def _scans(count: int = 200, per_patient: int = 2) -> list[ManifestScan]:
    """Two of five are positive, one of five of those epidural; sites take turns."""
    return [
        ManifestScan(
            scan_id=f"s{k}",
            patient_id=f"p{k // per_patient}",
            label=k // per_patient % 5 < 2,
            subtypes=unknown_subtypes() | {"epidural": k // per_patient % 25 == 0},
            site="north" if k // per_patient % 3 else "south",
        )
        for k in range(count)
    ]


def _homes(scans: tuple[ManifestScan, ...]) -> dict[str, str]:
    return {scan.patient_id: scan.split for scan in scans}


def test_every_patient_is_in_one_part_of_the_right_size() -> None:
    scans = split_scans(_scans(), FRACTIONS)
    splits: dict[str, set[str]] = {}
    for scan in scans:
        splits.setdefault(scan.patient_id, set()).add(scan.split)
    assert all(len(each) == 1 for each in splits.values())
    homes = _homes(scans)
    assert Counter(homes.values()) == {"train": 70, "val": 15, "test": 15}
    for label, expected in ((True, (28, 6, 6)), (False, (42, 9, 9))):
        own = {scan.patient_id for scan in scans if scan.label is label}
        counts = Counter(homes[name] for name in own)
        assert tuple(counts[name] for name in ("train", "val", "test")) == expected
    assert [scan.scan_id for scan in scans] == [scan.scan_id for scan in _scans()]


def test_rare_subtypes_and_sites_are_spread() -> None:
    scans = split_scans(_scans(1000, 1), (0.6, 0.2, 0.2))
    rare = Counter(scan.split for scan in scans if scan.subtypes["epidural"])
    assert rare["train"] == pytest.approx(24, abs=2)
    assert rare["val"] == pytest.approx(8, abs=2)
    for site in ("north", "south"):
        own = Counter(scan.split for scan in scans if scan.site == site)
        assert own["train"] / own.total() == pytest.approx(0.6, abs=0.01)
    # Without stratification the same rows are not spread so evenly: the option does something.
    free = split_scans(_scans(1000, 1), (0.6, 0.2, 0.2), by_site=False, by_subtype=False)
    assert _homes(free) != _homes(scans)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 5))
def test_the_order_of_rows_does_not_matter(order: int, seed: int) -> None:
    scans = _scans(120)
    shuffled = list(scans)
    random.Random(order).shuffle(shuffled)
    assert _homes(split_scans(scans, FRACTIONS, seed=seed)) == _homes(
        split_scans(shuffled, FRACTIONS, seed=seed)
    )


def test_the_seed_matters() -> None:
    homes = [_homes(split_scans(_scans(), FRACTIONS, seed=seed)) for seed in range(3)]
    assert homes[0] != homes[1] != homes[2]


def test_a_split_is_the_same_on_every_machine_and_in_every_version() -> None:
    scans = [ManifestScan(scan_id=f"s{k}", label=k < 4) for k in range(8)]
    split = [scan.split for scan in split_scans(scans, (0.5, 0.25, 0.25), seed=3)]
    assert split == ["test", "train", "val", "train", "val", "test", "train", "train"]


def test_small_classes_still_reach_every_part() -> None:
    scans = [ManifestScan(scan_id=f"s{k}", label=k < 3) for k in range(40)]
    done = split_scans(scans, FRACTIONS)
    assert {scan.split for scan in done if scan.label} == {"train", "val", "test"}


def test_too_few_patients_of_a_class() -> None:
    scans = [ManifestScan(scan_id=f"s{k}", patient_id=f"p{k // 2}", label=k < 4) for k in range(40)]
    with pytest.raises(ManifestError, match=r"2 positive patient\(s\).*3 parts"):
        split_scans(scans, FRACTIONS)
    assert {s.split for s in split_scans(scans, (0.8, 0.2)) if s.label} == {"train", "val"}
    with pytest.raises(ManifestError, match=r"2 positive patient\(s\).*5 parts"):
        fold_scans(scans, 5)


def test_a_published_test_set_is_kept() -> None:
    scans = [
        ManifestScan(scan_id=f"s{k}", label=k % 2 == 0, split="test" if k < 20 else "train")
        for k in range(100)
    ]
    done = split_scans(scans, (0.75, 0.25), keep={"test"})
    assert [scan.scan_id for scan in done if scan.split == "test"] == [f"s{k}" for k in range(20)]
    assert Counter(scan.split for scan in done) == {"test": 20, "train": 60, "val": 20}


def test_patients_of_unknown_label_are_for_training() -> None:
    scans = [*_scans(), ManifestScan(scan_id="u")]
    assert split_scans(scans, FRACTIONS)[-1].split == "train"
    assert all(fold[-1].split == "train" for fold in fold_scans(scans, 3))


def test_folds_test_every_patient_once() -> None:
    folds = fold_scans(_scans(), 5)
    tested = Counter(
        name for fold in folds for name, split in _homes(fold).items() if split == "test"
    )
    assert set(tested.values()) == {1}
    assert len(tested) == 100
    for k, fold in enumerate(folds):
        homes = _homes(fold)
        assert Counter(homes.values()) == {"train": 60, "val": 20, "test": 20}
        following = _homes(folds[(k + 1) % 5])
        assert {n for n, s in homes.items() if s == "val"} == {
            n for n, s in following.items() if s == "test"
        }


@pytest.mark.parametrize(
    "fractions", [(1.0,), (0.5, 0.4), (0.5, 0.6, -0.1), (0.0, 1.0), (0.25, 0.25, 0.25, 0.25)]
)
def test_fractions_must_make_sense(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split_scans(_scans(), fractions)
    with pytest.raises(ValueError, match="three folds"):
        fold_scans(_scans(), 2)
