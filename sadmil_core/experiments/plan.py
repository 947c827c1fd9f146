"""From a config to runs: which trainings there are, and where each has its folder.

The folder's name holds a hash of config and data: a run that is finished is the same run
whatever experiment asks for it, and one whose data has changed is another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sadmil_core.atomic import make_folder
from sadmil_core.configs import canonical_json, to_mapping
from sadmil_core.data.manifest import read_manifest, write_manifest
from sadmil_core.data.splits import split_scans
from sadmil_core.errors import ManifestError
from sadmil_core.experiments.arms import Arm, plan_arms, without_smoothness
from sadmil_core.training.run import open_run

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.data.scans import Manifest, ManifestScan
    from sadmil_core.experiments.config import ExperimentConfig, Kind, NamedGraph
    from sadmil_core.training.config import TrainingConfig
    from sadmil_core.training.run import OpenedRun

RUNS = "runs"
_DONE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training.

    Attributes:
        number: From 0; shards take every N-th.
        arm: Its variant.
        seed: Its seed.
        config: Complete; its manifest is named by file name only, so that folders can be moved.
        manifest: Where that is.
        base: What other paths of the config are relative to.
        folder: Of the run.
    """

    number: int
    arm: Arm
    seed: int
    config: TrainingConfig
    manifest: Path
    base: Path
    folder: Path

    @property
    def done_path(self) -> Path:
        """Written last: where it is, the run is finished and read on train and val."""
        return self.folder / _DONE

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.done_path.is_file()

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.arm.name}, seed {self.seed}"

    def open(self) -> OpenedRun:
        """Its bags of train and val.

        Raises:
            SadmilError: As :func:`sadmil_core.training.run.open_run`.
        """
        return open_run(_with_manifest(self.config, str(self.manifest.absolute())), self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All trainings of an experiment.

    Attributes:
        kind: Of experiment.
        config: Of the experiment.
        folder: Of its results.
        base: What paths of the config are relative to.
        runs: In order: seeds within arms.
        arms: In order.
        not_run: Variants that the bags cannot serve, with the reason.
        warnings: Of the manifest.
    """

    kind: Kind
    config: ExperimentConfig
    folder: Path
    base: Path
    runs: tuple[Run, ...]
    arms: tuple[Arm, ...]
    not_run: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs that are still to be trained."""
        return tuple(run for run in self.runs if not run.is_done)

    def of_arm(self, arm: Arm) -> tuple[Run, ...]:
        """The runs of a variant, in the order of the seeds."""
        return tuple(run for run in self.runs if run.arm is arm)


def make_plan(kind: Kind, config: ExperimentConfig, base: Path, folder: Path) -> Plan:
    """Plans the runs of an experiment; trains nothing.

    Args:
        kind: Of experiment; not ``overhead``.
        config: Of the experiment.
        base: What its paths are relative to: the folder of its file.
        folder: Of the results; made if need be.

    Raises:
        SadmilError: The config or its data cannot be used.
    """
    make_folder(folder)
    manifests = _manifests(config, base, folder)
    plain = without_smoothness(config.train)
    opened = {
        path: open_run(_with_manifest(plain, str(path.absolute())), base)
        for path in dict.fromkeys(manifests.values())
    }
    first = next(iter(opened.values()))
    scans = _judged(read_manifest(next(iter(manifests.values()))))
    graphs, not_run = _served(config, first, scans) if kind == "graph" else ([], [])
    arms = plan_arms(kind, config, graphs)
    runs: list[Run] = []
    for arm in arms:
        for seed in config.seeds:
            manifest = manifests[seed]
            named = replace(arm.config, seed=seed, name=f"{config.train.name}-{arm.slug}-{seed}")
            named = _with_manifest(named, manifest.name)
            identity = [to_mapping(named), opened[manifest].splits.sha256]
            key = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:12]
            runs.append(
                Run(
                    number=len(runs),
                    arm=arm,
                    seed=seed,
                    config=named,
                    manifest=manifest,
                    base=base,
                    folder=folder / RUNS / f"{arm.slug}-seed-{seed}-{key}",
                )
            )
    return Plan(
        kind=kind,
        config=config,
        folder=folder,
        base=base,
        runs=tuple(runs),
        arms=arms,
        not_run=tuple(not_run),
        warnings=first.warnings,
    )


def judged_scans(plan: Plan) -> tuple[ManifestScan, ...]:
    """The scans that all arms are judged on; the same for each seed."""
    return _judged(read_manifest(plan.runs[0].manifest)).of_split("test")


def _with_manifest(config: TrainingConfig, manifest: str) -> TrainingConfig:
    return replace(config, data=replace(config.data, manifest=manifest))


def _judged(manifest: Manifest) -> Manifest:
    if not manifest.of_split("test"):
        raise ManifestError(
            f"{manifest.path} has no scan in the split 'test', so nothing can be judged.",
            remedy="Split it with `sadmil manifest split`, or give [split] fractions.",
        )
    return manifest


def _manifests(config: ExperimentConfig, base: Path, folder: Path) -> dict[int, Path]:
    """The manifest of each seed: the one named, or one split as the config asks."""
    path = base / config.train.data.manifest
    split = config.split
    if not split.fractions and not split.each_seed:
        return dict.fromkeys(config.seeds, path)
    scans = read_manifest(path).scans
    make_folder(folder / "splits")
    if split.fractions:
        scans = split_scans(scans, split.fractions, seed=split.seed)
    if not split.each_seed:
        target = folder / "splits" / "all.csv"
        write_manifest(scans, target)
        return dict.fromkeys(config.seeds, target)
    validated = len({scan.patient_id for scan in scans if scan.split == "val"})
    free = len({scan.patient_id for scan in scans if scan.split in ("train", "val")})
    if not 0 < validated < free:
        raise ManifestError(
            f"{path} has no patients in train and val to draw from anew for each seed.",
            remedy="Split it with `sadmil manifest split`, or give [split] fractions.",
        )
    share = validated / free
    found = {}
    for seed in config.seeds:
        found[seed] = folder / "splits" / f"seed-{seed}.csv"
        drawn = split_scans(scans, (1 - share, share), seed=seed, keep=("test",))
        write_manifest(drawn, found[seed])
    return found


def _served(
    config: ExperimentConfig, opened: OpenedRun, manifest: Manifest
) -> tuple[list[NamedGraph], list[str]]:
    """The graphs that the bags can serve, and why others cannot be compared."""
    parts = (opened.splits.train, opened.splits.validation)
    placed = all(getattr(part, "knows_positions", False) for part in parts)
    unjoined = sum(scan.edges_path is None for scan in manifest.scans if scan.split)
    graphs, not_run = [], []
    for named in config.graphs:
        if named.graph.needs_positions and not placed:
            not_run.append(f"{named.name}: some instances have no position")
        elif named.graph.edges == "bag" and unjoined:
            not_run.append(f"{named.name}: {unjoined} scans of the manifest name no edges_path")
        else:
            graphs.append(named)
    return graphs, not_run
