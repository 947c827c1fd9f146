"""The training loop: one process or many, stopped and gone on with exactly.

A step is a function of the weights, the optimizer's moments and where the run stands: the order
of bags, dropout and augmentation draw from generators seeded by (seed, epoch or step, rank), so
that a run that was stopped, or killed, ends with the very bits of one that was not, at the same
number of ranks and threads on a CPU.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sadmil_core.errors import TrainingError
from sadmil_core.progress import Progress, no_progress
from sadmil_core.training.feed import Feed
from sadmil_core.training.objective import (
    TERMS,
    ClassWeights,
    combine,
    term_weights,
)
from sadmil_core.training.order import (
    bags_of_step,
    batches_of_rank,
    epoch_order,
    seed_for,
    steps_per_epoch,
)
from sadmil_core.training.passes import forward_terms, read_bag
from sadmil_core.training.state import Standing, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sadmil_core.data.bags import BagSource, Batch
    from sadmil_core.model.sadmil import SaDmil
    from sadmil_core.training.calibrate import ValidationScan
    from sadmil_core.training.config import TrainingConfig
    from sadmil_core.training.events import EventLog
    from sadmil_core.training.ranks import Ranks

STATE_FILE = "state.safetensors"


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """Training was asked to stop, and has saved its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """What is known after an epoch.

    Attributes:
        epoch: From 0.
        train: The loss and the mean of each term over the epoch.
        validation: The same over the validation split.
        scans: The validation split, read unpadded.
        improved: Whether the validation loss is the lowest so far.
    """

    epoch: int
    train: dict[str, float]
    validation: dict[str, float]
    scans: list[ValidationScan]
    improved: bool


class Trainer:
    """Trains a network.

    Args:
        config: Of the run.
        config_sha256: What a saved state must have been made with.
        module: Changed in place.
        train: The training split.
        validation: The validation split.
        classes: Weights of the classes.
        ranks: This process among the others.
        folder: Of the run; its state is kept here.
        log: Of events; on the first rank only.
        stop: Asked after each step whether to stop.
        progress: Told after each step.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        config_sha256: str,
        module: SaDmil,
        train: BagSource,
        validation: BagSource,
        classes: ClassWeights,
        ranks: Ranks,
        folder: Path,
        log: EventLog | None = None,
        stop: Callable[[], bool] = lambda: False,
        progress: Progress = no_progress,
    ) -> None:
        self.config, self.ranks, self.classes = config, ranks, classes
        self.module = module.to(ranks.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.standing = Standing()
        self.config_sha256, self._train, self._validation = config_sha256, train, validation
        self._state_path, self._log = folder / STATE_FILE, log
        self._stop, self._progress = stop, progress
        if config.optimizer.freeze_encoder:
            module.encoder.requires_grad_(False)
        module.set_activation_checkpointing(config.optimizer.activation_checkpointing)
        self._optimizer = _optimizer(config, module)
        decay = config.optimizer.ema_decay
        self._average = _copy_of(module) if decay else None

    def resume(self) -> None:
        """Goes on from the saved state, if there is one.

        Raises:
            TrainingError: It is of another config.
        """
        if self._state_path.is_file():
            self.standing = load_state(
                self._state_path,
                self.config_sha256,
                self.module,
                self._optimizer,
                self._average,
                self.ranks.rank,
            )
        if self._log is not None:
            self._log.cut(self.standing.log_bytes)

    def epochs(self, ended: Callable[[EpochEnd], None]) -> None:
        """Trains until the epochs or the patience are used up.

        Args:
            ended: Called after each epoch, on every rank, before its state is saved.

        Raises:
            Stopped: Asked to; the state is saved.
            TrainingError: The gradients are no numbers any more.
        """
        length = self.config.length
        while self.standing.epoch < length.epochs and not self.has_run_dry:
            self._train_epoch()
            self._end_epoch(ended)

    @property
    def has_run_dry(self) -> bool:
        """Whether the validation loss has not fallen for the epochs of patience."""
        patience = self.config.length.patience
        return patience > 0 and self.standing.stale_epochs >= patience

    def network(self) -> SaDmil:
        """The network to validate and keep: the average, where there is one; a copy."""
        network: SaDmil = copy.deepcopy(self.module)
        if self._average is not None:
            network.load_state_dict(self._average)
        return network.eval()

    def _train_epoch(self) -> None:
        data, standing = self.config.data, self.standing
        self._train.set_epoch(standing.epoch)
        order = epoch_order(len(self._train), self.config.seed, standing.epoch)
        total = steps_per_epoch(len(self._train), data.bags_per_step)
        plan = [
            batches_of_rank(
                bags_of_step(order, step, data.bags_per_step),
                self.ranks.rank,
                self.ranks.world_size,
                data.bags_per_batch,
            )
            for step in range(standing.step_of_epoch, total)
        ]
        feed = Feed(self._train, plan, data.workers)
        self._prepare()
        start = time.perf_counter()
        for batches in feed:
            self._step(batches, total)
            now = time.perf_counter()
            standing.seconds += now - start
            start = now
        standing.waited_s += feed.waited_s

    def _prepare(self) -> None:
        self.module.train()
        optimizer = self.config.optimizer
        if optimizer.freeze_encoder:
            self.module.encoder.eval()
        if optimizer.freeze_norm:
            for part in self.module.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def _step(self, batches: list[Batch], steps_of_epoch: int) -> None:
        standing, config = self.standing, self.config
        # Dropout of this step, whatever came before.
        torch.manual_seed(seed_for("step", config.seed, standing.step, self.ranks.rank))
        weights = torch.zeros(len(TERMS) + 1, dtype=torch.float64)
        for batch in batches:
            weights[:-1] += term_weights(batch, self.classes)
        weights[-1] = float(self._stop())
        self.ranks.sum(weights)
        if weights[-1] > 0:
            self._save()
            raise Stopped
        statistics = [buffer.clone() for buffer in self.module.buffers()]
        parts = self._backward(batches, weights[:-1])
        self.ranks.sum(parts)
        if not self._update(parts):
            # What BatchNorm has measured in such a step is no number either.
            for buffer, before in zip(self.module.buffers(), statistics, strict=True):
                buffer.copy_(before)
        standing.step += 1
        standing.step_of_epoch += 1
        self._note_step(parts)
        self._progress(
            standing.epoch * steps_of_epoch + standing.step_of_epoch,
            config.length.epochs * steps_of_epoch,
            "training",
        )
        if standing.step % config.length.save_every_steps == 0:
            self._save()

    def _backward(self, batches: list[Batch], weights: Tensor) -> Tensor:
        """Gradients of this rank's batches; the terms' means, (len(TERMS),) float64."""
        self._optimizer.zero_grad(set_to_none=True)
        parts = torch.zeros(len(TERMS), dtype=torch.float64)
        for batch in batches:
            on_device = batch.to(self.ranks.device)
            sums = forward_terms(self.module, on_device, self.config, self.classes)
            loss, means = combine(self.config.objective, sums, weights)
            loss.backward()  # type: ignore[no-untyped-call]
            for k, name in enumerate(TERMS):
                parts[k] += float(means.get(name, 0.0))
        l2 = self.config.optimizer.attention_l2
        if l2 and self.ranks.is_first:  # the gradients of all ranks are added up: once is enough
            penalty = torch.stack([p.square().sum() for p in self.module.attention.parameters()])
            (l2 * penalty.sum()).backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.module.parameters())
        return parts

    def _update(self, parts: Tensor) -> bool:
        """An optimizer step, unless the gradient is no number: then none, on all ranks alike.

        Returns:
            Whether there was one.
        """
        standing, optimizer = self.standing, self.config.optimizer
        trained = [p for p in self.module.parameters() if p.requires_grad]
        limit = optimizer.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(trained, limit))
        if not (math.isfinite(norm) and bool(torch.isfinite(parts).all())):
            standing.nonfinite += 1
            if self._log is not None:
                self._log.write("nonfinite", standing.step, consecutive=standing.nonfinite)
            if standing.nonfinite >= self.config.length.max_nonfinite:
                raise TrainingError(
                    f"The loss was no finite number in {standing.nonfinite} steps running "
                    f"(up to step {standing.step}).",
                    remedy="Lower lr, set clip_norm, or train in fp32; the last saved state is "
                    "from before.",
                )
            return False
        standing.nonfinite = 0
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self._optimizer.step()
        if self._average is not None:
            _follow(self._average, self.module, optimizer.ema_decay)
        return True

    def _learning_rate(self) -> float:
        optimizer, step = self.config.optimizer, self.standing.step
        rise = min(1.0, (step + 1) / optimizer.warmup_steps) if optimizer.warmup_steps else 1.0
        if optimizer.schedule == "constant":
            return optimizer.lr * rise
        per_epoch = steps_per_epoch(len(self._train), self.config.data.bags_per_step)
        done = min(1.0, step / (self.config.length.epochs * per_epoch))
        return optimizer.lr * rise * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def _note_step(self, parts: Tensor) -> None:
        named = {n: float(v) for n, v in zip(TERMS, parts, strict=True) if math.isfinite(v)}
        for name, value in named.items():
            self.standing.sums[name] = self.standing.sums.get(name, 0.0) + value
        if self._log is not None:
            used = {n: v for n, v in named.items() if v}
            self._log.write("step", self.standing.step, lr=self._learning_rate(), **used)

    def _end_epoch(self, ended: Callable[[EpochEnd], None]) -> None:
        standing = self.standing
        # Validation can take long, and nothing that ends the program then may cost the epoch.
        self._save()
        self.ranks.average_buffers(self.module)
        train = {k: v / max(standing.step_of_epoch, 1) for k, v in standing.sums.items()}
        shares = self.config.objective.shares
        train = {"loss": sum(shares[k] * v for k, v in train.items())} | train
        validation, scans = self._validate()
        improved = standing.best_loss is None or validation["loss"] < standing.best_loss
        if improved:
            standing.best_loss, standing.best_epoch = validation["loss"], standing.epoch
        standing.stale_epochs = 0 if improved else standing.stale_epochs + 1
        end = EpochEnd(
            epoch=standing.epoch,
            train=train,
            validation=validation,
            scans=scans,
            improved=improved,
        )
        ended(end)
        standing.epoch += 1
        standing.step_of_epoch = 0
        standing.sums = {}
        self._save()

    def read_validation(self, network: SaDmil) -> list[ValidationScan]:
        """Reads the whole validation split with a network on this rank alone."""
        network = network.to(self.ranks.device)
        return [scan for _, _, scan in self._read(network, range(len(self._validation)))]

    def _read(
        self, network: SaDmil, indices: Sequence[int]
    ) -> Iterator[tuple[int, Tensor, ValidationScan]]:
        """Reads scans one by one, unpadded: index, sums and weights of the terms, numbers."""
        network.eval()
        self._validation.set_epoch(0)
        feed = Feed(self._validation, [[[i]] for i in indices], self.config.data.workers)
        with torch.no_grad():
            for i, (batch,) in zip(indices, feed, strict=True):
                on_device = batch.to(self.ranks.device)
                sums, scan = read_bag(network, on_device, self.config, self.classes)
                parts = [float(sums.get(name, 0.0)) for name in TERMS]
                weights = term_weights(batch, self.classes)
                yield i, torch.cat([torch.tensor(parts, dtype=torch.float64), weights]), scan

    def _validate(self) -> tuple[dict[str, float], list[ValidationScan]]:
        """Reads the validation split, shared out over the ranks; the objective as in training."""
        total = torch.zeros(2 * len(TERMS), dtype=torch.float64)
        mine: list[tuple[int, ValidationScan]] = []
        indices = range(self.ranks.rank, len(self._validation), self.ranks.world_size)
        for i, parts, scan in self._read(self.network(), indices):
            total += parts
            mine.append((i, scan))
        self.ranks.sum(total)
        weights = total[len(TERMS) :]
        sums = {name: total[k] for k, name in enumerate(TERMS) if weights[k] > 0}
        loss, means = combine(self.config.objective, sums, weights)
        if not math.isfinite(float(loss)):
            raise TrainingError(
                f"The validation loss after epoch {self.standing.epoch + 1} is no finite number.",
                remedy="Lower lr, set clip_norm, or train in fp32.",
            )
        gathered = [pair for pairs in self.ranks.gather(mine) for pair in pairs]
        scans = [scan for _, scan in sorted(gathered, key=lambda pair: pair[0])]
        return {"loss": float(loss)} | {k: float(v) for k, v in means.items()}, scans

    def _measured(self) -> dict[str, Tensor]:
        parameters = {name for name, _ in self.module.named_parameters()}
        state = self.module.state_dict()
        return {name: t.cpu() for name, t in state.items() if name not in parameters}

    def _save(self) -> None:
        """On all ranks at once: between two averages, each has measured something else."""
        buffers: list[dict[str, Tensor]] = []
        if self.ranks.world_size > 1:
            buffers = self.ranks.gather(self._measured())
        if self.ranks.is_first:
            if self._log is not None:
                self.standing.log_bytes = self._log.size
            save_state(
                self._state_path,
                self.config_sha256,
                self.standing,
                self.module,
                self._optimizer,
                self._average,
                buffers,
            )


def _optimizer(config: TrainingConfig, module: nn.Module) -> torch.optim.Optimizer:
    settings = config.optimizer
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    trained = [p for p in module.parameters() if p.requires_grad]
    return kind(trained, lr=settings.lr, weight_decay=settings.weight_decay)


def _copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


def _follow(average: dict[str, Tensor], module: nn.Module, decay: float) -> None:
    """Moves the average towards the weights; what is counted or measured is taken as it is."""
    parameters = {name for name, _ in module.named_parameters()}
    for name, tensor in module.state_dict().items():
        if name in parameters:
            average[name].lerp_(tensor, 1 - decay)
        else:
            average[name].copy_(tensor)
