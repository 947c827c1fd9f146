"""What training minimises, as sums and the weights they are divided by.

A mean over a batch is a sum over its bags divided by a weight. Kept apart, the weights can be
added up over accumulated batches and over all ranks before the division, so that a step is the
same however its bags are spread: two ranks with bags of unequal number and length make the
gradient of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, binary_cross_entropy_with_logits

from sadmil_core.model.smoothness import smoothness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sadmil_core.model.graph import SliceGraph
    from sadmil_core.training.objective_config import ObjectiveConfig

_T = TypeVar("_T")

TERMS = ("scan", "smooth", "slice", "attention", "mask", "guidance", "extra")
"""The parts of the objective, in the order of their weights."""


class BagLabels(Protocol):
    """What is known of the B bags of a batch; NaN where a label is unknown."""

    @property
    def mask_BS(self) -> Tensor: ...
    @property
    def label_B(self) -> Tensor: ...
    @property
    def slice_label_BS(self) -> Tensor: ...
    @property
    def masks_NHW(self) -> Tensor | None: ...


class BagAnswers(Protocol):
    """What the network says of them."""

    @property
    def logit_B(self) -> Tensor: ...
    @property
    def attention_BS(self) -> Tensor: ...
    @property
    def attention_logit_BS(self) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWeights:
    """The weight of a scan by its label."""

    negative: float = 1.0
    positive: float = 1.0

    def of(self, label_B: Tensor) -> Tensor:
        """(B,) the weights; 0 for scans without a label."""
        weight_B = torch.where(label_B > 0.5, self.positive, self.negative).to(label_B.dtype)
        return torch.where(torch.isnan(label_B), torch.zeros_like(weight_B), weight_B)


def inverse_frequency(negatives: int, positives: int) -> ClassWeights:
    """Weights n / (2 n_class): both classes count alike, and the mean over all scans is 1.

    Raises:
        ValueError: A class has no example.
    """
    if min(negatives, positives) < 1:
        raise ValueError(f"both classes need examples: {negatives} negative, {positives} positive")
    total = negatives + positives
    return ClassWeights(negative=total / (2 * negatives), positive=total / (2 * positives))


def term_weights(labels: BagLabels, classes: ClassWeights) -> Tensor:
    """What each term of a batch is to be divided by, known before the network is asked.

    Returns:
        (len(TERMS),) float64: the weights of the labelled scans, bags, labelled slices, bags
        whose attention has a target, slices with a mask, bags, bags.
    """
    bags = labels.mask_BS.shape[0]
    known_BS = labels.mask_BS & ~torch.isnan(labels.slice_label_BS)
    masks = 0 if labels.masks_NHW is None else int(_has_mask(labels.masks_NHW).sum())
    weights = [
        float(classes.of(labels.label_B).sum()),
        bags,
        int(known_BS.sum()),
        int(_has_target(labels).sum()),
        masks,
        bags,
        bags,
    ]
    return torch.tensor(weights, dtype=torch.float64)


def term_sums(
    config: ObjectiveConfig,
    answers: BagAnswers,
    labels: BagLabels,
    classes: ClassWeights,
    *,
    graph: SliceGraph | None = None,
    slice_logit_BS: Tensor | None = None,
    cell_logit_NHW: Tensor | None = None,
    guidance_B: Tensor | None = None,
    extra_loss: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The sums of the terms that the config asks for.

    Args:
        config: The objective.
        answers: Of the network.
        labels: Of the same bags.
        classes: The weights of the scans.
        graph: Over the slices, where smoothness has a weight.
        slice_logit_BS: By slice (instance head, or evidence), where slices have one.
        cell_logit_NHW: By cell of the last feature map, where masks have a weight.
        guidance_B: Normal Guidance of each bag, where it has a weight.
        extra_loss: What the network adds, (B,) each.

    Returns:
        A scalar each, by the name of the term; to be divided by :func:`term_weights`.

    Raises:
        ValueError: A term has a weight, and the network gives nothing to compute it from.
    """
    sums: dict[str, Tensor] = {}
    if config.classification_share > 0:
        sums["scan"] = _scan_sum(answers.logit_B, labels.label_B, classes)
    if config.smoothness_share > 0:
        on_weights = "smooth_attention" in config.departures
        sums["smooth"] = smoothness(
            answers.attention_BS if on_weights else answers.attention_logit_BS,
            labels.mask_BS,
            _given(graph, "smoothness", "slice graph"),
            config.order,
            self_loops="self_loops" in config.departures,
        ).sum()
    if config.slice_weight > 0:
        logit_BS = _given(slice_logit_BS, "slice_weight", "logit for each slice")
        known_BS = labels.mask_BS & ~torch.isnan(labels.slice_label_BS)
        target = labels.slice_label_BS[known_BS]
        sums["slice"] = binary_cross_entropy_with_logits(
            logit_BS[known_BS], target.to(logit_BS.dtype), reduction="sum"
        )
    if config.attention_weight > 0:
        sums["attention"] = _attention_sum(answers.attention_logit_BS, labels)
    if config.mask_weight > 0 and labels.masks_NHW is not None:
        logit_NHW = _given(cell_logit_NHW, "mask_weight", "logit for each cell")
        sums["mask"] = _mask_sum(logit_NHW, labels.masks_NHW)
    if config.guidance_weight > 0:
        sums["guidance"] = _given(guidance_B, "guidance_weight", "attention over slices").sum()
    if config.extra_weight > 0 and extra_loss:
        sums["extra"] = torch.stack([loss_B.sum() for loss_B in extra_loss.values()]).sum()
    return sums


def combine(
    config: ObjectiveConfig, sums: Mapping[str, Tensor], weights: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective: each sum divided by its weight, times its share.

    Args:
        config: The objective.
        sums: From :func:`term_sums`, of this rank's batch.
        weights: From :func:`term_weights`, added up over whatever makes one step.

    Returns:
        The scalar to go backward from, and the mean of each term, detached.
    """
    shares = config.shares
    by_name = dict(zip(TERMS, weights.tolist(), strict=True))
    # A term without a single label anywhere has the sum 0 and the weight 0.
    means = {name: total / max(by_name[name], 1e-12) for name, total in sums.items()}
    loss = torch.stack([shares[name] * mean for name, mean in means.items()]).sum()
    return loss, {name: mean.detach() for name, mean in means.items()}


def _scan_sum(logit_B: Tensor, label_B: Tensor, classes: ClassWeights) -> Tensor:
    target_B = label_B.nan_to_num(nan=0.0).to(logit_B.dtype)
    loss_B = binary_cross_entropy_with_logits(logit_B, target_B, reduction="none")
    return (classes.of(label_B).to(loss_B.dtype) * loss_B).sum()


def _has_target(labels: BagLabels) -> Tensor:
    """(B,) bags with a slice known to be positive: their attention has somewhere to go."""
    return ((labels.slice_label_BS > 0.5) & labels.mask_BS).any(dim=-1)


def _attention_sum(f_BS: Tensor, labels: BagLabels) -> Tensor:
    """- log of the attention on positive slices, over the slices with a label.

    The positive slices share the target equally; slices without a label are left out of the
    softmax, so that nothing is said about them.
    """
    known_BS = labels.mask_BS & ~torch.isnan(labels.slice_label_BS)
    bags = _has_target(labels)
    if not bool(bags.any()):
        return f_BS.sum() * 0.0
    lowest = torch.finfo(f_BS.dtype).min
    log_a = torch.log_softmax(f_BS[bags].masked_fill(~known_BS[bags], lowest), dim=-1)
    target = (labels.slice_label_BS[bags].nan_to_num(nan=0.0) > 0.5) & known_BS[bags]
    share = target.to(log_a.dtype) / target.sum(dim=-1, keepdim=True)
    return -torch.where(target, share * log_a, torch.zeros_like(log_a)).sum()


def _has_mask(masks_NHW: Tensor) -> Tensor:
    """(N,) slices whose mask is known: a slice without one holds NaN."""
    return ~torch.isnan(masks_NHW[:, 0, 0])


def _mask_sum(logit_NHW: Tensor, masks_NHW: Tensor) -> Tensor:
    """The cross-entropy over cells, lesion and background balanced within each slice.

    A cell is positive where any pixel of it is. Where a slice has both, each kind counts half.
    """
    known = _has_mask(masks_NHW)
    if not bool(known.any()):
        return logit_NHW.sum() * 0.0
    logit = logit_NHW[known]
    cells = adaptive_max_pool2d(masks_NHW[known][:, None].to(logit.dtype), logit.shape[-2:])[:, 0]
    positive = cells > 0.5
    loss = binary_cross_entropy_with_logits(logit, positive.to(logit.dtype), reduction="none")
    inside, outside = positive.flatten(1), ~positive.flatten(1)
    means = [
        (loss.flatten(1) * part).sum(dim=1) / part.sum(dim=1).clamp(min=1)
        for part in (inside, outside)
    ]
    kinds = inside.any(dim=1).to(loss.dtype) + outside.any(dim=1).to(loss.dtype)
    return ((means[0] + means[1]) / kinds).sum()


def _given(value: _T | None, name: str, what: str) -> _T:
    if value is None:
        raise ValueError(f"{name} has a weight, and the network gives no {what}")
    return value
