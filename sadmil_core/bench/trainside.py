"""One way of training in a process of its own, which makes a step whenever it is told to.

How the C library's allocator is set, and the most memory that was ever held, belong to a process:
so each way has one. They wait for a line on standard input, so that one computes at a time, and
answer with a line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sadmil_core.data.bags import Batch
    from sadmil_core.training.config import TrainingConfig

Way = Literal["ours", "plain"]
_ALPHA, _LABEL, _SPACING_MM, _REPEATS = 0.5, 1.0, 5.0, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSettings:
    """What a process trains.

    Attributes:
        way: ``ours`` as `sadmil train` does, or ``plain`` as one would first write it.
        precision: Of our convolutions.
        checkpointing: Whether we compute activations again.
        slices: Of the scan.
        size: Rows and columns.
        threads: Of torch.
    """

    way: Way = "ours"
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpointing: bool = False
    slices: int = 32
    size: int = 512
    threads: int = 2


class Side:
    """A process that trains when it is told to, seen from outside.

    Args:
        process: Of this module, with pipes.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def step(self) -> float:
        """The seconds of one step."""
        return float(self._ask("step"))

    def smoothness(self, order: int) -> float:
        """The seconds of what S1 or S2 on the chain adds to a step."""
        return float(self._ask(f"S{order}"))

    def peak_mb(self) -> float:
        """Peak memory so far beside what was held before the first step, in MB."""
        return float(self._ask("peak"))

    def _ask(self, word: str) -> Any:
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:
            raise ValueError("the process was started without pipes")
        requests.write(f"{word}\n")
        requests.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended with {self._process.wait()}")
        return json.loads(line)


@contextmanager
def side(settings: SideSettings) -> Iterator[Side]:
    """Starts a process, and ends it."""
    command = [sys.executable, "-m", "sadmil_core.bench.trainside", json.dumps(asdict(settings))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Side(process)
        finally:
            process.kill()


def step_config(settings: SideSettings) -> TrainingConfig:
    """A run of the published network with the paper's S1, at the size that is asked for."""
    from sadmil_core.model.config import published_config
    from sadmil_core.training.config import DataConfig, OptimizerConfig, TrainingConfig
    from sadmil_core.training.objective_config import ObjectiveConfig

    return TrainingConfig(
        name="bench",
        data=DataConfig(manifest=""),
        model=replace(published_config(), input_size=(settings.size, settings.size)),
        objective=ObjectiveConfig(alpha=_ALPHA, class_weights="none"),
        optimizer=OptimizerConfig(activation_checkpointing=settings.checkpointing),
        precision=settings.precision,
    )


def random_scan(settings: SideSettings) -> Batch:
    """One scan of random numbers in [0, 1]."""
    import torch

    from sadmil_core.data.bags import BagSample, collate

    shape = (settings.slices, 3, settings.size, settings.size)
    sample = BagSample(
        scan_id="random",
        instances=torch.rand(shape, generator=torch.Generator().manual_seed(0)),
        label=_LABEL,
        slice_labels_S=torch.full((settings.slices,), float("nan")),
        position_mm_S=_SPACING_MM * torch.arange(settings.slices),
    )
    return collate([sample])


def make_step(settings: SideSettings) -> Callable[[], None]:
    """The step of a way, ready to be made again and again.

    Ours changes this process's allocator, as `sadmil train` does.
    """
    import torch

    from sadmil_core.allocator import keep_freed_memory
    from sadmil_core.bench.plain import PlainStep
    from sadmil_core.training.singlestep import SingleStep

    config, batch = step_config(settings), random_scan(settings)
    if config.model is None:
        raise ValueError("the benchmark trains a network of its own")
    if settings.way == "plain":
        return PlainStep(config.model, batch.instances, _LABEL, _ALPHA).train
    if not settings.checkpointing:
        keep_freed_memory()
    cpu = torch.device("cpu")
    return SingleStep(config, batch.to(cpu), cpu).train


def smoothness_seconds(slices: int, order: Literal[1, 2]) -> float:
    """What the chain, S1 or S2 of a scan, and its way back to the logits take, once."""
    import torch

    from sadmil_core.model.graph import build_graph
    from sadmil_core.model.graph_config import GraphConfig
    from sadmil_core.model.smoothness import smoothness

    f_BS = torch.randn((1, slices), requires_grad=True)
    mask_BS = torch.ones((1, slices), dtype=torch.bool)
    start = time.perf_counter()
    for _ in range(_REPEATS):
        graph = build_graph(GraphConfig(), mask_BS)
        smoothness(f_BS, mask_BS, graph, order).sum().backward()  # type: ignore[no-untyped-call]
    return (time.perf_counter() - start) / _REPEATS


def _serve(settings: SideSettings) -> None:
    import torch

    from sadmil_core.bench.large import peak_mb

    torch.set_num_threads(settings.threads)
    step = make_step(settings)
    before = peak_mb()
    for line in sys.stdin:
        word = line.strip()
        if word == "peak":
            answer = round(peak_mb() - before, 1)
        elif word == "step":
            start = time.perf_counter()
            step()
            answer = time.perf_counter() - start
        else:
            answer = smoothness_seconds(settings.slices, 1 if word == "S1" else 2)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(SideSettings(**json.loads(sys.argv[1])))
