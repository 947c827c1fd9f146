"""What smoothness costs: time and memory of S1 and S2 against none, in training and inference.

All variants are timed in turn in each round, and it is the ratios within a round that count: what
else the machine does slows neighbours alike. Their median over the rounds is reported, with the
95 % interval of a median by order statistics.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.data.bags import BagSample, collate
from sadmil_core.errors import ConfigError
from sadmil_core.evaluation.report_html import Cell, Grid, Row
from sadmil_core.experiments.arms import ATT_MIL, smoothed, without_smoothness
from sadmil_core.experiments.report import TITLES, head_document, html_page, write_json
from sadmil_core.model.graph import EdgeList
from sadmil_core.progress import Progress, no_progress
from sadmil_core.training.singlestep import SingleStep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sadmil_core.data.bags import Batch
    from sadmil_core.experiments.config import ExperimentConfig

_SPACING_MM = 5.0
_LEAST_S = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one variant costs.

    Attributes:
        name: Of the variant.
        training_s: Median time of a step (forward, loss, backward, optimizer).
        training_ratio: Median over rounds of its time by that of Att-MIL, and its interval.
        inference_s: Median time of reading the same bags.
        inference_ratio: As ``training_ratio``.
        kept_mb: Memory kept for the backward pass, 10^6 bytes, each tensor once; the network's
            own parameters apart.
        kept_ratio: By that of Att-MIL.
        peak_mb: The most that the graphics card held in a step; None on a CPU.
    """

    name: str
    training_s: float
    training_ratio: tuple[float, float, float]
    inference_s: float
    inference_ratio: tuple[float, float, float]
    kept_mb: float
    kept_ratio: float
    peak_mb: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """The costs of all variants, and on what they were measured.

    Attributes:
        costs: Att-MIL first.
        device: Where.
        threads: Of torch.
        facts: In words.
    """

    costs: tuple[Cost, ...]
    device: str
    threads: int
    facts: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was and was not shown."""
        return tuple(
            _sentence(cost, phase)
            for cost in self.costs[1:]
            for phase in ("training", "inference", "memory")
        )


def _sentence(cost: Cost, phase: str) -> str:
    if phase == "memory":
        return (
            f"{cost.name} keeps {cost.kept_ratio:.4f} times the memory of {ATT_MIL} for the "
            f"backward pass ({cost.kept_mb:.3f} MB)."
        )
    ratio, low, high = cost.training_ratio if phase == "training" else cost.inference_ratio
    what = "a training step" if phase == "training" else "inference"
    text = f"median ratio {ratio:.4f} [{low:.4f}, {high:.4f}]"
    if low <= 1 <= high:
        return f"Not shown: that {cost.name} changes the time of {what} ({text})."
    more = "longer" if ratio > 1 else "shorter"
    return f"{cost.name} makes {what} {abs(ratio - 1):.1%} {more} ({text})."


def measure_overhead(
    config: ExperimentConfig,
    *,
    device: torch.device | None = None,
    progress: Progress = no_progress,
) -> Overhead:
    """Measures S1 and S2 on the training's graph against none, on random bags.

    Args:
        config: Of the experiment; the first of its alphas is taken.
        device: None for CUDA, if any, else the CPU.
        progress: Told after each round.

    Raises:
        ConfigError: The network is of features of unknown number.
    """
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, settings = config.train, config.overhead
    alpha = config.alphas[0]
    variants = {ATT_MIL: without_smoothness(train)} | {
        f"S{order}": smoothed(train, alpha, order, train.objective.graph) for order in config.orders
    }
    batch = _random_bags(config).to(device)
    steps = {name: SingleStep(variant, batch, device) for name, variant in variants.items()}
    for step in steps.values():  # the first steps allocate
        step.train()
        step.infer()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    names = list(steps)
    plain = steps[ATT_MIL]
    repeats = [_repeats(work, device) for work in (plain.train, plain.infer)]
    for number in range(settings.rounds):
        # Another one is first in each round: what comes after a pause is slower.
        turn = number % len(names)
        order = names[turn:] + names[:turn]
        training = {n: _seconds(steps[n].train, device, repeats[0]) for n in order}
        inference = {n: _seconds(steps[n].infer, device, repeats[1]) for n in order}
        for name in names:
            times[name].append((training[name], inference[name]))
        progress(number + 1, settings.rounds, "measuring")
    kept = {name: step.kept_bytes() for name, step in steps.items()}
    base, measured = np.array(times[ATT_MIL]), {n: np.array(t) for n, t in times.items()}
    costs = tuple(
        Cost(
            name=name,
            training_s=float(np.median(each[:, 0])),
            training_ratio=_median(each[:, 0] / base[:, 0]),
            inference_s=float(np.median(each[:, 1])),
            inference_ratio=_median(each[:, 1] / base[:, 1]),
            kept_mb=kept[name] / 1e6,
            kept_ratio=kept[name] / kept[ATT_MIL],
            peak_mb=steps[name].peak_mb(),
        )
        for name, each in measured.items()
    )
    threads = torch.get_num_threads()
    return Overhead(
        costs=costs,
        device=str(device),
        threads=threads,
        facts=f"{settings.bags} bag(s) of {settings.slices} slices, alpha {alpha:g}, "
        f"{train.objective.graph.describe()}; {settings.rounds} rounds on {device}, "
        f"{threads} threads.",
    )


def _random_bags(config: ExperimentConfig) -> Batch:
    model, settings = config.train.model, config.overhead
    if model is None:
        raise ValueError("an experiment's training has a model")
    generator = torch.Generator().manual_seed(0)
    shape: tuple[int, ...]
    if model.reads_images:
        shape = (settings.slices, model.in_channels or 3, *model.input_size)
    elif model.features is not None:
        shape = (settings.slices, model.features)
    else:
        raise ConfigError("The network does not say how many features it reads.")
    first = torch.arange(settings.slices - 1)
    chain = EdgeList(
        pairs_E2=torch.stack([first, first + 1], dim=1), weights_E=torch.ones(len(first))
    )
    return collate(
        [
            BagSample(
                scan_id=str(number),
                instances=torch.rand(shape, generator=generator),
                label=float(number % 2),
                slice_labels_S=torch.zeros(settings.slices),
                position_mm_S=_SPACING_MM * torch.arange(settings.slices),
                edges=chain,
            )
            for number in range(settings.bags)
        ]
    )


def _seconds(work: Callable[[], None], device: torch.device, repeats: int = 1) -> float:
    """The time of one, over several in a row."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / repeats


def _repeats(work: Callable[[], None], device: torch.device) -> int:
    """How many in a row take long enough for a clock and a scheduler."""
    return max(1, math.ceil(_LEAST_S / _seconds(work, device, 3)))


def _median(ratios: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
    """The median and its 95 % interval by order statistics; the extremes for few rounds."""
    ordered = np.sort(ratios)
    rank = int(stats.binom.ppf(0.025, len(ordered), 0.5)) - 1
    at = max(rank, 0)
    return float(np.median(ordered)), float(ordered[at]), float(ordered[-1 - at])


def write_overhead(overhead: Overhead, config: ExperimentConfig, folder: Path) -> tuple[Path, Path]:
    """Writes ``overhead.json`` and ``overhead.html``.

    Raises:
        WriteError: The system refused.
    """
    make_folder(folder)
    paths = folder / "overhead.json", folder / "overhead.html"
    document = head_document("overhead", config) | {
        "device": overhead.device,
        "threads": overhead.threads,
        "torch": torch.__version__,
        "measured_on": overhead.facts,
        "costs": [asdict(cost) for cost in overhead.costs],
        "shown": list(overhead.sentences),
    }
    write_json(document, paths[0])
    how = [
        "Random numbers in the shape of bags; the network and the graph of the config. All "
        "variants are timed in turn in each round; a ratio is of two times of one round.",
        "Memory for the backward pass: what autograd keeps of a forward pass, each storage once, "
        "parameters and the input apart. It does not depend on the machine.",
        "Smoothness is a loss: a network trained with it is the same network in inference, so any "
        "ratio there is that of the clock.",
    ]
    page = html_page(
        TITLES["overhead"], overhead.facts, overhead.sentences, [_grid(overhead)], [], how
    )
    with replacing(paths[1]) as stream:
        stream.write(page.encode())
    return paths


def _grid(overhead: Overhead) -> Grid:
    def timed(seconds: float) -> Cell:
        return Cell(text=f"{1e3 * seconds:.2f} ms")

    def ratio(values: tuple[float, float, float]) -> Cell:
        middle, low, high = values
        return Cell(text=f"{middle:.4f}", interval=f"[{low:.4f}, {high:.4f}]")

    return Grid(
        caption=f"Time and memory; ratios to {ATT_MIL}, in brackets 95 % intervals of the median",
        head=("", "training step", "ratio", "inference", "ratio", "kept for backward", "ratio"),
        rows=tuple(
            Row(
                title=cost.name,
                cells=(
                    timed(cost.training_s),
                    ratio(cost.training_ratio),
                    timed(cost.inference_s),
                    ratio(cost.inference_ratio),
                    Cell(text=f"{cost.kept_mb:.3f} MB"),
                    Cell(text=f"{cost.kept_ratio:.4f}"),
                ),
                lead=cost.name != ATT_MIL,
            )
            for cost in overhead.costs
        ),
    )
