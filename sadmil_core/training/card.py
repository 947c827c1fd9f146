"""The model card of a run, filled in by the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sadmil_core import RESEARCH_USE_NOTICE, __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.training.calibrate import ValidationScan
    from sadmil_core.training.config import TrainingConfig
    from sadmil_core.training.state import Standing


def model_card(
    header: CheckpointHeader,
    config: TrainingConfig,
    standing: Standing,
    counts: Mapping[str, tuple[int, int]],
    scans: Sequence[ValidationScan],
    probabilities: Sequence[float],
    *,
    run_sha256: str,
) -> str:
    """Markdown: what the model is, what it learned from, how it decides, what is not known.

    Args:
        header: Of the checkpoint, calibrated.
        config: Of the run.
        standing: At its end.
        counts: Negative and positive scans of each split.
        scans: The labelled validation scans.
        probabilities: Of the same.
        run_sha256: Of config and data.
    """
    rule, model = header.rule, header.model
    labels = np.array([scan.label > 0.5 for scan in scans])
    p = np.array(probabilities)
    positive = p > rule.scan_threshold
    found, cleared = int((positive & labels).sum()), int((~positive & ~labels).sum())
    rows = {
        "what": header.provenance.description,
        "learned from": f"labels of {_NAMES[header.supervision]}",
        "training data": header.provenance.training_data,
        "training scans": _count(counts["training"]),
        "validation scans": _count(counts["validation"]),
        "input": f"{model.input_size[0]} x {model.input_size[1]}, "
        + ", ".join(f"L {w.level_hu:g} W {w.width_hu:g}" for w in header.preprocess.windows),
        "objective": config.objective.describe(),
        "epochs": f"{standing.epoch}; the best was number {standing.best_epoch + 1}",
        "steps": str(standing.step),
        "time": f"{standing.seconds / 60:.1f} min, of which waiting for data "
        f"{100 * standing.waited_s / max(standing.seconds, 1e-9):.0f} %",
        "seed": str(config.seed),
        "temperature": f"{rule.temperature:.4g}",
        "scan threshold": f"{rule.scan_threshold:.4g} (Youden, on the validation split)",
        "slice rule": rule.describe(model.bag_padding),
        "run": run_sha256[:16],
        "program": f"sadmil-viewer {__version__}",
        "licence": header.provenance.license or "not stated",
        "cite": header.provenance.citation,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# Model card: {header.name}

**{RESEARCH_USE_NOTICE}.**

| | |
|---|---|
{table}

## On its own validation split

Temperature and thresholds were chosen on these scans, and training was stopped by them: the
figures are optimistic, and no estimate of how the model does elsewhere. Evaluate it on scans it
has never met (`sadmil evaluate`), beside the baselines.

| | |
|---|---|
| loss | {standing.best_loss:.4f} |
| scan AUROC | {_auroc(p, labels):.3f} |
| positive scans found | {found} of {int(labels.sum())} |
| negative scans cleared | {cleared} of {int((~labels).sum())} |

## Limits

{header.provenance.limits} Attention says what the model weighs, not where blood is.
"""


_NAMES = {"scan": "scans only", "slice": "scans and slices", "mask": "scans, slices and masks"}


def _count(counts: tuple[int, int]) -> str:
    negatives, positives = counts
    return f"{negatives + positives} labelled, {positives} of them positive"


def _auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of pairs of a positive and a negative scan in the right order."""
    positive, negative = scores[labels][:, None], scores[~labels][None, :]
    return float(((positive > negative) + 0.5 * (positive == negative)).mean())
