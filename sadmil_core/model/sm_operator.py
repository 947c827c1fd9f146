"""The Sm operator: G = (I + gamma L)^-1 U, solved over the slice graph.

Castro-Macias, Morales-Alvarez, Wu, Molina, Katsaggelos, "Sm: enhanced localization in Multiple
Instance Learning for medical imaging classification", NeurIPS 2024, arXiv 2410.03276. G is
the minimiser of |G - U|^2 + gamma tr(G' L G): as close to U as smoothness allows. Their
alpha in (0, 1) is gamma / (1 + gamma).

The system is symmetric and positive definite, and the graph gives its product with a vector in
O(S) or O(E): conjugate gradients, no matrix. Its backward is the same solve.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from sadmil_core.model.context_config import SmConfig
    from sadmil_core.model.graph import SliceGraph

_MAX_STEPS = 500
_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


class SmOperator(nn.Module):
    """Smooths values over the slices of each bag; constants are left as they are."""

    def __init__(self, config: SmConfig) -> None:
        super().__init__()
        log_gamma = torch.tensor(math.log(config.gamma))
        self.log_gamma: Tensor
        if config.learned:
            self.log_gamma = nn.Parameter(log_gamma)
        else:
            self.register_buffer("log_gamma", log_gamma, persistent=False)

    def forward(self, u: Tensor, graph: SliceGraph) -> Tensor:
        """Returns the smooth values, (B, S) or (B, S, D) as given; 0 outside the bags."""
        return smooth(u, torch.exp(self.log_gamma), graph)


def smooth(u: Tensor, gamma: Tensor, graph: SliceGraph) -> Tensor:
    """(I + gamma L)^-1 u.

    Args:
        u: (B, S), or (B, S, D) with each feature smoothed by itself; 0 outside the bags.
        gamma: A non-negative scalar.
        graph: Over the slices; no gradient passes to its weights.
    """
    if u.dtype not in _TOLERANCE:
        raise TypeError(f"the Sm operator needs float32 or float64, not {u.dtype}")
    result: Tensor = _Smooth.apply(u, gamma, graph)  # type: ignore[no-untyped-call]
    return result


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, gamma: Tensor, graph: SliceGraph) -> Tensor:
        gamma = gamma.to(u.dtype)
        solution = _solve(u, gamma, graph)
        ctx.graph = graph
        ctx.save_for_backward(solution, gamma)
        return solution

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        solution, gamma = ctx.saved_tensors
        adjoint = _solve(gradient, gamma, ctx.graph)
        by_gamma = None
        if ctx.needs_input_grad[1]:
            # d/dgamma of (I + gamma L) g = u is -(I + gamma L)^-1 L g.
            by_gamma = -(adjoint * _laplacian(solution, ctx.graph)).sum()
        return adjoint, by_gamma, None


def _laplacian(u: Tensor, graph: SliceGraph) -> Tensor:
    if u.ndim == 2:
        return graph.laplacian(u)
    by_feature = torch.vmap(graph.laplacian, in_dims=-1, out_dims=-1)
    result: Tensor = by_feature(u)
    return result


def _solve(u: Tensor, gamma: Tensor, graph: SliceGraph) -> Tensor:
    """Conjugate gradients on each bag and feature by itself.

    A column stops when it has converged, so that its digits do not depend on the others.
    """
    x = torch.zeros_like(u)
    residual = u.clone()
    direction = residual
    start = power = residual.square().sum(dim=1, keepdim=True)
    enough = power * _TOLERANCE[u.dtype] ** 2
    for _ in range(_MAX_STEPS):
        active = power > enough
        if not bool(active.any()):
            break
        image = direction + gamma * _laplacian(direction, graph)
        curvature = (direction * image).sum(dim=1, keepdim=True)
        step = torch.where(active, power / curvature, 0.0)
        x = x + step * direction
        residual = residual - step * image
        fresh = torch.where(active, residual.square().sum(dim=1, keepdim=True), power)
        direction = residual + torch.where(active, fresh / power, 0.0) * direction
        power = fresh
    return x + 0.0 * start  # a column that is not finite has not converged, and must show it
