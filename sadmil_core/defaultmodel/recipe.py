"""Every number of the default model's recipe, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sadmil_core.data.augment import AugmentConfig
from sadmil_core.defaultmodel.pretrain import PretrainConfig
from sadmil_core.model.config import ConvEncoderConfig, FeaturesConfig, HeadConfig, ModelConfig
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.training.config import DataConfig, LengthConfig, OptimizerConfig, TrainingConfig
from sadmil_core.training.objective_config import ObjectiveConfig


def _encoder() -> ConvEncoderConfig:
    return ConvEncoderConfig(
        channels=(16, 32, 64, 128, 128),
        kernels=(5, 3, 3, 3, 3),
        padding=("same",) * 5,
        dropout=(0.0,) * 5,
        output="max",
        unpooled=1,
    )


def _augment() -> AugmentConfig:
    return AugmentConfig(
        flip=0.5,
        rotation_degrees=20.0,
        scale=0.12,
        shift=0.04,
        noise_sd_hu=4.0,
        sharpness=0.8,
        level_jitter_hu=4.0,
        width_jitter_hu=4.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to make a scan's answer of its slices' features.

    Attributes:
        name: Short.
        pooling: See ``ModelConfig``.
        alpha: Weight of smoothness.
        order: Of smoothness.
        graph: Of smoothness.
        slices: Whether the head is told which slices bleed, too, and not the scan's label alone.
    """

    name: str
    pooling: str = "attention"
    alpha: float = 0.0
    order: int = 1
    graph: GraphConfig = field(default_factory=GraphConfig)
    slices: bool = False


_SMOOTHNESS: tuple[tuple[str, float, Literal[1, 2]], ...] = (
    ("att", 0.0, 1),
    ("s1-0.1", 0.1, 1),
    ("s1-0.5", 0.5, 1),
    ("s2-0.1", 0.1, 2),
    ("s2-0.5", 0.5, 2),
)
_GRAPHS = (
    ("3hops", GraphConfig(hops=3)),
    ("5mm", GraphConfig(hops=3, length_mm=5.0)),
    ("alike", GraphConfig(similarity=1.0)),
)
CANDIDATES = (
    Candidate(name="mean", pooling="mean"),
    Candidate(name="max", pooling="max"),
    *(Candidate(name=name, alpha=alpha, order=order) for name, alpha, order in _SMOOTHNESS),
    *(
        Candidate(name=f"{name}-slices", alpha=alpha, order=order, slices=True)
        for name, alpha, order in _SMOOTHNESS
    ),
    *(
        Candidate(name=f"s1-0.1-{name}-slices", alpha=0.1, graph=graph, slices=True)
        for name, graph in _GRAPHS
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is made, of how much, for how long.

    Attributes:
        preprocess: What the network sees; hosts are brought to its grid before anything is put in.
        encoder: The network of a slice.
        scans_per_host: Half of them with bleeds.
        phantoms: Whole made heads that are added to training, half of them with bleeds.
        folds: Outer folds over hosts.
        validation_hosts: Hosts kept from training to stop and to choose by.
        fold_pretraining: Of an encoder in cross-validation.
        final_pretraining: Of the one that is kept.
        head_epochs: Of a candidate.
        seeds: Of each candidate.
        candidates: What is chosen from.
        augment: Of the encoder's training.
        seed: Of everything else.
    """

    preprocess: PreprocessConfig = field(
        default_factory=lambda: PreprocessConfig(
            size=(224, 192), resample="hu", pixel_spacing_mm=1.0, crop="head"
        )
    )
    encoder: ConvEncoderConfig = field(default_factory=_encoder)
    scans_per_host: int = 64
    phantoms: int = 80
    folds: int = 4
    validation_hosts: int = 2
    fold_pretraining: PretrainConfig = field(default_factory=lambda: PretrainConfig(steps=900))
    final_pretraining: PretrainConfig = field(default_factory=lambda: PretrainConfig(steps=4000))
    head_epochs: int = 12
    seeds: int = 5
    candidates: tuple[Candidate, ...] = CANDIDATES
    augment: AugmentConfig = field(default_factory=_augment)
    seed: int = 0

    @property
    def encoder_model(self) -> ModelConfig:
        """The network that is pre-trained; its attention is not."""
        return ModelConfig(
            encoder=self.encoder,
            head=HeadConfig(hidden=0, dropout=0.0),
            input_size=self.preprocess.size,
        )

    def head_model(self, candidate: Candidate) -> ModelConfig:
        """The network of a candidate over frozen features."""
        return ModelConfig(
            encoder=FeaturesConfig(features=self.encoder.channels[-1]),
            head=HeadConfig(hidden=0, dropout=0.1),
            pooling=candidate.pooling,  # type: ignore[arg-type]
        )

    def head_run(self, candidate: Candidate, seed: int) -> TrainingConfig:
        """The run of a candidate over frozen features, from the encoder's own head."""
        return TrainingConfig(
            name=candidate.name,
            data=DataConfig(manifest="-", bags_per_step=8, bags_per_batch=8, workers=0),
            start="encoder",
            objective=ObjectiveConfig(
                alpha=candidate.alpha,
                order=candidate.order,  # type: ignore[arg-type]
                graph=candidate.graph,
                slice_weight=0.5 if candidate.slices else 0.0,
                attention_weight=0.5 if candidate.slices else 0.0,
            ),
            optimizer=OptimizerConfig(lr=5e-4, weight_decay=1e-2, schedule="cosine"),
            length=LengthConfig(epochs=self.head_epochs, patience=0, save_every_steps=10_000),
            seed=seed,
        )


RECIPE = Recipe()
SHORT = replace(
    RECIPE,
    preprocess=replace(RECIPE.preprocess, size=(56, 48), pixel_spacing_mm=4.0),
    encoder=replace(RECIPE.encoder, channels=(4, 8, 8, 8, 8)),
    phantoms=16,
    folds=2,
    validation_hosts=2,
    fold_pretraining=PretrainConfig(steps=10, slices_per_step=16),
    final_pretraining=PretrainConfig(steps=10, slices_per_step=16),
    head_epochs=1,
    seeds=1,
    candidates=(CANDIDATES[2], CANDIDATES[8]),
)
"""The same way in a minute, to be tested; what comes out knows nothing."""
