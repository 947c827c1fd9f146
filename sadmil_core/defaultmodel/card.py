"""The card of a default model, written from its report and its header."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sadmil_core import RESEARCH_USE_NOTICE, __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sadmil_core.checkpoint import CheckpointHeader

_MEASURES = {
    "scan_auroc": "scan AUROC",
    "slice_auroc_attention": "slice AUROC within positive scans, attention",
    "slice_auroc_centre": "the same, image-blind centre rule",
    "attention_minus_centre": "attention above the centre rule",
}


def default_card(header: CheckpointHeader, report: Mapping[str, Any]) -> str:
    """Markdown: what the model is, what it learned from, how it was judged, what is not known.

    Args:
        header: Of the checkpoint, with its hash.
        report: What :class:`~sadmil_core.defaultmodel.build.Build` found.
    """
    p, rule, model = header.provenance, header.rule, header.model
    recipe = report["recipe"]
    facts = {
        "what": p.description,
        "training data": p.training_data,
        "hosts": f"{len(report['hosts'])} (SHA-256 of their pixels {report['hosts_sha256'][:16]})"
        if report["hosts"]
        else "none: phantoms alone",
        "scans": f"{report['scans']}, of them {report['positive_scans']} with blood",
        "seed": f"{recipe['seed']}; heads of {recipe['seeds']} seeds",
        "input": f"{model.input_size[0]} x {model.input_size[1]} pixels of "
        f"{header.preprocess.pixel_spacing_mm:g} mm around the head, "
        + ", ".join(f"L {w.level_hu:g} W {w.width_hu:g}" for w in header.preprocess.windows),
        "temperature": f"{rule.temperature:.4g}",
        "scan threshold": f"{rule.scan_threshold:.3f}",
        "slice threshold": f"{rule.slice_threshold:.3g} times an equal share of attention",
        "weights": f"SHA-256 {header.model_sha256}",
        "licence": p.license,
        "cite": p.citation,
        "limits": p.limits,
        "made with": f"sadmil-viewer {__version__}, `sadmil train-default`",
    }
    lines = [f"# Model card: {header.name}", "", f"**{RESEARCH_USE_NOTICE}.**", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())]
    lines += ["", "## Judged on hosts it never met", "", *_judged(report), ""]
    lines += [*_plain(report, header), *_agreement(report.get("agreement") or {})]
    return "\n".join(lines).rstrip() + "\n"


def _judged(report: Mapping[str, Any]) -> list[str]:
    folds, nested = report["recipe"]["folds"], report["nested"]
    hosts = nested["scan_auroc"]["hosts"]
    lines = [
        f"Outer folds over hosts ({folds}); in each, the way to pool was chosen on other hosts "
        f"({', '.join(report['chosen_in_each_fold'])}). All lesions are drawn. Intervals: 95 %, "
        f"bootstrap over {hosts} hosts.",
        "",
        "| measure | value | interval |",
        "|---|---|---|",
    ]
    for key, name in _MEASURES.items():
        lines.append(f"| {name} | {_value(nested[key])} | {_interval(nested[key])} |")
    lines += [
        "",
        f"The model that is kept pools as `{report['chosen']}`. Every candidate, over all seeds:",
        "",
        "| candidate | scan AUROC | SD over seeds | slice AUROC, attention |",
        "|---|---|---|---|",
    ]
    for name, figures in report["outer"].items():
        scan, slices = figures["scan_auroc"], figures["slice_auroc_attention"]
        lines.append(
            f"| {name} | {_value(scan)} ({_interval(scan)}) | {scan['seed_sd']:.3f} "
            f"| {_value(slices)} ({_interval(slices)}) |"
        )
    return lines


def _plain(report: Mapping[str, Any], header: CheckpointHeader) -> list[str]:
    """How the hosts themselves read, into which nothing was put."""
    logits = list(report["plain_hosts_logits"].values())
    if not logits:
        return []
    rule = header.rule
    cleared = sum(1 / (1 + math.exp(-x / rule.temperature)) <= rule.scan_threshold for x in logits)
    return [
        f"Of the {len(logits)} hosts as they are, {cleared} read as negative at the stored "
        "threshold, each by the network that was kept from it.",
        "",
    ]


def _agreement(found: Mapping[str, Any]) -> list[str]:
    if "spearman" not in found:
        return []
    text = (
        f"On {found['scans']} real scans without labels its order agrees with the mean rank that "
        f"{' and '.join(found['others'])} give them: Spearman {found['spearman']:.2f} "
        f"({found['low']:.2f} to {found['high']:.2f}, bootstrap over scans)."
    )
    weak = " That is weak: it may have learnt something other than blood."
    return [text + (weak if found["spearman"] < 0.3 else "")]


def _value(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f}"


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['low']:.3f} to {figure['high']:.3f}"
