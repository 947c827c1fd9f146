"""An encoder learns where blood is: single slices with masks, as many with blood as without.

A scan label says little about a network's 200,000 cells, a mask says everything. Drawn scan by
scan, most slices would be easy and empty, and an encoder learns from them that nothing bleeds;
drawn evenly, it needs a tenth of the steps.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import (
    adaptive_max_pool2d,
    affine_grid,
    avg_pool2d,
    binary_cross_entropy_with_logits,
    grid_sample,
)

from sadmil_core.atomic import make_folder
from sadmil_core.configs import canonical_json, to_mapping
from sadmil_core.errors import TrainingError
from sadmil_core.model.trained import initial_model, load_checkpoint, save_checkpoint
from sadmil_core.progress import Progress, no_progress
from sadmil_core.training.events import EventLog
from sadmil_core.training.loop import STATE_FILE, Stopped
from sadmil_core.training.order import seed_for
from sadmil_core.training.state import Standing, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.data.augment import AugmentConfig
    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.defaultmodel.slicepool import SlicePool
    from sadmil_core.model.sadmil import SaDmil
    from sadmil_core.model.trained import TrainedModel
    from sadmil_core.preprocess import PreprocessConfig

MODEL_FILE = "model.safetensors"
_LOWEST_HU = -1024.0
_CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """How an encoder is pre-trained.

    Attributes:
        steps: Of the optimizer.
        slices_per_step: Half of them bleed, a quarter are other slices of scans that bleed, a
            quarter slices of scans that do not.
        lr: The highest learning rate; it rises over ``warmup`` and falls as a cosine to 0.
        warmup: Share of the steps.
        weight_decay: Of AdamW.
        hard_share: Cells without blood that count once more: this share, the worst of each step.
        cell_weight: Of the cells' loss beside the slices'.
        save_every_steps: Steps between saved states.
        bf16: Convolutions in bfloat16.
    """

    steps: int
    slices_per_step: int = 48
    lr: float = 3e-3
    warmup: float = 0.15
    weight_decay: float = 1e-2
    hard_share: float = 0.05
    cell_weight: float = 1.0
    save_every_steps: int = 100
    bf16: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDraw:
    """Which slices there are to draw from, as numbers in the pool.

    Attributes:
        bleeding: Slices that bleed.
        beside: Other slices of the same scans.
        others: Slices of scans without blood.
    """

    bleeding: NDArray[np.intp]
    beside: NDArray[np.intp]
    others: NDArray[np.intp]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.intp], Tensor]:
        """The slices of a step, and (count,) whether each bleeds."""
        half, quarter = count // 2, count // 4
        parts = (
            rng.choice(self.bleeding, count - half),
            rng.choice(self.beside, quarter),
            rng.choice(self.others, half - quarter),
        )
        label = torch.zeros(count)
        label[: len(parts[0])] = 1.0
        return np.concatenate(parts), label


def slices_to_draw(scans: Sequence[ManifestScan], pool: SlicePool) -> SliceDraw:
    """Deals the slices of scans by what their labels say.

    Raises:
        TrainingError: A kind has no slice.
    """
    kinds: dict[str, list[int]] = {"bleeding": [], "beside": [], "others": []}
    for scan in scans:
        for each in scan.slices:
            kind = "bleeding" if each.label else "beside" if scan.label else "others"
            assert each.slice_index is not None
            kinds[kind].append(pool.starts[scan.scan_id] + each.slice_index)
    empty = [kind for kind, found in kinds.items() if not found]
    if empty:
        raise TrainingError(f"No slice to train on: {', '.join(empty)}.", remedy="Add scans.")
    return SliceDraw(**{kind: np.array(found, dtype=np.intp) for kind, found in kinds.items()})


def pretrain(
    header: CheckpointHeader,
    config: PretrainConfig,
    scans: Sequence[ManifestScan],
    pool: SlicePool,
    augment: AugmentConfig,
    folder: Path,
    *,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> TrainedModel:
    """Trains an encoder and the head that tells cells and slices apart; resumable.

    Args:
        header: The network, what it sees, and what its checkpoint is to say.
        config: How.
        scans: Of the pool.
        pool: Their pixels and masks.
        augment: How slices are changed; ``slice_drop`` does not apply.
        folder: Of the run; made if need be.
        seed: With the step it decides what is drawn.
        stop: Asked after each step whether to stop.
        progress: Told after each step.

    Returns:
        The network: encoder and head are trained, its attention is as it was drawn.

    Raises:
        TrainingError: The folder holds another run; the loss is no number.
        WriteError: The disk is full, or the like.
        Stopped: Asked to, with all saved; the same call goes on.
    """
    parts = [
        to_mapping(config),
        to_mapping(header.model),
        to_mapping(header.preprocess),
        to_mapping(augment),
        seed,
        sorted(scan.scan_id for scan in scans),
        int(pool.hu.shape[0]),
    ]
    sha256 = hashlib.sha256(canonical_json(parts).encode()).hexdigest()
    make_folder(folder)
    torch.manual_seed(seed_for("weights", seed))
    module = initial_model(header.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    standing = Standing()
    state = folder / STATE_FILE
    if state.is_file():
        standing = load_state(state, sha256, module, optimizer, None)
    if standing.step >= config.steps and (folder / MODEL_FILE).is_file():
        return load_checkpoint(folder / MODEL_FILE)
    log = EventLog(folder / "events.jsonl")
    log.cut(standing.log_bytes)
    draw = slices_to_draw(scans, pool)
    module.train()
    while standing.step < config.steps:
        rng = np.random.default_rng(seed_for("slices", seed, standing.step))
        torch.manual_seed(seed_for("dropout", seed, standing.step))
        chosen, label = draw.draw(rng, config.slices_per_step)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _schedule(standing.step / config.steps, config.warmup)
        x, masks = augmented(pool.hu[chosen], pool.masks[chosen], header.preprocess, augment, rng)
        means = _step(module, optimizer, config, x, masks, label)
        standing.step += 1
        if standing.step % 10 == 0:
            log.write("step", standing.step, **means)
        stopping = stop()
        if (
            stopping
            or standing.step % config.save_every_steps == 0
            or standing.step == config.steps
        ):
            standing.log_bytes = log.size
            save_state(state, sha256, standing, module, optimizer, None)
        if stopping:
            raise Stopped
        progress(standing.step, config.steps, f"pre-training {folder.parent.name}")
    save_checkpoint(folder / MODEL_FILE, module.eval(), header)
    return load_checkpoint(folder / MODEL_FILE)


def cell_loss(logits: Tensor, masks: Tensor, hard_share: float) -> Tensor:
    """The cross-entropy of cells; cells with blood count half, the worst without a quarter.

    Args:
        logits: (N, h, w), by cell.
        masks: (N, rows, columns), 1 where there is blood; a cell has blood where a pixel has.
        hard_share: Which share of the cells without blood is the worst.

    Returns:
        A scalar.
    """
    cells = adaptive_max_pool2d(masks[:, None], logits.shape[-2:])[:, 0] > 0.5
    loss = binary_cross_entropy_with_logits(logits, cells.to(logits.dtype), reduction="none")
    without = loss[~cells]
    worst = without.topk(max(1, int(hard_share * without.numel()))).values
    blank = (without.mean() + 0.5 * worst.mean()) / 2
    return blank if not bool(cells.any()) else loss[cells].mean() / 2 + blank


def _step(
    module: SaDmil,
    optimizer: torch.optim.Optimizer,
    config: PretrainConfig,
    x: Tensor,
    masks: Tensor,
    label: Tensor,
) -> dict[str, float]:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        y = module.encoder.cells(x)
    y = y.float()
    slices = module.cell_logits(module.encoder.reduce(y)[:, :, None, None])[:, 0, 0]
    terms = {
        "cell": cell_loss(module.cell_logits(y), masks, config.hard_share),
        "slice": binary_cross_entropy_with_logits(slices, label),
    }
    loss = config.cell_weight * terms["cell"] + terms["slice"]
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), _CLIP_NORM)
    if not math.isfinite(float(norm)):
        raise TrainingError("The encoder's loss is no number.", remedy="Lower the learning rate.")
    optimizer.step()
    return {name: float(term.detach()) for name, term in terms.items()}


def augmented(
    hu: NDArray[np.int16],
    masks: NDArray[np.uint8],
    preprocess: PreprocessConfig,
    augment: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Slices flipped, turned, scaled, shifted, made noisier and sharper or softer, and windowed.

    Args:
        hu: (N, rows, columns), Hounsfield units.
        masks: Likewise.
        preprocess: Its windows.
        augment: How far; each slice is drawn for itself.
        rng: Source of randomness.

    Returns:
        x_NCHW float32 in [0, 1], channels last, and the masks (N, rows, columns) float32.
    """
    count, rows, columns = hu.shape
    unit = rng.uniform(-1, 1, (7, count)).astype(np.float32)
    flip = np.where(rng.random(count) < augment.flip, -1.0, 1.0)
    angle = np.radians(unit[0] * augment.rotation_degrees)
    scale = 1 + unit[1] * augment.scale
    cosine, sine, ratio = np.cos(angle) / scale, np.sin(angle) / scale, columns / rows
    # Places run from -1 to 1 along both axes, whatever their length.
    theta = np.stack(
        [
            np.stack([cosine * flip, -sine / ratio, 2 * augment.shift * unit[2]], axis=1),
            np.stack([sine * flip * ratio, cosine, 2 * augment.shift * unit[3]], axis=1),
        ],
        axis=1,
    )
    grid = affine_grid(
        torch.from_numpy(theta.astype(np.float32)), [count, 1, rows, columns], align_corners=False
    )
    # Beyond the matrix there is air.
    moved = grid_sample(
        torch.from_numpy(hu.astype(np.float32) - _LOWEST_HU)[:, None], grid, align_corners=False
    )
    moved_masks = grid_sample(
        torch.from_numpy(masks.astype(np.float32))[:, None], grid, align_corners=False
    )
    noise = torch.from_numpy(rng.standard_normal(moved.shape, dtype=np.float32))
    sd = torch.from_numpy(np.abs(unit[4]) * np.float32(augment.noise_sd_hu))
    level = torch.from_numpy(unit[5] * np.float32(augment.level_jitter_hu))
    moved = moved + _LOWEST_HU + noise * sd[:, None, None, None]
    sharper = torch.from_numpy(rng.uniform(-1, 1, (count,)).astype(np.float32) * augment.sharpness)
    mean = avg_pool2d(moved, 3, 1, 1, count_include_pad=False)
    moved = moved + sharper[:, None, None, None] * (moved - mean) - level[:, None, None, None]
    low = torch.tensor([w.lower_hu for w in preprocess.windows]).view(1, -1, 1, 1)
    wide = torch.tensor([w.width_hu for w in preprocess.windows]).view(1, -1, 1, 1)
    middle = low + wide / 2
    wider = torch.from_numpy(unit[6] * np.float32(augment.width_jitter_hu))[:, None, None, None]
    x = ((moved - middle) / (wide + wider) + 0.5).clamp_(0.0, 1.0)
    return x.contiguous(memory_format=torch.channels_last), (moved_masks[:, 0] > 0.5).float()


def _schedule(done: float, warmup: float) -> float:
    """The learning rate as a share of the highest: up in a line, down as half a cosine."""
    if done < warmup:
        return max(done / warmup, 0.04)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
