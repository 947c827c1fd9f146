"""The config of an experiment, as its TOML file says it; plain values, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from sadmil_core.configs import from_mapping
from sadmil_core.errors import ConfigError
from sadmil_core.evaluation.bootstrap import MIN_RESAMPLES
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.training.config import TrainingConfig, read_toml

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["alpha", "order", "graph", "ablation", "overhead"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Criterion = Literal["scan_loss", "scan_auroc", "within_auroc"]
Part = Literal[
    "att-mil",
    "s1",
    "s2",
    "guidance",
    "noisy-or",
    "instance-max",
    "sm",
    "transformer",
    "bigru",
    "probabilistic",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedGraph:
    """A graph of the experiment ``graph``.

    Attributes:
        name: In the report.
        graph: What is smooth over what.
    """

    name: str
    graph: GraphConfig


DEFAULT_GRAPHS = (
    NamedGraph(name="chain", graph=GraphConfig()),
    NamedGraph(name="3 hops", graph=GraphConfig(hops=3)),
    NamedGraph(name="distance-weighted", graph=GraphConfig(length_mm=10.0)),
    NamedGraph(name="gap-aware", graph=GraphConfig(gap_aware=True)),
    NamedGraph(name="feature-weighted", graph=GraphConfig(similarity=1.0)),
    NamedGraph(name="edges of the bags", graph=GraphConfig(edges="bag")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseConfig:
    """The noise under which decisions may flip.

    Attributes:
        sd_hu: Standard deviation of what is added to each pixel of an image.
        feature_share: Of what is added to features: a share of each feature's own standard
            deviation over all instances.
        repeats: How often each scan is read with noise; 0 for not at all.
    """

    sd_hu: float = 5.0
    feature_share: float = 0.25
    repeats: int = 3

    def __post_init__(self) -> None:
        if min(self.sd_hu, self.feature_share) <= 0 or self.repeats < 0:
            raise ValueError("sd_hu and feature_share must be positive, repeats not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """Who is trained, chosen and judged on.

    Attributes:
        fractions: Of patients, for train, val and test; empty for the manifest's own splits.
        seed: Of the split by ``fractions``.
        each_seed: Each training seed draws its own train and val from the two together, in
            their sizes; test stays. The spread over seeds then is that of training and of data.
    """

    fractions: tuple[float, ...] = ()
    seed: int = 0
    each_seed: bool = False

    def __post_init__(self) -> None:
        if self.fractions and (len(self.fractions) != 3 or min(self.fractions) <= 0):
            raise ValueError("fractions are three positive numbers, for train, val and test")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadConfig:
    """What ``overhead`` measures on: random numbers in the shape of bags.

    Attributes:
        slices: Of a bag.
        bags: Of a step.
        rounds: How often each variant is timed, all of them in turn.
    """

    slices: int = 32
    bags: int = 1
    rounds: int = 15

    def __post_init__(self) -> None:
        if self.slices < 3 or self.bags < 1 or self.rounds < 3:
            raise ValueError("at least 3 slices, 1 bag and 3 rounds are needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentConfig:
    """A whole experiment. One file serves all kinds; each reads what it needs.

    Attributes:
        train: The training that is varied: ``[train]`` holds what a file of `sadmil train` does.
        seeds: Of the trainings; the same for each variant, so that they are compared in pairs.
        alphas: Weights of smoothness. ``alpha`` reports each; elsewhere one of several is chosen
            on the validation split, and a single one is taken as given.
        orders: S1, S2 or both.
        choose_by: What choices on validation go by: the scans' cross-entropy at the fitted
            temperature (lower is better), or an AUROC; the mean over seeds.
        graphs: What ``graph`` compares.
        parts: What ``ablation`` compares, beside the baselines.
        guidance_weight: Of the part ``guidance``.
        noise: Under which decisions may flip.
        split: Of the manifest.
        overhead: What ``overhead`` measures on.
        resamples: Of patients, for intervals.
    """

    train: TrainingConfig
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    alphas: tuple[float, ...] = (0.1, 0.5, 0.9)
    orders: tuple[Literal[1, 2], ...] = (1, 2)
    choose_by: Criterion = "scan_loss"
    graphs: tuple[NamedGraph, ...] = DEFAULT_GRAPHS
    parts: tuple[Part, ...] = ("att-mil", "s1", "s2", "guidance", "noisy-or")
    guidance_weight: float = 0.1
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    overhead: OverheadConfig = field(default_factory=OverheadConfig)
    resamples: int = MIN_RESAMPLES

    def __post_init__(self) -> None:
        for name in ("seeds", "alphas", "orders", "graphs", "parts"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} must name at least one, and none twice")
        if not all(0 < alpha <= 1 for alpha in self.alphas):
            raise ValueError("alphas must lie in (0, 1]; alpha 0, Att-MIL, is always there")
        if len({each.name for each in self.graphs}) < len(self.graphs):
            raise ValueError("graphs must have different names")
        if not self.guidance_weight > 0:
            raise ValueError(f"guidance_weight must be positive, not {self.guidance_weight}")
        if self.resamples < MIN_RESAMPLES:
            raise ValueError(f"resamples must be at least {MIN_RESAMPLES}")
        model = self.train.model
        if model is None:
            raise ValueError("train needs a model: variants differ in it, and `start` fixes it")
        if model.pooling != "attention":
            raise ValueError("train.model.pooling must be 'attention': others stand beside it")


def read_experiment_config(path: Path) -> ExperimentConfig:
    """Reads a TOML file.

    Raises:
        ConfigError: It cannot be read, or says something that is not understood.
    """
    try:
        return from_mapping(ExperimentConfig, read_toml(path), "config")
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be used: {error}.",
            remedy="docs/experiments.md describes every key, docs/training.md those of [train].",
        ) from error
