"""Smoothness: numbers worked out by hand, dense Laplacians, gradients."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from sadmil_core.model.smoothness import chain_smoothness


def _penalty(f: list[float], order: Literal[1, 2]) -> float:
    f_BS = torch.tensor([f], dtype=torch.float64)
    return float(chain_smoothness(f_BS, torch.ones_like(f_BS, dtype=torch.bool), order))


def _laplacian(size: int) -> torch.Tensor:
    a_SS = torch.diag(torch.ones(size - 1, dtype=torch.float64), 1)
    a_SS = a_SS + a_SS.T
    return torch.diag(a_SS.sum(1)) - a_SS


@pytest.mark.parametrize(
    ("f", "s1", "s2"),
    [
        # The steps are 2 and -3, and L f is (-2, 5, -3).
        ([1, 3, 0], 4 + 9, 4 + 25 + 9),
        # A straight line costs S2 only at its two ends.
        ([0, 1, 2, 3], 3, 2),
        ([5, 5, 5, 5], 0, 0),
        ([2, 7], 25, 50),
        ([3], 0, 0),
    ],
)
def test_by_hand(f: list[float], s1: float, s2: float) -> None:
    assert _penalty(f, 1) == pytest.approx(s1 / len(f))
    assert _penalty(f, 2) == pytest.approx(s2 / len(f))


@pytest.mark.parametrize("size", [2, 3, 10, 57])
def test_equal_to_the_quadratic_forms_of_the_dense_laplacian(size: int) -> None:
    f_S = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    l_SS = _laplacian(size)
    assert _penalty(f_S.tolist(), 1) * size == pytest.approx(float(f_S @ l_SS @ f_S))
    assert _penalty(f_S.tolist(), 2) * size == pytest.approx(float((l_SS @ f_S).square().sum()))


@pytest.mark.parametrize("order", [1, 2])
def test_pads_play_no_part_even_where_they_are_not_numbers(order: Literal[1, 2]) -> None:
    f_BS = torch.tensor([[1.0, 3.0, 0.0, torch.nan, 9e9], [4.0, 1.0, 2.0, 8.0, 5.0]])
    f_BS.requires_grad_()
    mask_BS = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    penalty_B = chain_smoothness(f_BS, mask_BS, order)
    expected = [_penalty([1, 3, 0], order), _penalty([4, 1, 2, 8, 5], order)]
    assert penalty_B.tolist() == pytest.approx(expected)
    penalty_B.sum().backward()
    assert f_BS.grad is not None
    assert torch.isfinite(f_BS.grad).all()
    assert not f_BS.grad[0, 3:].any()


@pytest.mark.parametrize("order", [1, 2])
def test_gradients(order: Literal[1, 2]) -> None:
    mask_BS = torch.tensor([[True] * 4 + [False] * 2, [True] * 6, [True] + [False] * 5])
    generator = torch.Generator().manual_seed(0)
    f_BS = torch.randn(3, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: chain_smoothness(f, mask_BS, order), f_BS)


def test_a_constant_added_to_all_logits_changes_nothing_and_reversal_neither() -> None:
    f = [0.5, -1.0, 2.0, 4.0]
    for order in (1, 2):
        assert _penalty([v + 7 for v in f], order) == pytest.approx(_penalty(f, order))
        assert _penalty(f[::-1], order) == pytest.approx(_penalty(f, order))
