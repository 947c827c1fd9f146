"""From a config to bags: the manifest's splits, their images or features, and what starts it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.checkpoint import CheckpointHeader, read_header
from sadmil_core.data.augment import AugmentConfig
from sadmil_core.data.featurebags import FeatureBags
from sadmil_core.data.manifest import read_manifest, require_both_classes
from sadmil_core.data.storebags import StoreBags
from sadmil_core.errors import ConfigError, ManifestError
from sadmil_core.model.config import FeaturesConfig, ModelConfig
from sadmil_core.modelstore import resolve_model
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.training.config import require_served
from sadmil_core.training.fit import Splits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.training.config import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRun:
    """All that :func:`sadmil_core.training.fit.fit` needs beside a config.

    Attributes:
        splits: The bags.
        preprocess: What the network sees.
        start_path: The checkpoint to go on from, or None.
        warnings: Of the manifest, sentences for people.
    """

    splits: Splits
    preprocess: PreprocessConfig
    start_path: Path | None
    warnings: tuple[str, ...]


def open_run(config: TrainingConfig, folder: Path) -> OpenedRun:
    """Reads the manifest and opens the images or features it needs; trains nothing.

    Args:
        config: The run.
        folder: What its paths are relative to: the folder of its file.

    Raises:
        ConfigError: The network cannot do what is asked, or wants other bags than there are.
        ManifestError: The manifest cannot be used; a split is missing or lacks a class.
        StoreError: The store holds another grid, or lacks scans.
        CheckpointError: There is no checkpoint ``start``.
    """
    start_path = _start(config, folder)
    start = read_header(start_path) if start_path is not None else None
    model = _model(config, start)
    require_served(config, model)
    preprocess = _preprocess(config, start, model)
    manifest = read_manifest(folder / config.data.manifest)
    parts = {}
    for name in ("train", "val"):
        parts[name] = manifest.of_split(name)
        if not parts[name]:
            raise ManifestError(
                f"{manifest.path} has no scan in the split {name!r}.",
                remedy="`sadmil manifest split` assigns patients to train, val and test.",
            )
        require_both_classes(parts[name], name)
    bags = {
        name: _bags(config, folder, scans, model, preprocess, augmented=name == "train")
        for name, scans in parts.items()
    }
    for part in bags.values():
        _require_graph(config, model, part, parts)
    sha256 = hashlib.sha256("".join(part.sha256 for part in bags.values()).encode()).hexdigest()
    return OpenedRun(
        splits=Splits(train=bags["train"], validation=bags["val"], sha256=sha256),
        preprocess=preprocess,
        start_path=start_path,
        warnings=manifest.warnings,
    )


def preprocess_of(config: TrainingConfig, folder: Path) -> PreprocessConfig:
    """What the network of a run sees.

    Args:
        config: The run.
        folder: What its paths are relative to.

    Raises:
        ConfigError: The network wants another size or another number of windows.
        CheckpointError: There is no checkpoint ``start``.
    """
    start_path = _start(config, folder)
    start = read_header(start_path) if start_path is not None else None
    return _preprocess(config, start, _model(config, start))


def _model(config: TrainingConfig, start: CheckpointHeader | None) -> ModelConfig:
    model = start.model if start is not None else config.model
    if model is None:
        raise ValueError("a config has a model or a start")
    return model


def _start(config: TrainingConfig, folder: Path) -> Path | None:
    if not config.start:
        return None
    beside = folder / config.start
    return beside if beside.is_file() else resolve_model(config.start)


def _preprocess(
    config: TrainingConfig, start: CheckpointHeader | None, model: ModelConfig
) -> PreprocessConfig:
    if config.preprocess is not None:
        preprocess = config.preprocess
    elif start is not None:
        preprocess = start.preprocess
    else:
        preprocess = PreprocessConfig(size=model.input_size)
    if model.reads_images:
        if preprocess.size != model.input_size:
            raise ConfigError(
                f"[preprocess] makes slices of {preprocess.size}, and the network reads "
                f"{model.input_size}.",
                remedy="Give preprocess.size and model.input_size the same value.",
            )
        if len(preprocess.windows) != model.in_channels:
            raise ConfigError(
                f"[preprocess] has {len(preprocess.windows)} windows, and the network reads "
                f"{model.in_channels} channels.",
                remedy="Give as many windows as model.encoder.in_channels.",
            )
    return preprocess


def _bags(
    config: TrainingConfig,
    folder: Path,
    scans: Sequence[ManifestScan],
    model: ModelConfig,
    preprocess: PreprocessConfig,
    *,
    augmented: bool,
) -> StoreBags | FeatureBags:
    if isinstance(model.encoder, FeaturesConfig):
        bags = FeatureBags(scans)
        if bags.features != model.encoder.features:
            raise ConfigError(
                f"The features of the manifest are {bags.features} wide, and the network reads "
                f"{model.encoder.features}.",
                remedy=f"Set model.encoder.features = {bags.features}.",
            )
        return bags
    if not config.data.store:
        raise ConfigError(
            "A network that reads images needs data.store.",
            remedy="`sadmil prepare` makes it from the manifest.",
        )
    return StoreBags(
        scans,
        folder / config.data.store,
        preprocess,
        config.augment if augmented else AugmentConfig(),
        config.seed,
    )


def _require_graph(
    config: TrainingConfig,
    model: ModelConfig,
    bags: StoreBags | FeatureBags,
    parts: dict[str, tuple[ManifestScan, ...]],
) -> None:
    """Refuses a graph that needs what the bags do not have, before any training."""
    graphs = [model.graph] if model.needs_graph else []
    if config.objective.smoothness_share > 0:
        graphs.append(config.objective.graph)
    if any(graph.needs_positions for graph in graphs) and not bags.knows_positions:
        raise ConfigError(
            "The graph weighs edges by distance, and some slices have no position.",
            remedy="Choose a graph without length_mm and gap_aware, or leave those scans out.",
        )
    scans = [scan for part in parts.values() for scan in part]
    without = [scan.scan_id for scan in scans if scan.edges_path is None]
    if any(graph.edges == "bag" for graph in graphs) and without:
        raise ConfigError(
            f"The graph is each bag's own (edges = 'bag'), and {len(without)} scans name no "
            f"edges_path, {without[0]} first.",
            remedy="Name one for each scan in the manifest, or choose edges = 'slices'.",
        )
