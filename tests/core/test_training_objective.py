"""The objective: numbers worked out by hand, blanks that play no part, sums over ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from sadmil_core.model.graph import chain_graph
from sadmil_core.training.objective import (
    TERMS,
    ClassWeights,
    combine,
    inverse_frequency,
    term_sums,
    term_weights,
)
from sadmil_core.training.objective_config import ObjectiveConfig

NAN = math.nan


@dataclass
class Labels:
    mask_BS: Tensor
    label_B: Tensor
    slice_label_BS: Tensor
    masks_NHW: Tensor | None = None


@dataclass
class Answers:
    logit_B: Tensor
    attention_BS: Tensor
    attention_logit_BS: Tensor


def _labels(label: list[float], slices: list[list[float]], mask: Any = None) -> Labels:
    slice_label = torch.tensor(slices, dtype=torch.float64)
    real = torch.ones(slice_label.shape, dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Labels(real, torch.tensor(label, dtype=torch.float64), slice_label)


def _answers(logit: list[float], f: list[list[float]]) -> Answers:
    f_BS = torch.tensor(f, dtype=torch.float64)
    return Answers(torch.tensor(logit, dtype=torch.float64), torch.softmax(f_BS, dim=-1), f_BS)


def _mean(config: ObjectiveConfig, answers: Answers, labels: Labels, **given: Any) -> Any:
    classes = given.pop("classes", ClassWeights())
    sums = term_sums(config, answers, labels, classes, **given)
    return combine(config, sums, term_weights(labels, classes))


def test_weighted_cross_entropy_by_hand() -> None:
    classes = inverse_frequency(3, 1)
    assert (classes.negative, classes.positive) == (4 / 6, 2.0)
    labels = _labels([1, 0, NAN], [[NAN]] * 3)
    answers = _answers([0.0, math.log(3), 50.0], [[0.0]] * 3)
    loss, parts = _mean(ObjectiveConfig(), answers, labels, classes=classes)
    # -log 1/2 with weight 2, -log 1/4 with weight 2/3; the scan without a label is not there.
    expected = (2 * math.log(2) + 2 / 3 * math.log(4)) / (2 + 2 / 3)
    assert float(loss) == pytest.approx(expected)
    assert set(parts) == {"scan"}


def test_a_class_without_examples_has_no_weights() -> None:
    with pytest.raises(ValueError, match="0 positive"):
        inverse_frequency(5, 0)


@pytest.mark.parametrize(
    ("departures", "expected"),
    [
        ((), 0.75 * math.log(2) + 0.25 * 13 / 3),
        (("swapped_alpha",), 0.25 * math.log(2) + 0.75 * 13 / 3),
        (("self_loops",), 0.75 * math.log(2) + 0.25 * (13 + 10) / 3),
    ],
)
def test_smoothness_and_the_authors_departures_by_hand(departures: Any, expected: float) -> None:
    labels = _labels([1], [[NAN] * 3])
    answers = _answers([0.0], [[1.0, 3.0, 0.0]])
    config = ObjectiveConfig(alpha=0.25, departures=departures)
    loss, _ = _mean(config, answers, labels, graph=chain_graph(labels.mask_BS))
    assert float(loss) == pytest.approx(expected)


def test_smoothness_of_the_weights_after_the_softmax() -> None:
    labels = _labels([1], [[NAN] * 2])
    answers = _answers([0.0], [[math.log(3), 0.0]])  # attention 3/4, 1/4
    config = ObjectiveConfig(alpha=1.0, departures=("smooth_attention",))
    loss, _ = _mean(config, answers, labels, graph=chain_graph(labels.mask_BS))
    assert float(loss) == pytest.approx(0.25 / 2)


def test_labels_of_slices_count_where_they_are_known() -> None:
    labels = _labels([1, 0], [[1, NAN, 0], [NAN, 0, 1]], [[True] * 3, [True, True, False]])
    logit = torch.tensor([[0.0, 9.0, math.log(3)], [7.0, 0.0, 9.0]], dtype=torch.float64)
    answers = _answers([0.0, 0.0], [[0.0] * 3] * 2)
    config = ObjectiveConfig(slice_weight=2.0)
    loss, parts = _mean(config, answers, labels, slice_logit_BS=logit)
    by_slice = (math.log(2) + math.log(4) + math.log(2)) / 3
    assert float(parts["slice"]) == pytest.approx(by_slice)
    assert float(loss) == pytest.approx(math.log(2) + 2 * by_slice)


def test_attention_is_drawn_to_positive_slices_among_the_labelled() -> None:
    labels = _labels([1, 0], [[1, 0, NAN], [0, 0, 0]])
    answers = _answers([0.0, 0.0], [[math.log(3), 0.0, 20.0], [1.0, 2.0, 3.0]])
    config = ObjectiveConfig(attention_weight=1.0)
    _, parts = _mean(config, answers, labels)
    # Among the two labelled slices the positive one has 3/4; the negative scan has no target.
    assert float(parts["attention"]) == pytest.approx(-math.log(3 / 4))


def test_masks_by_hand() -> None:
    # A slice of 4 x 4 pixels seen in 2 x 2 cells; the second slice has no mask.
    masks = torch.zeros(2, 4, 4, dtype=torch.float64)
    masks[0, 0, 1] = 1
    masks[1] = NAN
    labels = _labels([1], [[NAN, NAN]])
    labels.masks_NHW = masks
    cells = torch.tensor([[[math.log(3), 0.0], [0.0, 0.0]], [[9.0] * 2] * 2], dtype=torch.float64)
    config = ObjectiveConfig(mask_weight=1.0)
    _, parts = _mean(config, _answers([0.0], [[0.0, 0.0]]), labels, cell_logit_NHW=cells)
    # Inside -log 3/4, outside -log 1/2: half each.
    assert float(parts["mask"]) == pytest.approx((-math.log(3 / 4) + math.log(2)) / 2)


def test_what_has_a_weight_must_be_there() -> None:
    labels, answers = _labels([1], [[1.0]]), _answers([0.0], [[0.0]])
    for config, message in (
        (ObjectiveConfig(alpha=0.5), "slice graph"),
        (ObjectiveConfig(slice_weight=1.0), "logit for each slice"),
    ):
        with pytest.raises(ValueError, match=message):
            term_sums(config, answers, labels, ClassWeights())


def test_two_parts_make_the_objective_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    slices = torch.tensor([[1, 0, NAN, 0]] * 2 + [[NAN] * 4] + [[0.0] * 4] * 2)
    label = torch.tensor([1, 1, NAN, 0, 0], dtype=torch.float64)
    real = torch.ones(5, 4, dtype=torch.bool)
    logit = torch.randn(5, dtype=torch.float64, generator=generator)
    config = ObjectiveConfig(alpha=0.3, order=2, slice_weight=0.5, attention_weight=0.2)
    classes = inverse_frequency(2, 2)

    def part(rows: slice) -> tuple[dict[str, Tensor], Tensor]:
        labels = Labels(real[rows], label[rows], slices[rows].double())
        answers = Answers(logit[rows], torch.softmax(f[rows], -1), f[rows])
        sums = term_sums(
            config,
            answers,
            labels,
            classes,
            graph=chain_graph(real[rows]),
            slice_logit_BS=f[rows] * 2,
        )
        return sums, term_weights(labels, classes)

    whole, weights = part(slice(None))
    parts = [part(slice(0, 2)), part(slice(2, 5))]
    together = parts[0][1] + parts[1][1]
    assert together.tolist() == weights.tolist()
    expected, _ = combine(config, whole, weights)
    summed = sum(float(combine(config, sums, together)[0]) for sums, _ in parts)
    assert summed == pytest.approx(float(expected))


def test_supervision_and_words() -> None:
    assert ObjectiveConfig().supervision == "scan"
    assert ObjectiveConfig(attention_weight=1.0).supervision == "slice"
    assert ObjectiveConfig(mask_weight=1.0, slice_weight=1.0).supervision == "mask"
    assert ObjectiveConfig().describe() == "Att-MIL"
    config = ObjectiveConfig(alpha=0.5, order=2, departures=("self_loops",))
    assert config.describe() == "S2, alpha 0.5, chain, self_loops"
    assert len(TERMS) == len(set(TERMS))
    with pytest.raises(ValueError, match="alpha"):
        ObjectiveConfig(alpha=1.5)


def test_gradients() -> None:
    labels = _labels([1, 0], [[1, 0, NAN], [0, NAN, 0]])
    f = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    logit = torch.randn(2, dtype=torch.float64, requires_grad=True)
    config = ObjectiveConfig(alpha=0.4, slice_weight=1.0, attention_weight=1.0)

    def loss(f: Tensor, logit: Tensor) -> Tensor:
        answers = Answers(logit, torch.softmax(f, -1), f)
        given = {"graph": chain_graph(labels.mask_BS), "slice_logit_BS": 3 * f}
        total: Tensor = _mean(config, answers, labels, **given)[0]
        return total

    assert torch.autograd.gradcheck(loss, (f, logit))
