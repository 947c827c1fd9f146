"""Bags from a store: bit-equal to what prediction sees, and joined with the right labels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadmil_core.data.augment import AugmentConfig
from sadmil_core.data.bags import BagSample, BagSource, collate
from sadmil_core.data.prepare import ScanSource, prepare
from sadmil_core.data.scans import ManifestScan, SliceLabel
from sadmil_core.data.store import StoredScan, StoreWriter
from sadmil_core.data.storebags import StoreBags
from sadmil_core.errors import ManifestError, StoreError
from sadmil_core.preprocess import PreprocessConfig, make_bag
from sadmil_core.training.feed import Feed
from tests.bodies import head, write_head
from tests.synthetic import load

SMALL = PreprocessConfig(size=(48, 40))
ALL = AugmentConfig(
    flip=0.5,
    rotation_degrees=15,
    scale=0.1,
    shift=0.05,
    noise_sd_hu=3,
    sharpness=0.5,
    level_jitter_hu=4,
    width_jitter_hu=4,
    slice_drop=0.2,
)
UIDS = tuple(f"1.2.{i}" for i in range(8))


def write_store(path: Path, *, config: PreprocessConfig = SMALL, count: int = 3) -> Path:
    """Scans s0, s1 ... of eight slices; those of odd number have a mask."""
    writer = StoreWriter(path, config.grid)
    for number in range(count):
        hu = head(8, noise_hu=4 + number)
        mask = np.zeros(hu.shape, np.uint8)
        mask[3:5, 20:40, 16:24] = 1
        info = StoredScan(
            scan_id=f"s{number}",
            sop_instance_uids=UIDS,
            frame_numbers=(None,) * 8,
            position_mm=(*(5.0 * i for i in range(7)), None),
            series_instance_uid="1.2",
            stack_index=0,
            source_sha256="",
        )
        writer.write(info, hu, mask if number % 2 else None)
    return path


def scans(count: int = 3, **options: Any) -> list[ManifestScan]:
    labels = [True, False, None]
    return [
        ManifestScan(scan_id=f"s{i}", **({"label": labels[i % 3]} | options)) for i in range(count)
    ]


def same(a: BagSample, b: BagSample) -> bool:
    return torch.equal(a.instances, b.instances) and torch.equal(
        a.position_mm_S.nan_to_num(-1), b.position_mm_S.nan_to_num(-1)
    )


@pytest.mark.parametrize(
    "config",
    [
        PreprocessConfig(size=(64, 64)),
        PreprocessConfig(size=(100, 30)),
        PreprocessConfig(size=(40, 40), resample="hu"),
        PreprocessConfig(size=(50, 50), resample="hu", pixel_spacing_mm=4.0, crop="head"),
    ],
)
def test_training_sees_bit_for_bit_what_prediction_sees(
    tmp_path: Path, config: PreprocessConfig
) -> None:
    write_head(tmp_path / "a", 7, shuffle_names=True)
    volume = load(tmp_path / "a")
    prepare([ScanSource(scan_id="x", paths=(tmp_path / "a",))], tmp_path / "s", config, 0)
    bags = StoreBags([ManifestScan(scan_id="x")], tmp_path / "s", config)
    sample = bags[0]
    expected = make_bag(volume, config).instances(0, 7)
    assert sample.instances.dtype == torch.float32
    np.testing.assert_array_equal(sample.instances.numpy(), expected)
    np.testing.assert_array_equal(
        sample.position_mm_S.numpy(), np.float32(volume.entry.geometry.position_mm)
    )


def test_labels_are_known_and_joined_by_instance_or_place(tmp_path: Path) -> None:
    slices = (
        SliceLabel(sop_instance_uid=UIDS[4], label=True),
        SliceLabel(sop_instance_uid=UIDS[0], slice_index=7, label=False),
        SliceLabel(slice_index=2, label=False),
        SliceLabel(slice_index=3),
        SliceLabel(sop_instance_uid="9.9", label=True),
        SliceLabel(sop_instance_uid=UIDS[5], frame_number=1, label=True),
        SliceLabel(sop_instance_uid=UIDS[6], frame_number=2, label=True),
    )
    bags: BagSource = StoreBags(scans(slices=slices), write_store(tmp_path), SMALL)
    np.testing.assert_equal(bags.labels, (1.0, 0.0, float("nan")))
    assert len(bags) == 3
    nan = float("nan")
    np.testing.assert_equal(
        bags[0].slice_labels_S.numpy(), np.float32([0, nan, 0, nan, 1, 1, nan, nan])
    )
    assert bags[0].label == 1


def test_multiframe_labels_go_to_their_frames(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, SMALL.grid)
    info = StoredScan(
        scan_id="s0",
        sop_instance_uids=("1.2",) * 3,
        frame_numbers=(3, 2, 1),
        position_mm=(0.0, 1.0, 2.0),
        series_instance_uid="1",
        stack_index=0,
        source_sha256="",
    )
    writer.write(info, head(3))
    frame = SliceLabel(sop_instance_uid="1.2", frame_number=3, label=True)
    sample = StoreBags(scans(1, slices=(frame,)), tmp_path, SMALL)[0]
    assert sample.slice_labels_S.nan_to_num(-1).tolist() == [1, -1, -1]
    unsaid = SliceLabel(sop_instance_uid="1.2", label=True)
    with pytest.raises(StoreError, match="None of the 1"):
        StoreBags(scans(1, slices=(unsaid,)), tmp_path, SMALL)[0]


def test_labels_of_other_slices_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    other = (SliceLabel(sop_instance_uid="9.9", label=True),)
    with pytest.raises(StoreError, match=r"stack 0 of series 1\.2"):
        StoreBags(scans(slices=other), store, SMALL)[0]
    beyond = (SliceLabel(slice_index=8, label=True, line=12),)
    with pytest.raises(StoreError, match=r"Line 12 .* slice 8"):
        StoreBags(scans(slices=beyond), store, SMALL)[0]


def test_masks_are_in_step_with_the_slices(tmp_path: Path) -> None:
    bags = StoreBags(scans(), write_store(tmp_path), SMALL)
    assert bags[0].masks_SHW is None
    masks = bags[1].masks_SHW
    assert masks is not None
    assert masks.shape == (8, 48, 40)
    assert sorted(masks.unique().tolist()) == [0, 1]
    # Rows 20 to 40 of 64 are 15 to 30 of 48; columns 16 to 24 of 64 are 10 to 15 of 40.
    expected = torch.zeros_like(masks)
    expected[3:5, 15:30, 10:15] = 1
    assert torch.equal(masks, expected)


def test_augmented_slices_masks_labels_and_positions_stay_together(tmp_path: Path) -> None:
    """A bright lesion where the mask is: wherever it goes, the mask goes with it."""
    writer = StoreWriter(tmp_path, SMALL.grid)
    hu = np.zeros((8, 64, 64), np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    mask[2:6, 24:40, 16:30] = 1
    hu[mask > 0] = 80
    info = StoredScan(
        scan_id="s0",
        sop_instance_uids=UIDS,
        frame_numbers=(None,) * 8,
        position_mm=tuple(5.0 * i for i in range(8)),
        series_instance_uid="1.2",
        stack_index=0,
        source_sha256="",
    )
    writer.write(info, hu, mask)
    slices = tuple(SliceLabel(slice_index=i, label=bool(mask[i].any())) for i in range(8))
    config = replace(SMALL, size=(64, 64))
    only_places = {"noise_sd_hu": 0, "sharpness": 0, "level_jitter_hu": 0, "width_jitter_hu": 0}
    augment = replace(ALL, **only_places, slice_drop=0.4)
    bags = StoreBags(scans(1, slices=slices), tmp_path, config, augment, seed=5)
    counts = set()
    for epoch in range(12):
        bags.set_epoch(epoch)
        sample = bags[0]
        counts.add(len(sample.instances))
        assert sample.masks_SHW is not None
        seen = sample.instances[:, 0] > 0.5
        assert (seen != (sample.masks_SHW > 0)).float().mean() < 0.01
        np.testing.assert_array_equal(
            sample.masks_SHW.flatten(1).any(1), sample.slice_labels_S.bool()
        )
        index = (sample.position_mm_S / 5).long()
        np.testing.assert_array_equal(sample.slice_labels_S, ((index >= 2) & (index < 6)).float())
    assert len(counts) > 2


def test_draws_depend_on_seed_epoch_and_scan_alone(tmp_path: Path) -> None:
    store = write_store(tmp_path)

    def bags(seed: int = 1, epoch: int = 2) -> StoreBags:
        made = StoreBags(scans(), store, SMALL, ALL, seed)
        made.set_epoch(epoch)
        return made

    source = bags()
    first = [source[i] for i in range(3)]
    assert all(same(a, source[i]) for i, a in reversed(list(enumerate(first))))
    with ThreadPoolExecutor(3) as pool:
        again = list(pool.map(bags().__getitem__, range(3)))
    assert all(map(same, first, again))
    assert not same(first[0], bags(seed=2)[0])
    assert not same(first[0], bags(epoch=3)[0])
    plain = StoreBags(scans(), store, SMALL)
    unchanged = StoreBags(scans(), store, SMALL, AugmentConfig())
    assert same(plain[0], unchanged[0])
    unchanged.set_epoch(7)
    assert same(plain[0], unchanged[0])


def test_noise_is_of_hounsfield_units_before_the_window(tmp_path: Path) -> None:
    config = replace(SMALL, size=(64, 64))
    store = write_store(tmp_path, config=config)
    noisy = StoreBags(scans(), store, config, AugmentConfig(noise_sd_hu=8.0))
    plain = StoreBags(scans(), store, config)[0].instances
    found = []
    for epoch in range(20):
        noisy.set_epoch(epoch)
        x = noisy[0].instances
        assert x.min() >= 0
        assert x.max() <= 1
        inside = (plain[:, 1] > 0.1) & (plain[:, 1] < 0.9)
        found.append(float((x - plain)[:, 1][inside].std()) * 200)
    assert 0 < min(found) < 2
    assert 6 < max(found) <= 8.2


def test_edges_follow_their_slices(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s")
    pairs = np.array([(i, i + 1) for i in range(7)])
    np.savez(tmp_path / "e.npz", pairs=pairs, weights=np.arange(7))
    named = scans(edges_path=tmp_path / "e.npz")
    edges = StoreBags(named, store, SMALL)[0].edges
    assert edges is not None
    np.testing.assert_array_equal(edges.pairs_E2, pairs)
    np.testing.assert_array_equal(edges.weights_E, np.arange(7, dtype=np.float32))

    dropping = StoreBags(named, store, SMALL, AugmentConfig(slice_drop=0.3), seed=3)
    sample = dropping[0]
    assert sample.edges is not None
    assert 2 < len(sample.instances) < 7
    old = (sample.position_mm_S.nan_to_num(35) / 5).long()  # the last slice has no position
    for (a, b), weight in zip(sample.edges.pairs_E2, sample.edges.weights_E, strict=True):
        assert old[b] - old[a] == 1
        assert old[a] == weight
    assert len(sample.edges.weights_E) == int((old.diff() == 1).sum())


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pairs": np.array([[0, 8]]), "weights": np.ones(1)}, "beyond the 8"),
        ({"pairs": np.array([[0.0, 1.0]]), "weights": np.ones(1)}, "float64"),
        ({"pairs": np.array([[0, 1]]), "weights": -np.ones(1)}, "negative"),
        ({"pairs": np.array([[0, 1]])}, "weights"),
    ],
)
def test_edges_that_cannot_be_are_refused(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    np.savez(tmp_path / "e.npz", **arrays)
    bags = StoreBags(scans(edges_path=tmp_path / "e.npz"), write_store(tmp_path / "s"), SMALL)
    with pytest.raises(ManifestError, match=words):
        bags[0]


def test_missing_scans_and_another_grid_are_told_at_once(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    with pytest.raises(StoreError, match=r"lacks 7 of 10 scans: s3, s4, s5, s6, s7, \.\.\."):
        StoreBags(scans(10), store, SMALL)
    with pytest.raises(StoreError, match="scanner's own matrix"):
        StoreBags(scans(), store, replace(SMALL, resample="hu"))


def test_the_trainer_is_fed(tmp_path: Path) -> None:
    bags = StoreBags(scans(), write_store(tmp_path), SMALL, ALL)
    here, there = (list(Feed(bags, [[[0, 1]], [[2]]], workers)) for workers in (0, 2))
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a[0].instances, b[0].instances)
    batch = collate([bags[0], bags[1]])
    assert batch.instances.shape[1:] == (3, 48, 40)
    assert batch.masks_NHW is not None
    assert len(batch.masks_NHW) == len(batch.instances)
