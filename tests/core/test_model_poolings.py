"""Poolings without attention, probabilistic attention and Normal Guidance, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sadmil_core.model.config import AttentionConfig
from sadmil_core.model.graph import chain_graph
from sadmil_core.model.normal_guidance import normal_guidance
from sadmil_core.model.pooling import instance_max, noisy_or, pool_max, pool_mean
from sadmil_core.model.probabilistic import ProbabilisticAttention, divergence, fixed_noise

MASK = torch.tensor([[True, True, True], [True, True, False]])
H = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [2.0, 0.0]], [[1.0, 2.0], [-3.0, 4.0], [9.0, 9.0]]])


def test_mean_and_maximum_of_features() -> None:
    z_BD, a_BS = pool_mean(H, MASK)
    torch.testing.assert_close(z_BD, torch.tensor([[2.0, 10 / 3], [-1.0, 3.0]]))
    torch.testing.assert_close(a_BS, torch.tensor([[1 / 3] * 3, [0.5, 0.5, 0.0]]))
    z_BD, a_BS = pool_max(H, MASK)
    torch.testing.assert_close(z_BD, torch.tensor([[3.0, 5.0], [1.0, 4.0]]))
    # Of the first bag's two features one is the second slice's, one is shared with the first.
    torch.testing.assert_close(a_BS, torch.tensor([[0.25, 0.75, 0.0], [0.5, 0.5, 0.0]]))


def test_maximum_of_probabilities_and_noisy_or() -> None:
    p_BS = torch.tensor([[0.5, 0.2, 0.5], [0.9, 0.5, 0.99]], dtype=torch.float64)
    logit_B, a_BS = instance_max(torch.logit(p_BS), MASK)
    torch.testing.assert_close(torch.sigmoid(logit_B), torch.tensor([0.5, 0.9]).double())
    torch.testing.assert_close(a_BS, torch.tensor([[0.5, 0, 0.5], [1, 0, 0]]).double())
    logit_B, a_BS = noisy_or(torch.logit(p_BS), MASK)
    torch.testing.assert_close(torch.sigmoid(logit_B), torch.tensor([0.8, 0.95]).double())
    share = math.log(0.1) / math.log(0.05)
    torch.testing.assert_close(a_BS[1], torch.tensor([share, 1 - share, 0]).double())


@pytest.mark.parametrize("level", [-80.0, -5.0, 5.0, 80.0])
def test_noisy_or_neither_overflows_nor_loses_small_probabilities(level: float) -> None:
    logit_BS = torch.full((1, 4), level, requires_grad=True)
    logit_B, a_BS = noisy_or(logit_BS, torch.ones(1, 4, dtype=torch.bool))
    expected = level + math.log(4) if level < -20 else None
    if expected is not None:
        assert float(logit_B.detach()) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(a_BS.detach(), torch.full((1, 4), 0.25))
    logit_B.sum().backward()
    assert logit_BS.grad is not None
    assert torch.isfinite(logit_BS.grad).all()
    assert (logit_BS.grad > 0).all()


def test_gradients_of_the_poolings() -> None:
    h_BSD, logit_BS = H.double().requires_grad_(), H[..., 0].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda h: pool_mean(h, MASK)[0], h_BSD)
    assert torch.autograd.gradcheck(lambda f: noisy_or(f, MASK)[0], logit_BS)


def _attention(samples: int = 64) -> ProbabilisticAttention:
    torch.manual_seed(0)
    config = AttentionConfig(hidden=4, probabilistic=True, samples=samples)
    return ProbabilisticAttention(2, config).double()


def test_draws_are_fixed_whatever_the_length_and_have_no_mean() -> None:
    whole = fixed_noise(60, 64)
    for slices in (1, 2, 3, 7, 16, 59):
        assert torch.equal(fixed_noise(slices, 64), whole[:slices])
    torch.testing.assert_close(whole.mean(dim=1), torch.zeros(60))
    assert 0.9 < float(whole.std()) < 1.1


def test_attention_and_its_deviation_are_those_of_many_draws() -> None:
    module = _attention(samples=1024).eval()
    mean_BS, sd_BS = torch.tensor([[0.5, -0.2, 7.0]]).double(), torch.tensor([[0.3, 0.8, 1.0]])
    mask_BS = torch.tensor([[True, True, False]])
    a_BS, a_sd_BS = module.weigh(mean_BS, sd_BS.double(), mask_BS)
    # With two slices the weight is sigmoid of a normal variable: an integral in one dimension.
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2)
    density = density / density.sum()
    weight = torch.sigmoid(0.7 + math.sqrt(0.3**2 + 0.8**2) * x)
    first = float((density * weight).sum())
    deviation = math.sqrt(float((density * weight.square()).sum()) - first**2)
    assert float(a_BS[0, 0]) == pytest.approx(first, abs=0.01)
    assert float(a_BS.sum()) == pytest.approx(1)
    torch.testing.assert_close(
        a_sd_BS[0], torch.tensor([deviation, deviation, 0]).double(), rtol=0.06, atol=1e-12
    )
    no_doubt = module.weigh(mean_BS, torch.zeros_like(mean_BS), mask_BS)
    expected = torch.cat([torch.softmax(mean_BS[:, :2], dim=1), torch.zeros(1, 1)], dim=1)
    torch.testing.assert_close(no_doubt[0], expected)
    assert no_doubt[1].abs().max() < 1e-7


def test_training_draws_anew_and_gradients_reach_mean_and_variance() -> None:
    module = _attention().train()
    h_BSD = torch.randn(1, 5, 2, dtype=torch.float64)
    mask_BS = torch.ones(1, 5, dtype=torch.bool)
    mean_BS, sd_BS = module.distribution(h_BSD)
    first, second = (module.weigh(mean_BS, sd_BS, mask_BS)[0] for _ in range(2))
    assert not torch.equal(first, second)
    first[0, 0].backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_the_divergence_from_independent_slices_is_that_of_torch() -> None:
    mean_BS = torch.tensor([[0.5, -1.0, 2.0], [0.3, 0.1, math.nan]])
    sd_BS = torch.tensor([[1.0, 0.5, 2.0], [0.2, 3.0, math.nan]])
    found = divergence(mean_BS, sd_BS, MASK)
    for bag, count in ((0, 3), (1, 2)):
        q = torch.distributions.Normal(mean_BS[bag, :count], sd_BS[bag, :count])
        prior = torch.distributions.Normal(torch.zeros(count), torch.ones(count))
        expected = torch.distributions.kl_divergence(q, prior).sum() / count
        torch.testing.assert_close(found[bag], expected)


def test_the_divergence_from_a_smooth_prior_is_that_of_its_matrix() -> None:
    mean_BS = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    sd_BS = torch.tensor([[1.0, 0.5, 2.0]], dtype=torch.float64, requires_grad=True)
    laplacian = torch.tensor([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]], dtype=torch.float64)
    precision = torch.eye(3, dtype=torch.float64) + 2.5 * laplacian
    graph = chain_graph(MASK[:1])
    q = torch.distributions.MultivariateNormal(mean_BS[0], torch.diag(sd_BS[0].square()))
    prior = torch.distributions.MultivariateNormal(
        torch.zeros(3, dtype=torch.float64), precision_matrix=precision
    )
    # The prior's log-determinant is left out: it moves with nothing that is learned.
    expected = torch.distributions.kl_divergence(q, prior) + 0.5 * torch.logdet(precision)
    found = divergence(mean_BS, sd_BS, MASK[:1], graph, 2.5)
    torch.testing.assert_close(found[0], expected / 3)
    assert torch.autograd.gradcheck(
        lambda m, s: divergence(m, s, MASK[:1], graph, 2.5), (mean_BS, sd_BS)
    )


def test_a_bell_along_the_stack_costs_nothing_and_two_heaps_much() -> None:
    z_BS = torch.arange(41.0, dtype=torch.float64)[None] * 5 - 300
    mask_BS = torch.ones(1, 41, dtype=torch.bool)
    bell = torch.softmax(-(z_BS + 190).square() / (2 * 15.0**2), dim=1)
    assert float(normal_guidance(bell, z_BS, mask_BS)) == pytest.approx(0, abs=1e-6)
    one = torch.zeros(1, 41, dtype=torch.float64)
    one[0, 3] = 1
    assert float(normal_guidance(one, z_BS, mask_BS)) == pytest.approx(0, abs=1e-3)
    two = torch.zeros(1, 41, dtype=torch.float64)
    two[0, [5, 35]] = 0.5
    # Mean 20, variance 225 in slices: KL is -log 2 - log q(5), q the normal's discrete form.
    s = torch.arange(41.0, dtype=torch.float64)
    q = torch.softmax(-(s - 20).square() / (2 * 225.0), dim=0)
    expected = -math.log(2) - float(torch.log(q[5]))
    assert float(normal_guidance(two, z_BS, mask_BS)) == pytest.approx(expected)
    assert expected > 2


def test_guidance_of_a_bag_is_its_own_and_in_any_unit() -> None:
    generator = torch.Generator().manual_seed(3)
    f_BS = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    a_BS = torch.softmax(f_BS, dim=1)
    z_BS = torch.tensor([[0.0, 4.0, 9.0, 13.0, 21.0, 26.0]], dtype=torch.float64)
    alone = normal_guidance(a_BS, z_BS, torch.ones(1, 6, dtype=torch.bool))
    wide = torch.cat([a_BS, torch.full((1, 3), 0.2)], dim=1)
    mask_BS = torch.tensor([[True] * 6 + [False] * 3])
    z_wide = torch.cat([z_BS, torch.full((1, 3), math.nan)], dim=1)
    torch.testing.assert_close(normal_guidance(wide, z_wide, mask_BS), alone)
    torch.testing.assert_close(normal_guidance(0.5 * wide, 7 * z_wide + 30, mask_BS), alone)
    assert float(normal_guidance(wide[:, :1], None, mask_BS[:, :1])) == 0


def test_gradients_of_guidance_are_those_of_differences_and_never_nan() -> None:
    z_BS = torch.tensor([[0.0, 5.0, 10.0, 15.0], [0.0, 5.0, 10.0, math.nan]], dtype=torch.float64)
    mask_BS = torch.tensor([[True] * 4, [True] * 3 + [False]])
    f_BS = torch.tensor([[0.1, 2.0, -1.0, 0.4], [1.0, 0.0, 2.0, 0.0]], dtype=torch.float64)

    def guidance(f: torch.Tensor) -> torch.Tensor:
        a = torch.softmax(f.masked_fill(~mask_BS, -math.inf), dim=1)
        return normal_guidance(a, z_BS, mask_BS)

    assert torch.autograd.gradcheck(guidance, f_BS.requires_grad_())
    sharp = (f_BS.detach() * 1e4).requires_grad_()  # all of the attention on one slice
    guidance(sharp).sum().backward()
    assert sharp.grad is not None
    assert torch.isfinite(sharp.grad).all()
