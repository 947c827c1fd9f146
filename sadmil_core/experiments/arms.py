"""What an experiment compares: variants of one training, each a config."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sadmil_core.model.config import AttentionConfig, InstanceHeadConfig
from sadmil_core.model.context_config import BiGruConfig, SmConfig, TransformerConfig
from sadmil_core.model.graph_config import GraphConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sadmil_core.experiments.config import ExperimentConfig, Kind, NamedGraph, Part
    from sadmil_core.model.config import Context, ModelConfig
    from sadmil_core.training.config import TrainingConfig

ATT_MIL = "Att-MIL"
TRAINED_MEAN, TRAINED_MAX = "mean pooling, trained", "max pooling, trained"
TRAINED_BASELINES = (TRAINED_MEAN, TRAINED_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One variant, to be trained with each seed.

    Attributes:
        name: In reports.
        config: Of its training; the seed is still to be set.
        candidate_of: The arms of one such name are candidates: one of them is chosen on
            validation, and goes by this name from then on. Empty where nothing is to be chosen.
        alpha: Of its smoothness; 0 for none.
        order: Of its smoothness; 0 for none.
        graph: The name of its graph; empty without smoothness.
    """

    name: str
    config: TrainingConfig
    candidate_of: str = ""
    alpha: float = 0.0
    order: int = 0
    graph: str = ""

    @property
    def slug(self) -> str:
        """The name as files are called."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


def plan_arms(
    kind: Kind, config: ExperimentConfig, graphs: Sequence[NamedGraph]
) -> tuple[Arm, ...]:
    """The variants of an experiment; Att-MIL first, the trained baselines last.

    Args:
        kind: Of experiment; not ``overhead``, which trains nothing.
        config: Of the experiment.
        graphs: Those of its graphs that the bags can serve.
    """
    plain = Arm(name=ATT_MIL, config=without_smoothness(config.train))
    baselines = [
        Arm(name=TRAINED_MEAN, config=_pooled(config.train, "mean")),
        Arm(name=TRAINED_MAX, config=_pooled(config.train, "max")),
    ]
    if kind == "alpha":
        arms = [arm for order in config.orders for arm in _smooth(config, order, choose=False)]
    elif kind == "order":
        arms = [arm for order in config.orders for arm in _smooth(config, order)]
    elif kind == "graph":
        arms = [
            arm
            for order in config.orders
            for named in graphs
            for arm in _smooth(config, order, named=named)
        ]
    elif kind == "ablation":
        arms = [arm for part in config.parts for arm in _part(config, part)]
    else:
        raise ValueError(f"{kind} has no arms")
    return (plain, *arms, *baselines)


def without_smoothness(train: TrainingConfig) -> TrainingConfig:
    """The training as Att-MIL."""
    objective = replace(train.objective, alpha=0.0, order=1, graph=GraphConfig(), departures=())
    return replace(train, objective=objective)


def smoothed(train: TrainingConfig, alpha: float, order: int, graph: GraphConfig) -> TrainingConfig:
    """The training with S1 or S2."""
    objective = replace(train.objective, alpha=alpha, order=1 if order == 1 else 2, graph=graph)
    return replace(train, objective=objective)


def _smooth(
    config: ExperimentConfig, order: int, *, named: NamedGraph | None = None, choose: bool = True
) -> Iterable[Arm]:
    """S_k at each alpha; candidates of one name where one is to be chosen."""
    graph = config.train.objective.graph if named is None else named.graph
    title = f"S{order}" if named is None else f"S{order}, {named.name}"
    given = len(config.alphas) == 1
    for alpha in config.alphas:
        yield Arm(
            name=f"{title}, alpha {alpha:g}",
            config=smoothed(config.train, alpha, order, graph),
            candidate_of=title if choose and not given else "",
            alpha=alpha,
            order=order,
            graph=graph.describe() if named is None else named.name,
        )


def _part(config: ExperimentConfig, part: Part) -> Iterable[Arm]:
    plain = without_smoothness(config.train)
    model = _model(plain)
    if part == "att-mil":
        return []  # stands first
    if part in ("s1", "s2"):
        return _smooth(config, int(part[1]))
    if part == "guidance":
        objective = replace(plain.objective, guidance_weight=config.guidance_weight)
        name = f"Normal Guidance, weight {config.guidance_weight:g}"
        return [Arm(name=name, config=replace(plain, objective=objective))]
    if part in ("noisy-or", "instance-max"):
        network = replace(
            model,
            pooling=part,
            instance=model.instance or InstanceHeadConfig(),
            attention=AttentionConfig(),
            context=None,
            bag_padding=0,
        )
        return [Arm(name=f"instance head, {part}", config=_without_attention(plain, network))]
    if part == "probabilistic":
        attention = replace(model.attention, probabilistic=True)
        network = replace(model, attention=attention, bag_padding=0)
        return [Arm(name="probabilistic attention", config=replace(plain, model=network))]
    contexts: dict[str, tuple[str, Context]] = {
        "sm": ("Sm operator on features", SmConfig()),
        "transformer": ("transformer", TransformerConfig()),
        "bigru": ("BiGRU", BiGruConfig()),
    }
    name, context = contexts[part]
    network = replace(model, context=context, bag_padding=0)
    return [Arm(name=name, config=replace(plain, model=network))]


def _pooled(train: TrainingConfig, pooling: str) -> TrainingConfig:
    model = _model(train)
    sm = isinstance(model.context, SmConfig)
    network = replace(
        model,
        pooling="mean" if pooling == "mean" else "max",
        attention=AttentionConfig(),
        context=None if sm else model.context,
        bag_padding=0,
    )
    return _without_attention(without_smoothness(train), network)


def _without_attention(train: TrainingConfig, model: ModelConfig) -> TrainingConfig:
    """The training of a network that has none: what weighs attention weighs nothing."""
    return replace(
        train,
        model=model,
        objective=replace(
            train.objective,
            guidance_weight=0.0,
            attention_weight=0.0,
            # Without evidence or a head of their own, slices have nothing to be told.
            slice_weight=train.objective.slice_weight
            if model.instance is not None or model.gives_evidence
            else 0.0,
        ),
        optimizer=replace(train.optimizer, attention_l2=0.0),
    )


def _model(train: TrainingConfig) -> ModelConfig:
    if train.model is None:
        raise ValueError("an experiment's training has a model")
    return train.model
