"""``sadmil train-default``: the shipped model again, or one on hosts of one's own."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain
from sadmil_core.cli.progress_bar import progress_bar

_PHANTOM_LICENSE = "MIT"
_METHOD = "Wu et al., MICCAI 2023, arXiv 2307.09457 (the method)"


def train_default(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Of all that is made.", show_default=False)
    ],
    hosts: Annotated[
        list[Path] | None,
        typer.Option(
            "--hosts",
            metavar="FOLDER",
            help="Head CT without hemorrhage, any number of folders. Without: phantoms only.",
            show_default=False,
        ),
    ] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Of the weights; hosts may restrict it.")
    ] = "",
    training_data: Annotated[
        str, typer.Option("--training-data", help="Whose heads the hosts are, for the model card.")
    ] = "",
    citation: Annotated[str, typer.Option("--citation", help="What the hosts ask to cite.")] = "",
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch",
            metavar="FOLDER",
            help="Unlabelled scans: how well their order agrees with that of --watch-with is "
            "reported, and nothing is chosen by it.",
            show_default=False,
        ),
    ] = None,
    watch_with: Annotated[
        list[str] | None,
        typer.Option(
            "--watch-with", metavar="MODEL", help="Name or file of a model.", show_default=False
        ),
    ] = None,
    short: Annotated[
        bool,
        typer.Option("--short", help="All steps in a minute, to try them; the model is useless."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default=False)
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1, help="Networks trained at a time, each on one thread: quicker than more threads."
        ),
    ] = 1,
) -> None:
    """Insert synthetic hemorrhage, train an encoder and heads, judge them on hosts never met.

    Hours on two cores. Stopped or killed, the same command goes on.

    Exit status: 0 DIR/default.safetensors and DIR/report.json are there, 1 an error, 2 wrong
    usage, 130 or 143 stopped with all saved.
    """
    import torch

    from sadmil_core.allocator import keep_freed_memory
    from sadmil_core.checkpoint import Provenance
    from sadmil_core.defaultmodel.build import REPORT_FILE, Build
    from sadmil_core.defaultmodel.recipe import RECIPE, SHORT
    from sadmil_core.model.trained import load_checkpoint
    from sadmil_core.modelstore import resolve_model
    from sadmil_core.progress import Cancelled
    from sadmil_core.training.loop import Stopped
    from sadmil_core.training.ranks import joined_ranks
    from sadmil_core.training.signals import listening

    if hosts and not license_:
        raise typer.BadParameter(
            "say under which licence the weights are, which the hosts' own may restrict",
            param_hint="--license",
        )
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    with listening() as stop, joined_ranks() as ranks, progress_bar() as progress:
        build = Build(
            folder=out,
            recipe=SHORT if short else RECIPE,
            ranks=ranks,
            provenance=Provenance(
                training_data=training_data or "Phantoms of this program.",
                license=license_ or _PHANTOM_LICENSE,
                citation="; ".join(
                    filter(
                        None, ["Wu et al., MICCAI 2023, arXiv 2307.09457 (the method)", citation]
                    )
                ),
                limits="Research use only. Has met no real hemorrhage: all it has seen were drawn.",
            ),
            stop=stop,
            progress=progress,
            say=complain,
            processes=processes,
            watched=tuple(watch or ()),
            watching=tuple(load_checkpoint(resolve_model(name)) for name in watch_with or ()),
        )
        try:
            path = build.run(hosts or [])
        except (Stopped, Cancelled):
            complain(f"Stopped; {out} is saved, and the same command goes on.")
            raise typer.Exit(stop.exit_status or 143) from None
    typer.echo(f"{path}\nFigures: {out / REPORT_FILE}\n{RESEARCH_USE_NOTICE}")
