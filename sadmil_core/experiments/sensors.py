"""A synthetic set of bags that are no scans: rings of sensors on machines.

Each bag is a machine with a ring of sensors, each instance the features of one sensor. A faulty
machine (label 1) disturbs an arc of neighbouring sensors. Every machine, sound or faulty, also
has lone sensors that are disturbed in the same way: single ones, never neighbours. So what tells
a fault is that neighbours share it, which the ring knows (``edges_path``) and the order of rows
does not: rows are shuffled. Whether smoothness helps, and over which graph, is for an experiment
to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.data.manifest import ManifestScan, SliceLabel, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MANIFEST, CONFIG = "manifest.csv", "experiment.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorConfig:
    """Size and difficulty of the set.

    Attributes:
        bags: Machines; every second one is faulty.
        sensors: The fewest and the most sensors of a machine.
        features: Of a sensor.
        arc: The shortest and the longest fault, as shares of the ring.
        lone: How many sensors of each machine are disturbed alone.
        strength: Of a disturbance, in standard deviations of the noise, along one direction.
        fractions: Of machines, for train, val and test.
        seed: Of everything.
    """

    bags: int = 160
    sensors: tuple[int, int] = (16, 32)
    features: int = 16
    arc: tuple[float, float] = (0.12, 0.3)
    lone: int = 1
    strength: float = 3.0
    fractions: tuple[float, float, float] = (0.5, 0.2, 0.3)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bags < 12 or self.sensors[0] < 8 or self.features < 1 or self.lone < 0:
            raise ValueError("at least 12 bags of 8 sensors with a feature each are needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorBag:
    """One machine.

    Attributes:
        features: (S, D) float32, rows in shuffled order.
        labels: (S,) bool: the sensors on the faulty arc.
        pairs: (S, 2) int64: neighbours on the ring, as rows.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.bool_]
    pairs: NDArray[np.int64]


def make_sensor_bag(config: SensorConfig, number: int) -> SensorBag:
    """One machine; the same for the same config and number. Odd ones are faulty."""
    shared = np.random.default_rng([config.seed, 0])
    direction = shared.standard_normal(config.features)
    direction /= np.linalg.norm(direction)
    rng = np.random.default_rng([config.seed, 1, number])
    count = int(rng.integers(config.sensors[0], config.sensors[1] + 1))
    labels = np.zeros(count, np.bool_)
    if number % 2:
        length = max(2, round(count * rng.uniform(*config.arc)))
        labels[(rng.integers(count) + np.arange(length)) % count] = True
    disturbed = labels.copy()
    for _ in range(config.lone):
        near = disturbed | np.roll(disturbed, 1) | np.roll(disturbed, -1)
        free = np.flatnonzero(~near)
        if len(free):
            disturbed[rng.choice(free)] = True
    features = rng.standard_normal((count, config.features))
    features += 0.5 * rng.standard_normal(config.features)  # each machine hums in its own way
    features += config.strength * disturbed[:, None] * direction
    order = rng.permutation(count)
    row = np.argsort(order)
    ring = np.stack([row, row[(np.arange(count) + 1) % count]], axis=1)
    return SensorBag(features=features[order].astype(np.float32), labels=labels[order], pairs=ring)


def write_sensor_bags(folder: Path, config: SensorConfig | None = None) -> Path:
    """Writes the set, its manifest and a config to experiment with.

    Args:
        folder: Made if need be; files of the same names are replaced.
        config: Size and difficulty; None for the defaults.

    Returns:
        The config's file.

    Raises:
        WriteError: The system refused.
    """
    config = config or SensorConfig()
    make_folder(folder / "bags")
    scans = []
    for number in range(config.bags):
        name = f"machine-{number:04d}"
        bag = make_sensor_bag(config, number)
        features, edges = folder / "bags" / f"{name}.npy", folder / "bags" / f"{name}-edges.npz"
        with replacing(features) as stream:
            np.save(stream, bag.features)
        with replacing(edges) as stream:
            np.savez(stream, pairs=bag.pairs, weights=np.ones(len(bag.pairs), np.float32))
        scans.append(
            ManifestScan(
                scan_id=name,
                split=_split(number, config),
                label=bool(number % 2),
                slices=tuple(
                    SliceLabel(slice_index=at, label=bool(each))
                    for at, each in enumerate(bag.labels)
                ),
                features_path=features,
                edges_path=edges,
            )
        )
    write_manifest(scans, folder / MANIFEST)
    with replacing(folder / CONFIG) as stream:
        stream.write(_CONFIG.format(features=config.features).encode())
    return folder / CONFIG


def _split(number: int, config: SensorConfig) -> str:
    """Machines are all drawn alike: the first are for training, and so on."""
    place = (number // 2 + 0.5) / (config.bags // 2)
    train, validation, _ = config.fractions
    return "train" if place < train else "val" if place < train + validation else "test"


_CONFIG = """\
# A ring of sensors on each machine: bags that are no scans. Try
#   sadmil experiment order experiment.toml --out order
#   sadmil experiment graph experiment.toml --out graph
seeds = [0, 1, 2, 3, 4]
alphas = [0.02, 0.1, 0.4]
choose_by = "within_auroc"

[train]
name = "sensors"

[train.data]
manifest = "manifest.csv"
bags_per_step = 8
bags_per_batch = 8
workers = 0

[train.model]
[train.model.encoder]
kind = "features"
features = {features}

[train.model.attention]
hidden = 16

[train.model.head]
hidden = 0
dropout = 0.0

[train.objective.graph]
edges = "bag"

[train.optimizer]
lr = 5e-3
weight_decay = 1e-3

[train.length]
epochs = 40
patience = 8
"""
