"""``sadmil train``: a config to a calibrated checkpoint with its model card."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain
from sadmil_core.cli.predict_options import Device
from sadmil_core.cli.progress_bar import progress_bar
from sadmil_core.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import torch

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.progress import Progress
    from sadmil_core.training.config import TrainingConfig
    from sadmil_core.training.events import EventLog
    from sadmil_core.training.loop import EpochEnd
    from sadmil_core.training.ranks import Ranks
    from sadmil_core.training.run import OpenedRun
    from sadmil_core.training.signals import StopWish

_SAID_EVERY_S = 60.0


def _print_example(wanted: bool) -> None:
    if wanted:
        from sadmil_core.paths import resource_path

        typer.echo(resource_path("configs", "retrain.toml").read_text(encoding="utf-8"), nl=False)
        raise typer.Exit


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="The run.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of the run; else runs/NAME beside the config.",
            show_default=False,
        ),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Offer the finished model in the viewer, by its name.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an installed model of that name.")
    ] = False,
    device: Annotated[
        Device, typer.Option(help="Where to compute; auto takes CUDA, then the CPU.")
    ] = Device.AUTO,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each process.", show_default=False)
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write DIR/tensorboard, too.")
    ] = False,
    example: Annotated[
        bool,
        typer.Option(
            "--example",
            callback=_print_example,
            is_eager=True,
            help="Print a config to start from.",
        ),
    ] = False,
) -> None:
    """Train, or go on where the same command was stopped or killed.

    Alone, or on many: `torchrun --nproc-per-node N -m sadmil_core train CONFIG.toml`.

    Exit status: 0 the model is finished, 1 an error, 2 wrong usage, 130 or 143 stopped by
    Ctrl+C or SIGTERM with the state saved.
    """
    from sadmil_core.training.config import read_training_config
    from sadmil_core.training.loop import Stopped
    from sadmil_core.training.ranks import joined_ranks
    from sadmil_core.training.run import open_run
    from sadmil_core.training.signals import listening

    read = read_training_config(config)
    folder = out or config.parent / "runs" / read.name
    if install:
        _require_name(read.name, folder, overwrite)
    with listening() as stop, joined_ranks(_device(device)) as ranks:
        _share_cores(threads)
        opened = open_run(read, config.parent)
        if ranks.is_first:
            for warning in opened.warnings:
                complain(warning)
        try:
            with _bar(ranks) as progress:
                header = _fit(read, opened, folder, ranks, stop, progress, tensorboard=tensorboard)
        except Stopped:
            if ranks.is_first:
                complain(f"Stopped; {folder} is saved, and the same command goes on.")
            raise typer.Exit(stop.exit_status or 143) from None
        if ranks.is_first:
            _tell(header, folder)
            if install:
                _install(read.name, folder)


def _fit(
    config: TrainingConfig,
    opened: OpenedRun,
    folder: Path,
    ranks: Ranks,
    stop: StopWish,
    progress: Progress,
    *,
    tensorboard: bool,
) -> CheckpointHeader:
    from sadmil_core.allocator import keep_freed_memory
    from sadmil_core.training.fit import fit

    if not config.optimizer.activation_checkpointing:  # who asks for it is short of memory
        keep_freed_memory()
    return fit(
        config,
        opened.splits,
        folder,
        ranks,
        preprocess=opened.preprocess,
        start_path=opened.start_path,
        stop=stop,
        progress=progress,
        log=_log(folder) if tensorboard and ranks.is_first else None,
        on_epoch=_say_epoch,
    )


def _log(folder: Path) -> EventLog:
    from sadmil_core.training.fit import EVENTS_FILE
    from sadmil_core.training.tensorboard import TensorBoardLog

    return TensorBoardLog(folder / EVENTS_FILE, folder / "tensorboard")


def _device(choice: Device) -> torch.device | None:
    """The rank's own; None leaves it to the environment."""
    from sadmil_core.devices import choose_device, device_of_rank

    if choice is Device.AUTO:
        return None
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return choose_device(device_of_rank(choice.value, local))


def _share_cores(threads: int | None) -> None:
    import torch

    from sadmil_core.batch import default_threads, shard_of

    threads = threads or default_threads(shard_of(None, os.environ), os.environ)
    if threads is not None:
        torch.set_num_threads(threads)


def _bar(ranks: Ranks) -> AbstractContextManager[Progress]:
    if not ranks.is_first:
        return nullcontext(no_progress)
    if Console(stderr=True).is_terminal:
        return progress_bar()
    return _lines()


@contextmanager
def _lines() -> Iterator[Progress]:
    """Says from time to time how far it is, where nobody looks at a bar."""
    start = said = time.monotonic()
    first = 0

    def report(done: int, total: int, phase: str) -> None:
        nonlocal said, first
        now = time.monotonic()
        first = first or done
        if now - said < _SAID_EVERY_S or done == first:
            return
        said = now
        left_min = (now - start) / (done - first) * (total - done) / 60
        complain(f"{phase}: step {done} of {total}, at most {left_min:.0f} min left")

    yield report


def _say_epoch(end: EpochEnd) -> None:
    best = ", the best so far" if end.improved else ""
    complain(
        f"epoch {end.epoch + 1}: loss {end.train['loss']:.4f}, "
        f"validation {end.validation['loss']:.4f}{best}"
    )


def _require_name(name: str, folder: Path, overwrite: bool) -> None:
    """Refuses a name under which nothing can be installed, before the training."""
    from sadmil_core.errors import CheckpointError
    from sadmil_core.modelstore import model_path_for
    from sadmil_core.training.fit import MODEL_FILE

    path, made = model_path_for(name), folder / MODEL_FILE
    if not path.exists() or overwrite:
        return
    if not made.is_file() or path.read_bytes() != made.read_bytes():
        raise CheckpointError(
            f"There is a model {name!r} already: {path}.",
            remedy="Give the run another name, or --overwrite.",
        )


def _install(name: str, folder: Path) -> None:
    from sadmil_core.atomic import replacing
    from sadmil_core.modelstore import model_path_for
    from sadmil_core.training.fit import MODEL_FILE

    path = model_path_for(name)
    with replacing(path) as stream:
        stream.write((folder / MODEL_FILE).read_bytes())
    typer.echo(f"Installed {name}: {path}")


def _tell(header: CheckpointHeader, folder: Path) -> None:
    from sadmil_core.training.fit import CARD_FILE, MODEL_FILE

    rule = header.rule
    typer.echo(
        f"{folder / MODEL_FILE}\n"
        f"{header.provenance.description} Temperature {rule.temperature:.3g}, scan threshold "
        f"{rule.scan_threshold:.3g}; model card: {folder / CARD_FILE}\n{RESEARCH_USE_NOTICE}"
    )
