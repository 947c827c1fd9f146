"""Trains the demonstration model on synthetic heads and writes it to resources/models.

It exists so that the demo study can be read the minute the program is installed. It has seen
nothing but phantoms, with masks and slice labels, and its numbers mean nothing on a patient's
scan; its model card and the window say so.

    python tools/train_demo_model.py            # about ten minutes on two cores
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sadmil_core.checkpoint import CheckpointHeader, Provenance
from sadmil_core.model.config import (
    AttentionConfig,
    ConvEncoderConfig,
    HeadConfig,
    ModelConfig,
)
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.smoothness import chain_smoothness
from sadmil_core.model.trained import save_checkpoint
from sadmil_core.preprocess import PreprocessConfig, preprocess_slice
from sadmil_core.result import DecisionRule
from sadmil_core.synth.bleeds import BleedKind
from sadmil_core.synth.phantom import TRAINING_CONFIG, PhantomConfig, make_phantom

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
SIZE = (128, 128)
ENCODER = ConvEncoderConfig(
    channels=(16, 32, 48, 64),
    kernels=(5, 3, 3, 3),
    padding=("same",) * 4,
    dropout=(0.0, 0.0, 0.1, 0.1),
    output="max",
)
MODEL = ModelConfig(
    encoder=ENCODER,
    attention=AttentionConfig(hidden=32),
    head=HeadConfig(hidden=0, dropout=0.0),
    input_size=SIZE,
)
PREPROCESS = PreprocessConfig(size=SIZE)
ALPHA = 0.05
"""Weight of S1, on the chain, beside the label losses."""
BAGS_PER_STEP = 2
SLICES_PER_BAG = 24
LEAST_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Scan:
    """A phantom as the network sees it.

    Attributes:
        x: (S, 3, H, W) float16.
        labels: (S,) bool.
        blood: (S, h, w) float32, the share of each cell of the last feature map that bleeds.
    """

    x: NDArray[np.float16]
    labels: NDArray[np.bool_]
    blood: NDArray[np.float32]


def make_scan(seed: int, config: PhantomConfig) -> Scan:
    """One phantom; every second one bleeds, all kinds in turn."""
    kinds = list(BleedKind)
    bleed = kinds[(seed // 2) % len(kinds)] if seed % 2 else None
    phantom = make_phantom(np.random.default_rng(seed), config, bleed=bleed)
    x = np.stack([preprocess_slice(hu, PREPROCESS) for hu in phantom.hu])
    rows, columns = ENCODER.spatial_size(SIZE)
    slices, height, width = phantom.lesion.shape
    cells = phantom.lesion.reshape(slices, rows, height // rows, columns, width // columns)
    return Scan(
        x.astype(np.float16), phantom.slice_positive, cells.mean(axis=(2, 4), dtype=np.float32)
    )


def make_scans(first: int, count: int, config: PhantomConfig, workers: int) -> list[Scan]:
    """Phantoms of consecutive seeds."""
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(make_scan, range(first, first + count), [config] * count))


def drawn(scan: Scan, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbouring slices of a scan, flipped left to right at random: x, labels, blood."""
    last = len(scan.labels) - SLICES_PER_BAG
    start = int(torch.randint(0, last + 1, (), generator=generator))
    part = slice(start, start + SLICES_PER_BAG)
    x, blood = torch.from_numpy(scan.x[part]).float(), torch.from_numpy(scan.blood[part])
    if torch.rand((), generator=generator) < 0.5:
        x, blood = x.flip(-1), blood.flip(-1)
    return x, torch.from_numpy(scan.labels[part]), blood


def loss_of(module: SaDmil, x: Tensor, labels: Tensor, blood: Tensor) -> Tensor:
    """Cross-entropy by cell, slice and scan, attention towards the labelled slices, and S1.

    Args:
        module: The network.
        x: (B, S, 3, H, W).
        labels: (B, S) bool.
        blood: (B, S, h, w), the share of blood in each cell of the last feature map.
    """
    mask = torch.ones_like(labels)
    slices = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out = module(slices, mask, cells=True)
    by_cell = out.cell_logit_NHW
    share = blood.flatten(0, 1)
    clear = (share == 0) | (share >= LEAST_SHARE)  # a trace of blood is neither yes nor no
    total = binary_cross_entropy_with_logits(
        by_cell[clear], (share[clear] > 0).float(), pos_weight=torch.tensor(10.0)
    )
    total = total + binary_cross_entropy_with_logits(out.evidence_BS, labels.float())
    positive = labels.any(dim=1)
    total = total + binary_cross_entropy_with_logits(out.logit_B, positive.float())
    total = total + ALPHA * chain_smoothness(out.attention_logit_BS, mask, 1).mean()
    if bool(positive.any()):
        target = labels[positive].float()
        target = target / target.sum(dim=1, keepdim=True)
        log_a = torch.log_softmax(out.attention_logit_BS[positive], dim=1)
        total = total - 0.5 * (target * log_a).sum(dim=1).mean()
    return total


def train(scans: list[Scan], epochs: int, seed: int) -> SaDmil:
    """Trains from scratch; deterministic for a seed and thread count."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    module: SaDmil = SaDmil(MODEL).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = epochs * (len(scans) // BAGS_PER_STEP)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(len(scans), generator=generator).tolist()
        for k in range(0, len(order) - BAGS_PER_STEP + 1, BAGS_PER_STEP):
            chosen = [scans[i] for i in order[k : k + BAGS_PER_STEP]]
            bags = [drawn(scan, generator) for scan in chosen]
            loss = loss_of(module, *(torch.stack(part) for part in zip(*bags, strict=True)))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        seconds = time.perf_counter() - start
        print(
            f"epoch {epoch + 1}/{epochs}: loss {total * BAGS_PER_STEP / len(scans):.4f}, "
            f"{seconds:.0f} s",
            flush=True,
        )
    module.eval()
    return module


def score(module: SaDmil, scans: list[Scan]) -> dict[str, float]:
    """Scan AUROC and accuracy, slice AUROC of the attention within positive scans."""
    logits, truth, within = [], [], []
    with torch.inference_mode():
        for scan in scans:
            pooled = module.pool(module.encode(torch.from_numpy(scan.x).float()))
            logits.append(float(pooled.logit))
            truth.append(bool(scan.labels.any()))
            if scan.labels.any():
                within.append(auroc(pooled.attention_S.numpy(), scan.labels))
    p, y = np.array(logits), np.array(truth)
    return {
        "scans": len(scans),
        "positive": int(y.sum()),
        "scan_auroc": auroc(p, y),
        "scan_accuracy": float(((p > 0) == y).mean()),
        "slice_auroc_within_positive": float(np.mean(within)),
        "centre_rule": float(np.mean([centre_rule(s) for s in scans if s.labels.any()])),
    }


def centre_rule(scan: Scan) -> float:
    """Slice AUROC of the image-blind score -|z - 1/2|."""
    z = (np.arange(len(scan.labels)) + 0.5) / len(scan.labels)
    return auroc(-np.abs(z - 0.5), scan.labels)


def auroc(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The share of (positive, negative) pairs in the right order, ties counting half."""
    positive, negative = scores[truth][:, None], scores[~truth][None, :]
    return float(((positive > negative) + 0.5 * (positive == negative)).mean())


def card(figures: dict[str, float], arguments: argparse.Namespace, sha: str, minutes: float) -> str:
    """The model card, with the figures of this very run."""
    return f"""# Model card: demo

**A demonstration model. It has seen synthetic heads only, and its numbers mean nothing on a
patient's scan. Research use only, not for diagnosis.**

| | |
|---|---|
| what | SA-DMIL: convolutional encoder at 128 x 128, gated attention, linear head, S1 on the chain |
| trained on | {arguments.scans} phantoms of `sadmil_core.synth` (seeds {arguments.seed_of_scans} onward), half of them with a bleed |
| supervision | masks and slice labels (exact, from the generator) |
| command | `python tools/train_demo_model.py --scans {arguments.scans} --epochs {arguments.epochs} --seed {arguments.seed} --threads {arguments.threads}` |
| time | {minutes:.0f} minutes on two CPU cores |
| SHA-256 of weights and configs | `{sha}` |
| decision rule | the paper's: scan p > 0.5, then a slice when its attention exceeds 1/S |
| licence | MIT; no patient data went into it |

## Figures, on {figures["scans"]:.0f} other phantoms at 512 x 512 ({figures["positive"]:.0f} positive)

| measure | value |
|---|---|
| scan AUROC | {figures["scan_auroc"]:.3f} |
| scan accuracy at 0.5 | {figures["scan_accuracy"]:.3f} |
| slice AUROC of attention within positive scans | {figures["slice_auroc_within_positive"]:.3f} |
| the same for the image-blind centre rule | {figures["centre_rule"]:.3f} |

One seed, phantoms of the same generator: this shows that the program works, not that the model
does. Nothing was tuned on these phantoms.

## Limits

The phantoms have no mass effect, no tilt, no post-operative change and few mimics. On real
scans a model of this kind scored at chance in an earlier trial. The viewer does not start it
by itself on anything but a phantom.
"""  # noqa: E501 - a Markdown table has its rows on one line


def main() -> None:
    """Trains, scores, and writes the checkpoint and its card."""
    parser = argparse.ArgumentParser(description="Train the demonstration model on phantoms.")
    parser.add_argument("--scans", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seed-of-scans", type=int, default=1000)
    parser.add_argument("--test-scans", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1, help="part of what makes it repeatable")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "resources" / "models")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    scans = make_scans(arguments.seed_of_scans, arguments.scans, TRAINING_CONFIG, arguments.workers)
    print(f"{len(scans)} phantoms in {time.perf_counter() - start:.0f} s", flush=True)
    module = train(scans, arguments.epochs, arguments.seed)
    minutes = (time.perf_counter() - start) / 60
    # Other seeds, and the resolution the demo study has.
    test = make_scans(900_001, arguments.test_scans, PhantomConfig(), arguments.workers)
    figures = score(module, test)
    print(figures)
    header = CheckpointHeader(
        name="demo",
        model=MODEL,
        preprocess=PREPROCESS,
        rule=DecisionRule(),
        supervision="mask",
        provenance=Provenance(
            description="Demonstration model for the synthetic demo study.",
            training_data=f"{arguments.scans} synthetic head phantoms, no patient data",
            license="MIT",
            citation="Wu et al., MICCAI 2023, arXiv 2307.09457 (the method)",
            limits="Synthetic heads only: meaningless on a patient's scan. Research use only.",
            source="tools/train_demo_model.py",
            phantoms_only=True,
        ),
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = save_checkpoint(arguments.out / "demo.safetensors", module, header)
    (arguments.out / "demo.md").write_text(
        card(figures, arguments, written.model_sha256, minutes), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
