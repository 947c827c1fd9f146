"""``sadmil experiment``: many trainings of one question, judged together and told in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain
from sadmil_core.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sadmil_core.batch import Shard
    from sadmil_core.experiments.config import Kind
    from sadmil_core.experiments.plan import Plan
    from sadmil_core.training.signals import StopWish

experiment_app = typer.Typer(
    name="experiment",
    help="Many trainings of one question, judged together: intervals, baselines, and in words "
    "what was and was not shown.",
    no_args_is_help=True,
)

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG.toml", help="The experiment.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of runs and report; else experiments/NAME beside the config.",
        show_default=False,
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Runs trained at once, in processes.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads of each; else the cores shared out.", show_default=False),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Train every N-th run from I on, counted from 0; under torchrun it follows from "
        "RANK. The one that ends last writes the report.",
        show_default=False,
    ),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Train nothing: judge what shards have finished.")
]

_STATUS = """

    Exit status: 0 the report is written (or other shards have runs left), 1 an error, 2 wrong
    usage, 130 or 143 stopped by Ctrl+C or SIGTERM; the same command goes on.
    """


def _command(kind: Kind, about: str) -> Callable[..., None]:
    def run(
        config: Config,
        out: Out = None,
        jobs: Jobs = 1,
        threads: Threads = None,
        shard: ShardOption = None,
        merge: Merge = False,
    ) -> None:
        _run(kind, config, out, jobs=jobs, threads=threads, shard=shard, merge=merge)

    run.__doc__ = about + _STATUS
    return run


for _kind, _about in (
    ("alpha", "How much smoothness: Att-MIL, S1 and S2 at each alpha, and alpha sensitivity."),
    ("order", "S1, S2 or none: alpha chosen on validation, then one look at the test split."),
    ("graph", "Smooth over which graph: chain, hops, distance, gaps, features, the bags' edges."),
    ("ablation", "What each part is worth: Att-MIL, S1, S2, poolings, guidance, instance head."),
):
    experiment_app.command(_kind)(_command(_kind, _about))  # type: ignore[arg-type]


@experiment_app.command("overhead")
def overhead(config: Config, out: Out = None, threads: Threads = None) -> None:
    """What S1 and S2 cost in time and memory, in training and in inference.

    Exit status: 0 measured, 1 an error, 2 wrong usage.
    """
    import torch

    from sadmil_core.experiments.config import read_experiment_config
    from sadmil_core.experiments.overhead import measure_overhead, write_overhead

    read = read_experiment_config(config)
    if threads is not None:
        torch.set_num_threads(threads)
    with progress_bar() as progress:
        measured = measure_overhead(read, progress=progress)
    paths = write_overhead(measured, read, _folder(out, config, read.train.name))
    for sentence in measured.sentences:
        typer.echo(f"- {sentence}")
    typer.echo("\n".join(map(str, paths)))


@experiment_app.command("sensors")
def sensors(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Made if need be.", show_default=False)],
    bags: Annotated[int, typer.Option(min=12, help="Machines; half of them faulty.")] = 160,
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0,
) -> None:
    """Write a synthetic set of bags that are no scans, with edges, and a config for it."""
    from sadmil_core.experiments.sensors import SensorConfig, write_sensor_bags

    path = write_sensor_bags(out, SensorConfig(bags=bags, seed=seed))
    typer.echo(f"{path}\nNow: sadmil experiment order {path}")


def _folder(out: Path | None, config: Path, name: str) -> Path:
    return out or config.parent / "experiments" / name


def _run(
    kind: Kind,
    config: Path,
    out: Path | None,
    *,
    jobs: int,
    threads: int | None,
    shard: str | None,
    merge: bool,
) -> None:
    from sadmil_core.batch import shard_of
    from sadmil_core.experiments.config import read_experiment_config
    from sadmil_core.experiments.plan import make_plan
    from sadmil_core.training.loop import Stopped
    from sadmil_core.training.signals import listening

    try:
        part = shard_of(shard, os.environ)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from error
    read = read_experiment_config(config)
    plan = make_plan(kind, read, config.parent, _folder(out, config, read.train.name))
    for warning in plan.warnings:
        complain(warning)
    with listening() as stop:
        try:
            if not merge:
                _train(plan, part, jobs, threads, stop)
            if merge or not plan.unfinished:
                _finish(plan, jobs, threads, stop)
            else:
                typer.echo(
                    f"{part.name}: this part is trained; {len(plan.unfinished)} of "
                    f"{len(plan.runs)} runs are not. Whoever ends last writes the report; "
                    "--merge does so later."
                )
        except Stopped:
            complain(f"Stopped; {plan.folder} is saved, and the same command goes on.")
            raise typer.Exit(stop.exit_status or 143) from None


def _train(plan: Plan, part: Shard, jobs: int, threads: int | None, stop: StopWish) -> None:
    from sadmil_core.allocator import keep_freed_memory
    from sadmil_core.experiments.finish import require_done
    from sadmil_core.experiments.sweep import sweep
    from sadmil_core.experiments.work import Training

    keep_freed_memory()
    mine = plan.runs[part.index :: part.count]
    waiting = [Training(run=run) for run in mine if not run.is_done]
    if len(waiting) < len(mine):
        complain(f"{len(mine) - len(waiting)} of {len(mine)} runs are finished already.")
    with progress_bar() as progress:
        outcomes = sweep(waiting, jobs=jobs, threads=threads, stop=stop, progress=progress)
    require_done(outcomes)


def _finish(plan: Plan, jobs: int, threads: int | None, stop: StopWish) -> None:
    from sadmil_core.experiments.finish import finish
    from sadmil_core.experiments.report import write_report
    from sadmil_core.experiments.sentences import arm_lines, facts, shown

    with progress_bar() as progress:
        result = finish(plan, jobs=jobs, threads=threads, stop=stop, progress=progress)
    paths = write_report(result)
    typer.echo(facts(result))
    for line in arm_lines(result):
        typer.echo(f"  {line}")
    for sentence in shown(result):
        typer.echo(f"- {sentence}")
    typer.echo("\n".join(map(str, paths)))
    typer.echo(RESEARCH_USE_NOTICE)
