"""Every number of the default model's recipe, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sadmil_core.data.augment import AugmentConfig
from sadmil_core.model.config import ConvEncoderConfig, FeaturesConfig, HeadConfig, ModelConfig
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.training.config import DataConfig, LengthConfig, OptimizerConfig, TrainingConfig
from sadmil_core.training.objective_config import ObjectiveConfig

JOINT = "joint"
"""The candidate that keeps the heads which were trained with the encoder."""


def _encoder() -> ConvEncoderConfig:
    return ConvEncoderConfig(
        channels=(16, 32, 64, 128, 128),
        kernels=(5, 3, 3, 3, 3),
        padding=("same",) * 5,
        dropout=(0.0, 0.0, 0.0, 0.1, 0.1),
        output="max",
        norm="group",
        unpooled=1,
    )


def _augment() -> AugmentConfig:
    return AugmentConfig(
        flip=0.5,
        rotation_degrees=20.0,
        scale=0.12,
        shift=0.04,
        noise_sd_hu=4.0,
        level_jitter_hu=4.0,
        width_jitter_hu=4.0,
        slice_drop=0.5,
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
    """

    name: str
    pooling: str = "attention"
    alpha: float = 0.0
    order: int = 1
    graph: GraphConfig = field(default_factory=GraphConfig)


CANDIDATES = (
    Candidate(name="mean", pooling="mean"),
    Candidate(name="max", pooling="max"),
    Candidate(name="att", alpha=0.0),
    Candidate(name="s1-0.1", alpha=0.1),
    Candidate(name="s1-0.5", alpha=0.5),
    Candidate(name="s2-0.1", alpha=0.1, order=2),
    Candidate(name="s2-0.5", alpha=0.5, order=2),
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
        encoder_epochs: Of an encoder, in cross-validation and in the end.
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
    scans_per_host: int = 40
    phantoms: int = 80
    folds: int = 4
    validation_hosts: int = 2
    encoder_epochs: int = 4
    final_epochs: int = 7
    head_epochs: int = 12
    seeds: int = 5
    candidates: tuple[Candidate, ...] = CANDIDATES
    augment: AugmentConfig = field(default_factory=_augment)
    seed: int = 0

    def encoder_run(self, name: str, epochs: int) -> TrainingConfig:
        """The run of an encoder: masks, slices and scans of inserted lesions, no smoothness."""
        return TrainingConfig(
            name=name,
            data=DataConfig(manifest="-", store="-", bags_per_step=2, workers=2),
            model=ModelConfig(
                encoder=self.encoder,
                head=HeadConfig(hidden=0, dropout=0.1),
                input_size=self.preprocess.size,
            ),
            preprocess=self.preprocess,
            objective=ObjectiveConfig(slice_weight=1.0, mask_weight=1.0, attention_weight=0.2),
            optimizer=OptimizerConfig(
                lr=1e-3,
                weight_decay=1e-2,
                warmup_steps=50,
                schedule="cosine",
                clip_norm=1.0,
                ema_decay=0.995,
            ),
            augment=self.augment,
            length=LengthConfig(epochs=epochs, patience=0, save_every_steps=100),
            seed=self.seed,
            precision="bf16",
        )

    def head_run(self, candidate: Candidate, seed: int) -> TrainingConfig:
        """The run of a candidate over frozen features, from scan labels alone."""
        return TrainingConfig(
            name=candidate.name,
            data=DataConfig(manifest="-", bags_per_step=8, bags_per_batch=8, workers=0),
            model=ModelConfig(
                encoder=FeaturesConfig(features=self.encoder.channels[-1]),
                head=HeadConfig(hidden=0, dropout=0.1),
                pooling=candidate.pooling,  # type: ignore[arg-type]
            ),
            objective=ObjectiveConfig(
                alpha=candidate.alpha,
                order=candidate.order,  # type: ignore[arg-type]
                graph=candidate.graph,
            ),
            optimizer=OptimizerConfig(lr=2e-3, weight_decay=1e-2, schedule="cosine"),
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
    encoder_epochs=1,
    final_epochs=1,
    head_epochs=1,
    seeds=1,
    candidates=(CANDIDATES[2], CANDIDATES[3]),
)
"""The same way in a minute, to be tested; what comes out knows nothing."""
