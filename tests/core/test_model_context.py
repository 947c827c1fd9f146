"""What mixes slices: the Sm operator against its matrix, positions, the recurrent network."""

from __future__ import annotations

import math

import pytest
import torch

from sadmil_core.model.bigru import BiGruContext
from sadmil_core.model.context_config import BiGruConfig, SmConfig, TransformerConfig
from sadmil_core.model.graph import EdgeList, SliceGraph, build_graph, chain_graph
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.model.positions import NOMINAL_SPACING_MM, known_positions
from sadmil_core.model.sm_operator import SmOperator, smooth
from sadmil_core.model.transformer import TransformerContext, encode_positions

MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] + [False] * 5])


def _graph(kind: str) -> SliceGraph:
    if kind == "chain":
        return build_graph(GraphConfig(), MASK, h_BSD=torch.zeros(3, 6, 1, dtype=torch.float64))
    if kind == "hops":
        z_BS = torch.arange(6.0, dtype=torch.float64).square().expand(3, 6)
        h_BSD = torch.zeros(3, 6, 1, dtype=torch.float64)
        config = GraphConfig(hops=3, length_mm=4.0)
        return build_graph(config, MASK, position_mm_BS=z_BS, h_BSD=h_BSD)
    pairs_E2 = torch.tensor([[0, 3], [3, 5], [1, 2], [6, 9], [7, 8]])
    weights_E = torch.tensor([1.0, 0.5, 2.0, 3.0, 0.1], dtype=torch.float64)
    edges = EdgeList(pairs_E2=pairs_E2, weights_E=weights_E)
    return build_graph(GraphConfig(edges="bag"), MASK, edges=edges)


def _matrix(graph: SliceGraph, bag: int) -> torch.Tensor:
    """The Laplacian of one bag, built as nothing in the package ever builds it."""
    a_SS = torch.zeros(6, 6, dtype=torch.float64)
    edges = graph.edge_list()
    for (first, second), weight in zip(
        edges.pairs_E2.tolist(), edges.weights_E.tolist(), strict=True
    ):
        if first // 6 == bag:
            a_SS[first % 6, second % 6] = a_SS[second % 6, first % 6] = weight
    return torch.diag(a_SS.sum(dim=1)) - a_SS


def _values(*shape: int) -> torch.Tensor:
    u = torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return u * MASK.reshape(3, 6, *[1] * (len(shape) - 2))


@pytest.mark.parametrize("kind", ["chain", "hops", "edges"])
@pytest.mark.parametrize("gamma", [0.1, 3.0, 1000.0])
def test_the_sm_operator_is_the_solution_of_its_system(kind: str, gamma: float) -> None:
    graph, u_BSD = _graph(kind), _values(3, 6, 2)
    gamma_exact = torch.tensor(gamma, dtype=torch.float64)
    found = smooth(u_BSD, gamma_exact, graph)
    for bag in range(3):
        system = torch.eye(6, dtype=torch.float64) + gamma * _matrix(graph, bag)
        expected = torch.linalg.solve(system, u_BSD[bag])
        torch.testing.assert_close(found[bag], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(smooth(u_BSD[..., 1], gamma_exact, graph), found[..., 1])


def test_two_slices_by_hand() -> None:
    """(I + L) g = u on one edge: [[2, -1], [-1, 2]] g = [3, 0]."""
    graph = chain_graph(torch.ones(1, 2, dtype=torch.bool))
    found = smooth(torch.tensor([[3.0, 0.0]]), torch.tensor(1.0), graph)
    torch.testing.assert_close(found, torch.tensor([[2.0, 1.0]]))


@pytest.mark.parametrize("kind", ["chain", "hops", "edges"])
def test_its_gradients_are_those_of_differences(kind: str) -> None:
    graph = _graph(kind)
    gamma = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for shape in ((3, 6), (3, 6, 2)):
        u = _values(*shape).requires_grad_()
        assert torch.autograd.gradcheck(lambda u, g: smooth(u, g, graph), (u, gamma))


def test_constants_stay_zeros_stay_and_damage_shows() -> None:
    graph = _graph("hops")
    constant = MASK.double() * 3
    torch.testing.assert_close(smooth(constant, torch.tensor(50.0), graph), constant)
    assert not smooth(torch.zeros(3, 6), torch.tensor(1.0), graph).any()
    broken = constant.clone()
    broken[1, 2] = math.nan
    found = smooth(broken, torch.tensor(1.0), graph)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[0], constant[0])
    with pytest.raises(TypeError, match="float32 or float64"):
        smooth(constant.bfloat16(), torch.tensor(1.0), graph)


def test_a_learned_gamma_is_a_parameter_and_stays_positive() -> None:
    module = SmOperator(SmConfig(gamma=0.5, learned=True))
    optimizer = torch.optim.SGD(module.parameters(), lr=100.0)
    module(_values(3, 6).float(), chain_graph(MASK)).square().sum().backward()
    optimizer.step()
    assert float(torch.exp(module.log_gamma.detach())) > 0.5  # less energy when smoother
    assert not SmOperator(SmConfig()).state_dict()


def test_positions_are_centred_and_made_up_where_unknown() -> None:
    mask_BS = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
    nan = math.nan
    given = torch.tensor([[10.0, 12.0, 20.0], [1.0, nan, 3.0], [5.0, 9.0, nan]])
    found = known_positions(given, mask_BS, torch.float32)
    step = NOMINAL_SPACING_MM
    torch.testing.assert_close(
        found, torch.tensor([[-5.0, -3.0, 5.0], [-step, 0.0, step], [-2.0, 2.0, 0.0]])
    )
    torch.testing.assert_close(
        known_positions(None, mask_BS, torch.float32)[2], torch.tensor([-step / 2, step / 2, 0])
    )


def test_position_codes_tell_a_thin_slice_and_a_whole_head_apart() -> None:
    code = encode_positions(torch.tensor([[0.0, 1.25, 2.5, 150.0]]), 8)[0]
    assert code.shape == (4, 8)
    torch.testing.assert_close(code[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(code[1, [0, 4]], torch.tensor([1.0, 0.0]))  # 5 mm: a quarter turn
    distance = torch.cdist(code, code)
    assert distance[distance > 0].min() > 0.5


def test_the_transformer_knows_millimetres_and_not_where_the_scanner_has_its_origin() -> None:
    torch.manual_seed(0)
    module = TransformerContext(3, TransformerConfig(width=8, heads=2, dropout=0.0)).eval()
    h_BSD, mask_BS = torch.randn(1, 5, 3), torch.ones(1, 5, dtype=torch.bool)
    z_BS = torch.tensor([[0.0, 5.0, 10.0, 15.0, 20.0]])
    with torch.no_grad():
        here = module(h_BSD, mask_BS, z_BS)
        torch.testing.assert_close(module(h_BSD, mask_BS, z_BS + 800), here)
        torch.testing.assert_close(module(h_BSD, mask_BS, None), here)  # evenly, 5 mm apart
        assert (module(h_BSD, mask_BS, z_BS / 2) - here).abs().max() > 1e-3


def test_the_recurrent_network_reads_both_ways_and_needs_the_slices_first() -> None:
    torch.manual_seed(0)
    module = BiGruContext(3, BiGruConfig(hidden=4)).eval()
    h_BSD, mask_BS = torch.randn(1, 5, 3, requires_grad=True), torch.ones(1, 5, dtype=torch.bool)
    for place in (0, 4):
        (gradient,) = torch.autograd.grad(module(h_BSD, mask_BS)[0, place].sum(), h_BSD)
        assert gradient.abs().sum(dim=-1).min() > 0
    with pytest.raises(ValueError, match="real slices of each bag first"):
        module(h_BSD, torch.tensor([[True, False, True, True, True]]))
