"""Graphs over the instances of bags, and their Laplacians (arXiv 2307.09457, section 3).

A is the adjacency (symmetric, non-negative), D its degrees, L = D - A. What smoothness needs of
a graph is two products, and neither ever builds an S x S matrix:

    f' L f = sum over edges A_ij (f_i - f_j)^2        (L f)_i = sum over j of A_ij (f_i - f_j)

Graphs of neighbouring slices are kept as the diagonals of A (:class:`BandedGraph`), any other
one as a list of edges (:class:`EdgeGraph`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from sadmil_core.model.graph_config import GraphConfig

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeList:
    """Weighted edges of one bag, or of the B bags of a padded batch.

    Attributes:
        pairs_E2: (E, 2) int64, each edge once, as indices into the bag's S instances, or
            into the batch's B * S places.
        weights_E: (E,) non-negative.
    """

    pairs_E2: Tensor
    weights_E: Tensor

    def to(self, device: torch.device) -> EdgeList:
        """The same edges on a device."""
        return EdgeList(pairs_E2=self.pairs_E2.to(device), weights_E=self.weights_E.to(device))


def edges_from_matrix(adjacency_SS: Tensor) -> EdgeList:
    """The edges of a user's adjacency matrix; its diagonal plays no part in L.

    Raises:
        ValueError: The matrix is not square, symmetric, finite and non-negative.
    """
    a = adjacency_SS
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"an adjacency matrix must be square, not {tuple(a.shape)}")
    if not bool(torch.isfinite(a).all()) or bool((a < 0).any()):
        raise ValueError("an adjacency matrix must be finite and non-negative")
    if not torch.allclose(a, a.T):
        raise ValueError("an adjacency matrix must be symmetric")
    upper_SS = torch.triu(a, diagonal=1)
    pairs_E2 = upper_SS.nonzero()
    return EdgeList(pairs_E2=pairs_E2, weights_E=upper_SS[pairs_E2[:, 0], pairs_E2[:, 1]])


class SliceGraph(Protocol):
    """The graphs of the bags of a batch; values outside the bags never matter."""

    def quadratic(self, f_BS: Tensor) -> Tensor:
        """F' L f of each bag, (B,)."""

    def laplacian(self, f_BS: Tensor) -> Tensor:
        """L f, (B, S); 0 outside the bags."""

    def edge_list(self) -> EdgeList:
        """The edges of weight above 0, as indices into B * S places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandedGraph:
    """A graph of neighbouring slices: the k-th band holds A[s, s + k].

    Attributes:
        mask_BS: True for real slices.
        bands_BS: One (B, S - k) tensor for each k from 1; 0 where either slice is not real.
    """

    mask_BS: Tensor
    bands_BS: tuple[Tensor, ...]

    def quadratic(self, f_BS: Tensor) -> Tensor:
        """As :meth:`SliceGraph.quadratic`, in O(S k)."""
        f_BS = _only_real(f_BS, self.mask_BS)
        terms = [(w * _steps(f_BS, k).square()).sum(dim=-1) for k, w in self._bands()]
        return torch.stack(terms).sum(dim=0)

    def laplacian(self, f_BS: Tensor) -> Tensor:
        """As :meth:`SliceGraph.laplacian`, in O(S k)."""
        f_BS = _only_real(f_BS, self.mask_BS)
        total_BS = torch.zeros_like(f_BS)
        for k, w in self._bands():
            flow = w * _steps(f_BS, k)
            total_BS = total_BS + pad(flow, (k, 0)) - pad(flow, (0, k))
        return total_BS

    def edge_list(self) -> EdgeList:
        """As :meth:`SliceGraph.edge_list`."""
        size = self.mask_BS.shape[1]
        pairs, weights = [], []
        for k, w in self._bands():
            bag, first = w.nonzero(as_tuple=True)
            pairs.append(torch.stack([bag * size + first, bag * size + first + k], dim=1))
            weights.append(w[bag, first])
        return EdgeList(pairs_E2=torch.cat(pairs), weights_E=torch.cat(weights))

    def _bands(self) -> list[tuple[int, Tensor]]:
        return list(enumerate(self.bands_BS, start=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeGraph:
    """A graph given by its edges.

    Attributes:
        mask_BS: True for real instances.
        edges: Indices into the B * S places; both ends real, and of one bag.
    """

    mask_BS: Tensor
    edges: EdgeList

    def quadratic(self, f_BS: Tensor) -> Tensor:
        """As :meth:`SliceGraph.quadratic`, in O(E)."""
        step_E = self._step(f_BS)
        bag_E = self.edges.pairs_E2[:, 0] // self.mask_BS.shape[1]
        zero_B = f_BS.new_zeros(self.mask_BS.shape[0])
        return zero_B.index_add(0, bag_E, self._weights(f_BS) * step_E.square())

    def laplacian(self, f_BS: Tensor) -> Tensor:
        """As :meth:`SliceGraph.laplacian`, in O(E)."""
        flow_E = self._weights(f_BS) * self._step(f_BS)
        first_E, second_E = self.edges.pairs_E2.unbind(dim=1)
        total = f_BS.new_zeros(f_BS.numel()).index_add(0, second_E, flow_E)
        return total.index_add(0, first_E, -flow_E).reshape(f_BS.shape)

    def edge_list(self) -> EdgeList:
        """As :meth:`SliceGraph.edge_list`."""
        kept = self.edges.weights_E > 0
        return EdgeList(pairs_E2=self.edges.pairs_E2[kept], weights_E=self.edges.weights_E[kept])

    def _step(self, f_BS: Tensor) -> Tensor:
        f = f_BS.reshape(-1)
        return f[self.edges.pairs_E2[:, 1]] - f[self.edges.pairs_E2[:, 0]]

    def _weights(self, f_BS: Tensor) -> Tensor:
        return self.edges.weights_E.to(f_BS.dtype)


def build_graph(
    config: GraphConfig,
    mask_BS: Tensor,
    *,
    position_mm_BS: Tensor | None = None,
    h_BSD: Tensor | None = None,
    edges: EdgeList | None = None,
) -> SliceGraph:
    """The graphs of a batch of bags.

    Args:
        config: Which graph.
        mask_BS: True for real slices.
        position_mm_BS: Position of each slice along its stack, where the config needs it.
        h_BSD: Features, where the config weighs by similarity; no gradient passes.
        edges: The bags' own, for a config that takes them; indices into B * S places.

    Raises:
        ValueError: Something that the config needs is missing or not finite, or an edge leads
            out of its bag.
    """
    if config.edges == "bag":
        return _edge_graph(config, mask_BS, h_BSD, edges)
    return _banded_graph(config, mask_BS, position_mm_BS, h_BSD)


def chain_graph(mask_BS: Tensor) -> BandedGraph:
    """The paper's graph: each slice is joined with the next one, all with weight 1."""
    return BandedGraph(mask_BS=mask_BS, bands_BS=(_joined(mask_BS, 1).float(),))


def _banded_graph(
    config: GraphConfig, mask_BS: Tensor, position_mm_BS: Tensor | None, h_BSD: Tensor | None
) -> BandedGraph:
    hops = range(1, min(config.hops, mask_BS.shape[1] - 1) + 1) or range(1, 2)
    dtype = torch.float32 if h_BSD is None else h_BSD.dtype
    joined = [_joined(mask_BS, k) for k in hops]
    bands = [j.to(dtype) for j in joined]
    if config.needs_positions:
        z_BS = _known_positions(position_mm_BS, mask_BS)
        median_B1 = _median_spacing(z_BS, mask_BS)
        for i, k in enumerate(hops):
            dz = _steps(z_BS, k).abs().to(dtype)
            if config.length_mm is not None:
                bands[i] = bands[i] * torch.exp(-dz / config.length_mm)
            if config.gap_aware:
                # Slices at one position (dz = 0) are as close as can be: full weight.
                expected = k * median_B1.to(dtype)
                bands[i] = bands[i] * (expected / dz.clamp(min=1e-6)).clamp(max=1.0)
        bands = [torch.where(j, w, 0.0) for j, w in zip(joined, bands, strict=True)]
    if config.similarity is not None:
        h = torch.where(mask_BS[..., None], _needed(h_BSD, "features"), 0.0).detach()
        d2 = [(h[:, k:] - h[:, :-k]).square().sum(dim=-1) for k in hops]
        # The mean runs over all hops of a bag, so that near edges stay stronger than far ones.
        total = torch.stack([(x * j).sum(dim=-1) for x, j in zip(d2, joined, strict=True)])
        count = torch.stack([j.sum(dim=-1) for j in joined]).sum(dim=0).clamp(min=1)
        scale_B1 = _scale(total.sum(dim=0) / count, config.similarity)[:, None]
        bands = [w * torch.exp(-x / scale_B1) for w, x in zip(bands, d2, strict=True)]
    return BandedGraph(mask_BS=mask_BS, bands_BS=tuple(bands))


def _edge_graph(
    config: GraphConfig, mask_BS: Tensor, h_BSD: Tensor | None, edges: EdgeList | None
) -> EdgeGraph:
    edges = _needed(edges, "edges")
    bags, size = mask_BS.shape
    first_E, second_E = edges.pairs_E2.unbind(dim=1)
    real = mask_BS.reshape(-1)
    inside = bool(((edges.pairs_E2 >= 0) & (edges.pairs_E2 < bags * size)).all())
    if not inside or not bool((real[first_E] & real[second_E]).all()):
        raise ValueError("an edge leads to an instance that is not there")
    if bool((first_E // size != second_E // size).any()):
        raise ValueError("an edge leads from one bag to another")
    weights_E = edges.weights_E
    if not bool(torch.isfinite(weights_E).all()) or bool((weights_E < 0).any()):
        raise ValueError("the weights of edges must be finite and non-negative")
    if config.similarity is not None:
        h = _needed(h_BSD, "features").detach().flatten(0, 1)
        d2_E = (h[first_E] - h[second_E]).square().sum(dim=-1)
        bag_E = first_E // size
        total_B = d2_E.new_zeros(bags).index_add(0, bag_E, d2_E)
        count_B = torch.bincount(bag_E, minlength=bags).clamp(min=1)
        scale_B = _scale(total_B / count_B, config.similarity)
        weights_E = weights_E.to(d2_E.dtype) * torch.exp(-d2_E / scale_B[bag_E])
    return EdgeGraph(mask_BS=mask_BS, edges=EdgeList(pairs_E2=edges.pairs_E2, weights_E=weights_E))


def _joined(mask_BS: Tensor, k: int) -> Tensor:
    return mask_BS[:, k:] & mask_BS[:, :-k]


def _steps(f_BS: Tensor, k: int) -> Tensor:
    return f_BS[:, k:] - f_BS[:, :-k]


def _only_real(f_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Zeros in place of what stands outside the bags, whatever it is: 0 * NaN would be NaN."""
    return torch.where(mask_BS, f_BS, torch.zeros((), dtype=f_BS.dtype, device=f_BS.device))


def _scale(mean_d2_B: Tensor, similarity: float) -> Tensor:
    """The squared distance at which an edge has lost 63 % of its weight; equal features: any."""
    return similarity * torch.where(mean_d2_B > 0, mean_d2_B, 1.0)


def _median_spacing(z_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """(B, 1), the median distance of neighbouring real slices."""
    if z_BS.shape[1] < 2:
        return z_BS.new_zeros(z_BS.shape)
    nan = torch.full((), float("nan"), dtype=z_BS.dtype, device=z_BS.device)
    dz = torch.where(_joined(mask_BS, 1), _steps(z_BS, 1).abs(), nan)
    return torch.nanmedian(dz, dim=-1, keepdim=True).values.nan_to_num(nan=0.0)


def _known_positions(position_mm_BS: Tensor | None, mask_BS: Tensor) -> Tensor:
    z_BS = _needed(position_mm_BS, "positions of the slices")
    if not bool(torch.isfinite(z_BS[mask_BS]).all()):
        raise ValueError("this graph needs the positions of the slices, and some are unknown")
    return _only_real(z_BS, mask_BS)


def _needed(value: _T | None, what: str) -> _T:
    if value is None:
        raise ValueError(f"this graph needs the {what}")
    return value
