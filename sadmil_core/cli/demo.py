"""``sadmil demo``: make the synthetic demo study and say where it is."""

from __future__ import annotations

import typer

from sadmil_core.cli.progress_bar import progress_bar
from sadmil_core.paths import cache_dir


def demo() -> None:
    """Make the synthetic demo study (once) and print its folder."""
    from sadmil_core.synth.demo import ensure_demo_study

    with progress_bar() as progress:
        folder = ensure_demo_study(cache_dir(), progress)
    typer.echo(folder)
