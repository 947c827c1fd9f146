"""Slice graphs: weights worked out by hand, bands equal edges, pads that play no part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sadmil_core.model.graph import (
    EdgeGraph,
    EdgeList,
    SliceGraph,
    build_graph,
    chain_graph,
    edges_from_matrix,
)
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.model.smoothness import smoothness

MASK = torch.tensor([[True] * 4 + [False] * 2, [True] * 6, [True] + [False] * 5])
Z = torch.tensor(
    [
        [0.0, 5.0, 10.0, 20.0, torch.nan, torch.nan],  # a slice is missing before the last
        [0.0, 4.0, 8.0, 12.0, 19.0, 26.0],
        [3.0] + [torch.nan] * 5,
    ]
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _dense(graph: SliceGraph, mask: Tensor) -> Tensor:
    """The adjacency of the whole batch, (B S, B S)."""
    edges = graph.edge_list()
    a = torch.zeros(mask.numel(), mask.numel(), dtype=torch.float64)
    i, j = edges.pairs_E2.unbind(1)
    a[i, j] = edges.weights_E.double()
    return a + a.T


CONFIGS: list[dict[str, Any]] = [
    {},
    {"hops": 2},
    {"hops": 9},
    {"length_mm": 5.0},
    {"hops": 3, "length_mm": 8.0, "gap_aware": True},
    {"similarity": 1.0},
    {"hops": 2, "gap_aware": True, "similarity": 0.5},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_bands_equal_the_list_of_their_edges_and_the_dense_laplacian(
    config: dict[str, Any],
) -> None:
    h = torch.randn(3, 6, 5, dtype=torch.float64, generator=_generator())
    f = torch.randn(3, 6, dtype=torch.float64, generator=_generator(1))
    graph = build_graph(GraphConfig(**config), MASK, position_mm_BS=Z.double(), h_BSD=h)
    listed = EdgeGraph(mask_BS=MASK, edges=graph.edge_list())
    a = _dense(graph, MASK)
    laplacian = torch.diag(a.sum(1)) - a
    expected = (laplacian @ f.reshape(-1)).reshape(3, 6)
    for each in (graph, listed):
        torch.testing.assert_close(each.laplacian(f), expected)
        torch.testing.assert_close(each.quadratic(f), (f * expected).sum(dim=1))


def test_weights_by_hand() -> None:
    e = torch.e
    hops = build_graph(GraphConfig(hops=2), MASK[:1])
    assert _pairs(hops) == {(0, 1): 1, (1, 2): 1, (2, 3): 1, (0, 2): 1, (1, 3): 1}
    mm = build_graph(GraphConfig(length_mm=5.0), MASK[:1], position_mm_BS=Z[:1])
    assert _pairs(mm) == pytest.approx({(0, 1): 1 / e, (1, 2): 1 / e, (2, 3): 1 / e**2})
    gap = build_graph(GraphConfig(gap_aware=True, hops=2), MASK[:1], position_mm_BS=Z[:1])
    assert _pairs(gap) == pytest.approx(
        {(0, 1): 1, (1, 2): 1, (2, 3): 0.5, (0, 2): 1, (1, 3): 10 / 15}
    )
    h = torch.tensor([[[0.0], [1.0], [1.0], [3.0], [torch.nan], [torch.nan]]])
    alike = build_graph(GraphConfig(similarity=1.0), MASK[:1], h_BSD=h)
    mean = (1 + 0 + 4) / 3
    assert _pairs(alike) == pytest.approx(
        {(0, 1): e ** (-1 / mean), (1, 2): 1.0, (2, 3): e ** (-4 / mean)}
    )


def _pairs(graph: SliceGraph) -> dict[tuple[int, int], float]:
    edges = graph.edge_list()
    return {
        (int(i), int(j)): float(w)
        for (i, j), w in zip(edges.pairs_E2, edges.weights_E, strict=True)
    }


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("order", [1, 2])
def test_a_bag_is_the_same_alone_and_beside_longer_ones(config: dict[str, Any], order: Any) -> None:
    h = torch.randn(3, 6, 5, dtype=torch.float64, generator=_generator())
    h[~MASK] = torch.nan
    f = torch.randn(3, 6, dtype=torch.float64, generator=_generator(1))
    f[~MASK] = torch.nan
    together = build_graph(GraphConfig(**config), MASK, position_mm_BS=Z.double(), h_BSD=h)
    penalty = smoothness(f, MASK, together, order)
    for b, size in enumerate((4, 6, 1)):
        part = (slice(b, b + 1), slice(0, size))
        alone = build_graph(
            GraphConfig(**config), MASK[part], position_mm_BS=Z.double()[part], h_BSD=h[part]
        )
        torch.testing.assert_close(
            smoothness(f[part], MASK[part], alone, order), penalty[b : b + 1]
        )


def test_a_users_matrix() -> None:
    a = torch.tensor([[7.0, 2.0, 0.5], [2.0, 0.0, 0.0], [0.5, 0.0, 1.0]], dtype=torch.float64)
    edges = edges_from_matrix(a)
    mask = torch.ones(1, 3, dtype=torch.bool)
    graph = build_graph(GraphConfig(edges="bag"), mask, edges=edges)
    f = torch.tensor([[1.0, 4.0, 3.0]], dtype=torch.float64)
    # Edges 0-1 of weight 2 and 0-2 of weight 1/2.
    assert graph.quadratic(f).tolist() == [2 * 9 + 0.5 * 4]
    assert graph.laplacian(f).tolist() == [[-2 * 3 - 0.5 * 2, 2 * 3, 0.5 * 2]]
    with pytest.raises(ValueError, match="symmetric"):
        edges_from_matrix(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="non-negative"):
        edges_from_matrix(torch.tensor([[0.0, -1.0], [-1.0, 0.0]]))
    with pytest.raises(ValueError, match="square"):
        edges_from_matrix(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("pair", "message"),
    [((0, 4), "not there"), ((0, 99), "not there"), ((0, 6), "from one bag to another")],
)
def test_an_edge_that_leads_nowhere_is_refused(pair: tuple[int, int], message: str) -> None:
    edges = EdgeList(pairs_E2=torch.tensor([pair]), weights_E=torch.ones(1))
    with pytest.raises(ValueError, match=message):
        build_graph(GraphConfig(edges="bag"), MASK, edges=edges)


def test_what_a_graph_needs_it_asks_for() -> None:
    with pytest.raises(ValueError, match="needs the positions"):
        build_graph(GraphConfig(length_mm=5.0), MASK)
    with pytest.raises(ValueError, match="some are unknown"):
        build_graph(GraphConfig(gap_aware=True), MASK, position_mm_BS=torch.full((3, 6), torch.nan))
    with pytest.raises(ValueError, match="needs the edges"):
        build_graph(GraphConfig(edges="bag"), MASK)
    with pytest.raises(ValueError, match="needs the features"):
        build_graph(GraphConfig(similarity=1.0), MASK)
    with pytest.raises(ValueError, match="come with the bags"):
        GraphConfig(edges="bag", hops=2)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("self_loops", [False, True])
def test_gradients(config: dict[str, Any], order: Any, self_loops: bool) -> None:
    h = torch.randn(3, 6, 5, dtype=torch.float64, generator=_generator())
    graph = build_graph(GraphConfig(**config), MASK, position_mm_BS=Z.double(), h_BSD=h)
    f = torch.randn(3, 6, dtype=torch.float64, generator=_generator(1), requires_grad=True)
    for each in (graph, EdgeGraph(mask_BS=MASK, edges=graph.edge_list())):
        assert torch.autograd.gradcheck(
            lambda f, g=each: smoothness(f, MASK, g, order, self_loops=self_loops), f
        )


def test_the_authors_laplacian_by_hand() -> None:
    f = torch.tensor([[1.0, 3.0, 0.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    graph = chain_graph(mask)
    # D + I - A: S1 gains |f|^2 = 10, and L f becomes (-2, 5, -3) + f.
    assert smoothness(f, mask, graph, 1, self_loops=True).tolist() == pytest.approx([23 / 3])
    assert smoothness(f, mask, graph, 2, self_loops=True).tolist() == pytest.approx(
        [(1 + 64 + 9) / 3]
    )


def test_no_gradient_passes_through_similarity() -> None:
    h = torch.randn(1, 4, 2, generator=_generator(), requires_grad=True)
    mask = torch.ones(1, 4, dtype=torch.bool)
    graph = build_graph(GraphConfig(similarity=1.0), mask, h_BSD=h)
    assert not graph.edge_list().weights_E.requires_grad


def test_a_graph_says_what_it_is() -> None:
    assert GraphConfig().describe() == "chain"
    config = GraphConfig(hops=2, length_mm=5.0, gap_aware=True, similarity=0.5)
    assert config.describe() == "2 hops, exp(-dz/5 mm), gap-aware, similarity 0.5"
