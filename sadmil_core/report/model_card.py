"""What a model is, in a few labelled lines from its checkpoint's header; needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sadmil_core.checkpoint import CheckpointHeader


def card_lines(header: CheckpointHeader) -> tuple[tuple[str, str], ...]:
    """Label and text: name, hash, what it learned from, licence, rule, limits.

    A text that the checkpoint lacks is said to be lacking: silence would read as consent.
    """
    about, rule = header.provenance, header.rule
    decision = f"scan p > {rule.scan_threshold:g}; slice {rule.describe(header.model.bag_padding)}"
    return (
        ("Model", header.name),
        ("SHA-256", header.model_sha256),
        ("Supervision", f"{header.supervision} labels"),
        ("Decision", decision),
        ("Description", about.description or _UNSAID),
        ("Trained on", about.training_data or _UNSAID),
        ("Licence", about.license or _UNSAID),
        ("Limits", about.limits or _UNSAID),
        ("Cite", about.citation or _UNSAID),
        ("Source", about.source or _UNSAID),
    )


_UNSAID = "not stated"
