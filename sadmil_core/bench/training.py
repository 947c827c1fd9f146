"""Training: a step against the plain module's, smoothness, and memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sadmil_core.bench import Comparison, compare, of_pairs
from sadmil_core.bench.trainside import SideSettings, random_scan, side, step_config
from sadmil_core.experiments.arms import ATT_MIL
from sadmil_core.training.singlestep import SingleStep

if TYPE_CHECKING:
    from sadmil_core.bench.trainside import Side

_STEP_LIMIT, _BF16_LIMIT, _SMOOTHNESS_LIMIT = 0.70, 0.40, 0.01
_PLAIN = "plain module, default memory format, fp32"


def measure_training(
    slices: int = 32, size: int = 512, runs: int = 5, threads: int = 2
) -> tuple[list[Comparison], dict[str, Any]]:
    """Steps of the published network, each way in a process of its own.

    Args:
        slices: Of the scan.
        size: Rows and columns.
        runs: Rounds; in each, the ways make a step in turn.
        threads: Of torch.

    Returns:
        The comparisons, and the peak memory of a step by way. bf16 is left out where the
        processor does not compute in it.
    """
    ours = SideSettings(slices=slices, size=size, threads=threads)
    what = f"training step of {slices} x {size} x {size}"
    with side(ours) as fast, side(replace(ours, way="plain")) as plain:
        found = [
            compare(
                f"{what}, fp32, {threads} threads",
                fast.step,
                plain.step,
                other=_PLAIN,
                limit=_STEP_LIMIT,
                runs=runs,
            ),
            *(_smoothness_share(fast, order, runs) for order in (1, 2)),
        ]
        memory = {"fp32": fast.peak_mb(), "plain, fp32": plain.peak_mb()}
        if has_bf16():
            with side(replace(ours, precision="bf16")) as half:
                found.append(
                    compare(
                        f"{what}, bf16, {threads} threads",
                        half.step,
                        plain.step,
                        other=_PLAIN,
                        limit=_BF16_LIMIT,
                        runs=runs,
                    )
                )
                memory["bf16"] = half.peak_mb()
        with side(replace(ours, checkpointing=True)) as saving:
            found.append(
                compare(
                    f"{what}, fp32, activation checkpointing",
                    saving.step,
                    fast.step,
                    other="the same step without",
                    limit=None,
                    runs=max(1, runs // 2),
                )
            )
            memory["fp32, activation checkpointing"] = saving.peak_mb()
    return found, {"name": f"peak memory of a {what} beside the start, in MB", "mb": memory}


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16 rather than by way of float32."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _smoothness_share(ours: Side, order: int, runs: int) -> Comparison:
    ours.smoothness(order)
    return of_pairs(
        f"S{order} on the chain: graph, penalty and its gradient",
        [(ours.smoothness(order), ours.step()) for _ in range(runs)],
        other="the whole training step",
        limit=_SMOOTHNESS_LIMIT,
    )


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the tensor operations that are called, of whatever module."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def inference_operations(slices: int = 4, size: int = 256) -> dict[str, Any]:
    """What the published network computes for a scan after a step of Att-MIL, S1 and S2.

    Returns:
        The number of tensor operations of each, and how many differ from those of Att-MIL.
    """
    settings, cpu = SideSettings(slices=slices, size=size), torch.device("cpu")
    config, batch = step_config(settings), random_scan(settings)
    objectives = {ATT_MIL: replace(config.objective, alpha=0.0)} | {
        f"S{order}": replace(config.objective, order=order) for order in (1, 2)
    }
    counts: dict[str, Counter[str]] = {}
    for name, objective in objectives.items():
        step = SingleStep(replace(config, objective=objective), batch, cpu)
        step.train()
        with _Operations() as seen:
            step.infer()
        counts[name] = seen.counts
    differing = sum(
        ((c - counts[ATT_MIL]) + (counts[ATT_MIL] - c)).total() for c in counts.values()
    )
    return {
        "name": "tensor operations of a prediction by what the network was trained with",
        "operations": {name: c.total() for name, c in counts.items()},
        "differing": differing,
        "limit": 0,
    }
