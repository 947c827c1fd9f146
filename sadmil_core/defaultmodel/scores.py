"""How well scans are told apart and their slices ranked, with intervals over hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sadmil_core.data.bags import collate
from sadmil_core.evaluation.ranking import auroc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sadmil_core.data.bags import BagSource
    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.model.sadmil import SaDmil

RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanScores:
    """What a network says of one scan.

    Attributes:
        scan_id: Which.
        host: Whose head it is.
        label: Whether it bleeds.
        logit: Of the scan.
        attention: (S,) the softmax weights; equal ones where the network has none.
        evidence: (S,) signed evidence; NaN where the network gives none.
        slices: (S,) bool: the slices that bleed.
    """

    scan_id: str
    host: str
    label: bool
    logit: float
    attention: NDArray[np.float64]
    evidence: NDArray[np.float64]
    slices: NDArray[np.bool_]

    @property
    def centre(self) -> NDArray[np.float64]:
        """(S,) the image-blind rule: the middle of the stack first."""
        count = len(self.slices)
        return -np.abs((np.arange(count) + 0.5) / count - 0.5)


def score(module: SaDmil, bags: BagSource, scans: Sequence[ManifestScan]) -> list[ScanScores]:
    """Reads scans one by one, unpadded."""
    module.eval()
    found = []
    with torch.inference_mode():
        for index, scan in enumerate(scans):
            batch = collate([bags[index]])
            out = module(
                batch.instances,
                batch.mask_BS,
                edges=batch.edges,
                position_mm_BS=batch.position_mm_BS,
            )
            count = int(batch.mask_BS.sum())
            evidence = out.evidence_BS
            found.append(
                ScanScores(
                    scan_id=scan.scan_id,
                    host=scan.patient_id,
                    label=bool(scan.label),
                    logit=float(out.logit_B[0]),
                    attention=out.attention_BS[0].double().numpy(),
                    evidence=(
                        np.full(count, np.nan) if evidence is None else evidence[0].double().numpy()
                    ),
                    slices=batch.slice_label_BS[0].numpy() > 0.5,
                )
            )
    return found


def scan_auroc(scans: Sequence[ScanScores]) -> float:
    """AUROC of the scan logits."""
    logits = np.array([scan.logit for scan in scans])
    return auroc(logits, np.array([scan.label for scan in scans]))


def slice_auroc(
    scans: Sequence[ScanScores], values: Callable[[ScanScores], NDArray[np.float64]]
) -> float:
    """Mean AUROC of slices within positive scans that hold both kinds."""
    each = [
        auroc(values(scan), scan.slices)
        for scan in scans
        if scan.slices.any() and not scan.slices.all()
    ]
    return float(np.mean(each)) if each else float("nan")


MEASURES: dict[str, Callable[[Sequence[ScanScores]], float]] = {
    "scan_auroc": scan_auroc,
    "slice_auroc_attention": lambda scans: slice_auroc(scans, lambda s: s.attention),
    "slice_auroc_evidence": lambda scans: slice_auroc(scans, lambda s: s.evidence),
    "slice_auroc_centre": lambda scans: slice_auroc(scans, lambda s: s.centre),
    "attention_minus_centre": lambda scans: (
        slice_auroc(scans, lambda s: s.attention) - slice_auroc(scans, lambda s: s.centre)
    ),
}


def measured(
    parts: Sequence[Sequence[ScanScores]], seed: int = 0
) -> dict[str, dict[str, float | int]]:
    """Each measure, averaged over parts that were read by different networks.

    Args:
        parts: For example the outer folds, or the same scans read by several seeds.
        seed: Of the bootstrap.

    Returns:
        By measure: ``value``, ``low`` and ``high`` (95 %, bootstrap over hosts, which are drawn
        for all parts together), and ``hosts``, their number.
    """
    hosts = sorted({scan.host for part in parts for scan in part})
    by_host = [
        {host: [scan for scan in part if scan.host == host] for host in hosts} for part in parts
    ]
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(hosts), len(hosts)) for _ in range(RESAMPLES)]
    out: dict[str, dict[str, float | int]] = {}
    for name, measure in MEASURES.items():
        value = float(np.nanmean([measure(part) for part in parts]))
        resampled = _resampled(name, measure, by_host, hosts, draws)
        low, high = np.nanpercentile(resampled, [2.5, 97.5])
        out[name] = {"value": value, "low": float(low), "high": float(high), "hosts": len(hosts)}
    return out


def _resampled(
    name: str,
    measure: Callable[[Sequence[ScanScores]], float],
    by_host: Sequence[dict[str, list[ScanScores]]],
    hosts: Sequence[str],
    draws: Sequence[NDArray[np.int64]],
) -> NDArray[np.float64]:
    if name != "scan_auroc":
        # A mean over scans: a host counts by its sum and number.
        sums = np.zeros((len(by_host), len(hosts)))
        counts = np.zeros_like(sums)
        for p, part in enumerate(by_host):
            for h, host in enumerate(hosts):
                some = [s for s in part[host] if s.slices.any() and not s.slices.all()]
                if some:
                    sums[p, h], counts[p, h] = measure(some) * len(some), len(some)
        found = []
        for draw in draws:
            total = counts[:, draw].sum(axis=1)
            means = sums[:, draw].sum(axis=1)[total > 0] / total[total > 0]
            found.append(means.mean() if means.size else np.nan)
        return np.array(found)
    found = []
    for draw in draws[: RESAMPLES // 4]:
        values = []
        for part in by_host:
            scans = [scan for h in draw for scan in part[hosts[h]]]
            labels = {scan.label for scan in scans}
            if len(labels) == 2:
                values.append(scan_auroc(scans))
        found.append(float(np.mean(values)) if values else np.nan)
    return np.array(found)
