"""Attention, padding, evidence: the identities the method rests on."""

from __future__ import annotations

import math

import pytest
import torch

from sadmil_core.model.attention import masked_softmax, padded_softmax
from tests.networks import SIZE, small_network


def _slices(count: int, seed: int = 5) -> torch.Tensor:
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_masked_softmax_by_hand_and_exactly_zero_outside() -> None:
    f_BS = torch.tensor([[math.log(1), math.log(3), 50.0], [2.0, math.nan, math.inf]])
    mask_BS = torch.tensor([[True, True, False], [True, False, False]])
    a_BS = masked_softmax(f_BS, mask_BS)
    torch.testing.assert_close(a_BS, torch.tensor([[0.25, 0.75, 0], [1, 0, 0]]))
    assert a_BS[0, 2] == a_BS[1, 1] == a_BS[1, 2] == 0


def test_a_bag_without_slices_is_a_fault_not_a_nan() -> None:
    with pytest.raises(ValueError, match="without a real slice"):
        masked_softmax(torch.zeros(2, 3), torch.tensor([[True] * 3, [False] * 3]))


def test_softmax_of_large_logits_does_not_overflow() -> None:
    f_BS = torch.tensor([[1e4, 1e4 - math.log(3), -1e4]])
    mask_BS = torch.ones(1, 3, dtype=torch.bool)
    a_BS, pads_B = padded_softmax(f_BS, mask_BS, torch.tensor(-1e4), torch.tensor([5]))
    torch.testing.assert_close(a_BS, torch.tensor([[0.75, 0.25, 0.0]]))
    assert pads_B == 0
    a_BS, pads_B = padded_softmax(f_BS, mask_BS, torch.tensor(2e4), torch.tensor([5]))
    assert pads_B == 1
    assert a_BS.sum() == 0


def test_pads_share_the_softmax_by_their_number() -> None:
    f_BS = torch.zeros(2, 3)
    mask_BS = torch.tensor([[True, True, True], [True, False, False]])
    a_BS, pads_B = padded_softmax(f_BS, mask_BS, torch.tensor(0.0), torch.tensor([0, 4]))
    torch.testing.assert_close(a_BS, torch.tensor([[1 / 3] * 3, [0.2, 0, 0]]))
    torch.testing.assert_close(pads_B, torch.tensor([0.0, 0.8]))


@pytest.mark.parametrize("gated", [True, False])
def test_padding_of_a_batch_changes_nothing(gated: bool) -> None:
    module = small_network(gated=gated)
    x_SCHW = _slices(5)
    alone = module(x_SCHW, torch.ones(1, 5, dtype=torch.bool))
    mask_BS = torch.tensor([[True] * 5 + [False] * 3, [True] * 8])
    padded = module(torch.cat([x_SCHW, _slices(8, seed=9)]), mask_BS)
    torch.testing.assert_close(padded.logit_B[0], alone.logit_B[0])
    torch.testing.assert_close(padded.attention_BS[0, :5], alone.attention_BS[0])
    torch.testing.assert_close(padded.evidence_BS[0, :5], alone.evidence_BS[0])
    assert not padded.attention_BS[0, 5:].any()


def test_slices_that_do_not_fit_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="3 slices do not fit a mask of 4"):
        small_network()(_slices(3), torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_a_batch_is_padded_as_the_checkpoint_pads_single_bags(activation: str) -> None:
    module = small_network(bag_padding=7, activation=activation)
    bags = [_slices(5), _slices(9, seed=9)]
    mask_BS = torch.tensor([[True] * 5 + [False] * 4, [True] * 9])
    batch = module(torch.cat(bags), mask_BS)
    pad_D = module.encode(torch.zeros(1, 3, *SIZE))[0]
    for b, x_SCHW in enumerate(bags):
        one = module.pool(module.encode(x_SCHW), pad_D)
        torch.testing.assert_close(batch.logit_B[b], one.logit)
        torch.testing.assert_close(batch.attention_BS[b, : len(x_SCHW)], one.attention_S)
        if one.padding_contribution is not None:
            torch.testing.assert_close(batch.padding_contribution_B[b], one.padding_contribution)
    assert (batch.padding_contribution_B is None) == (activation == "relu")
    # With the pads built as slices of their own the answer is the same.
    built = torch.cat([bags[0], torch.zeros(2, 3, *SIZE)])
    whole = module(built, torch.ones(1, 7, dtype=torch.bool))
    torch.testing.assert_close(batch.logit_B[0], whole.logit_B[0])
    with pytest.raises(ValueError, match="zero slice is needed"):
        module.pool_batch(torch.zeros(1, 5, module.config.features), mask_BS[:1, :5])


def test_gradients_do_not_flow_from_pads_and_are_finite() -> None:
    module = small_network()
    h_BSD = torch.randn(2, 4, module.config.features, requires_grad=True)
    mask_BS = torch.tensor([[True, True, False, False], [True] * 4])
    module.pool_batch(h_BSD, mask_BS).logit_B.sum().backward()
    assert h_BSD.grad is not None
    assert torch.isfinite(h_BSD.grad).all()
    assert not h_BSD.grad[0, 2:].any()
    assert h_BSD.grad[0, :2].abs().min() > 0


def test_a_single_bag_and_a_batch_of_one_agree() -> None:
    module = small_network()
    h_SD = module.encode(_slices(6))
    one = module.pool(h_SD)
    batch = module.pool_batch(h_SD[None], torch.ones(1, 6, dtype=torch.bool))
    torch.testing.assert_close(one.logit, batch.logit_B[0])
    torch.testing.assert_close(one.attention_S, batch.attention_BS[0])
    assert one.padding_contribution is None


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("slices", [1, 4, 8])
def test_analytic_padding_is_the_explicit_one(slices: int, activation: str) -> None:
    module = small_network(bag_padding=9, activation=activation)
    x_SCHW, zero = _slices(slices), torch.zeros(1, 3, *SIZE)
    h_SD = module.encode(torch.cat([x_SCHW, zero.expand(9 - slices, -1, -1, -1)]))
    explicit = module.pool_batch(h_SD[None], torch.ones(1, 9, dtype=torch.bool))
    analytic = module.pool(module.encode(x_SCHW), module.encode(zero)[0])
    torch.testing.assert_close(analytic.logit, explicit.logit_B[0])
    torch.testing.assert_close(analytic.attention_S, explicit.attention_BS[0, :slices])
    assert 0 < analytic.attention_S.sum() < 1


@pytest.mark.parametrize("slices", [9, 12])
def test_bags_of_the_padded_size_or_more_get_no_pads(slices: int) -> None:
    padded, plain = small_network(bag_padding=9), small_network()
    h_SD = plain.encode(_slices(slices))
    with_pad = padded.pool(h_SD, padded.encode(torch.zeros(1, 3, *SIZE))[0])
    torch.testing.assert_close(with_pad.logit, plain.pool(h_SD).logit, rtol=0, atol=0)
    assert with_pad.padding_contribution is None
    assert float(padded.pool(h_SD).attention_S.sum()) == pytest.approx(1)


def test_a_missing_pad_is_a_fault_not_a_wrong_number() -> None:
    module = small_network(bag_padding=9)
    with pytest.raises(ValueError, match="zero slice is needed"):
        module.pool(module.encode(_slices(3)))


@pytest.mark.parametrize("head_hidden", [0, 8])
@pytest.mark.parametrize("bag_padding", [0, 9])
def test_evidence_weighted_by_attention_sums_to_the_logit(
    bag_padding: int, head_hidden: int
) -> None:
    module = small_network(bag_padding=bag_padding, head_hidden=head_hidden)
    h_SD = module.encode(_slices(5))
    out = module.pool(h_SD, module.encode(torch.zeros(1, 3, *SIZE))[0])
    assert out.evidence_S is not None
    total = (out.attention_S * out.evidence_S).sum()
    if bag_padding:
        assert out.padding_contribution is not None
        total = total + out.padding_contribution
    torch.testing.assert_close(total, out.logit)
    # Evidence is what the head says of the slice as a bag of its own.
    alone = torch.stack([small_network(head_hidden=head_hidden).pool(h[None]).logit for h in h_SD])
    torch.testing.assert_close(out.evidence_S, alone)


@pytest.mark.parametrize("bag_padding", [0, 9])
def test_a_head_that_is_not_linear_gives_no_evidence(bag_padding: int) -> None:
    module = small_network(activation="relu", bag_padding=bag_padding)
    h_SD = module.encode(_slices(5))
    out = module.pool(h_SD, module.encode(torch.zeros(1, 3, *SIZE))[0])
    assert out.evidence_S is None
    assert out.padding_contribution is None
    assert module(_slices(5), torch.ones(1, 5, dtype=torch.bool)).evidence_BS is None


def test_attention_by_the_formula_of_the_paper() -> None:
    module = small_network()
    h_SD = module.encode(_slices(4))
    state = module.attention.state_dict()
    value, gate = state["value.weight"], state["gate.weight"]
    for s, h_D in enumerate(h_SD):
        f = state["weight.weight"] @ (torch.tanh(value @ h_D) * torch.sigmoid(gate @ h_D))
        torch.testing.assert_close(module.pool(h_SD).attention_logit_S[s], f[0])


def test_the_order_of_slices_does_not_matter_to_the_bag() -> None:
    module = small_network(bag_padding=9)
    h_SD, pad_D = module.encode(_slices(6)), module.encode(torch.zeros(1, 3, *SIZE))[0]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    first, second = module.pool(h_SD, pad_D), module.pool(h_SD[order], pad_D)
    torch.testing.assert_close(second.logit, first.logit)
    torch.testing.assert_close(second.attention_S, first.attention_S[order])
