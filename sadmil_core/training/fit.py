"""A whole run in its folder: from bags to a calibrated checkpoint with its model card.

The folder holds ``config.json`` (what the run was started with), ``events.jsonl``,
``state.safetensors`` (between two steps), ``best.safetensors`` (the network of the lowest
validation loss), and in the end ``model.safetensors``, ``card.md`` and ``validation.csv``.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.checkpoint import CheckpointHeader, Provenance, read_header
from sadmil_core.configs import canonical_json, to_mapping
from sadmil_core.errors import CheckpointError, TrainingError
from sadmil_core.filelock import lock_file
from sadmil_core.model.trained import initial_model, load_checkpoint, save_checkpoint
from sadmil_core.progress import Progress, no_progress
from sadmil_core.result import DecisionRule, sigmoid
from sadmil_core.training.calibrate import calibrated
from sadmil_core.training.card import model_card
from sadmil_core.training.config import require_served
from sadmil_core.training.events import EventLog
from sadmil_core.training.loop import STATE_FILE, EpochEnd, Trainer
from sadmil_core.training.objective import ClassWeights, inverse_frequency
from sadmil_core.training.order import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sadmil_core.data.bags import BagSource
    from sadmil_core.model.sadmil import SaDmil
    from sadmil_core.preprocess import PreprocessConfig
    from sadmil_core.training.calibrate import ValidationScan
    from sadmil_core.training.config import TrainingConfig
    from sadmil_core.training.ranks import Ranks

MODEL_FILE, BEST_FILE, EVENTS_FILE = "model.safetensors", "best.safetensors", "events.jsonl"
CONFIG_FILE, CARD_FILE, VALIDATION_FILE = "config.json", "card.md", "validation.csv"
_LOCK_FILE = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The bags of a run.

    Attributes:
        train: The training split.
        validation: The validation split.
        sha256: Of what they are made from, so that a run goes on with the same data only.
    """

    train: BagSource
    validation: BagSource
    sha256: str = ""


def count_classes(bags: BagSource, split: str) -> tuple[int, int]:
    """Negative and positive scans of a split.

    Raises:
        TrainingError: A class has no example.
    """
    known = [label for label in bags.labels if not math.isnan(label)]
    positives = sum(label > 0.5 for label in known)
    negatives = len(known) - positives
    if min(positives, negatives) < 1:
        raise TrainingError(
            f"The {split} split holds {negatives} negative and {positives} positive scans.",
            remedy="Both classes need examples: label more scans, or split otherwise.",
        )
    return negatives, positives


def initial_network(
    config: TrainingConfig, start: CheckpointHeader | None, start_path: Path | None
) -> SaDmil:
    """The network before its first step: random by the seed, or that of a checkpoint.

    Raises:
        CheckpointError: The checkpoint is damaged.
        ModelError: The library or the weights of its backbone cannot be had.
    """
    if start_path is not None and start is not None:
        return load_checkpoint(start_path).module.train()
    if config.model is None:
        raise ValueError("a run needs a network or a checkpoint to start from")
    torch.manual_seed(seed_for("weights", config.seed))
    return initial_model(config.model)


def fit(
    config: TrainingConfig,
    splits: Splits,
    folder: Path,
    ranks: Ranks,
    *,
    preprocess: PreprocessConfig,
    start_path: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
    log: EventLog | None = None,
    on_epoch: Callable[[EpochEnd], None] = lambda _end: None,
) -> CheckpointHeader:
    """Trains, goes on where a run in this folder stopped, and writes the checkpoint.

    Args:
        config: The run.
        splits: Its bags.
        folder: Of the run; made if need be.
        ranks: This process among the others.
        preprocess: What the network sees.
        start_path: The checkpoint of ``config.start``.
        stop: Asked after each step whether to stop.
        progress: Told after each step.
        log: Of events; None for the folder's own. Only the first rank writes.
        on_epoch: Told after each epoch, on the first rank.

    Returns:
        The header of ``model.safetensors``.

    Raises:
        ConfigError: The network cannot do what is asked of it.
        TrainingError: The folder holds another run or is in use, a class has no example, or the
            loss is no number.
        WriteError: The disk is full, or the like; the last saved state is whole.
        Stopped: Asked to; the same call goes on.
    """
    start = read_header(start_path) if start_path is not None else None
    if start is not None:
        require_served(config, start.model)
    elif config.model is not None:
        require_served(config, config.model)
    sha256 = _run_sha256(config, splits, start)
    finished = _finished(folder, sha256)
    if finished is not None:
        return finished
    negatives, positives = count_classes(splits.train, "training")
    count_classes(splits.validation, "validation")
    if ranks.is_first:
        make_folder(folder)
    with held(folder) if ranks.is_first else nullcontext():
        if ranks.is_first:
            _note_config(folder, config, sha256)
        weights = config.objective.class_weights
        log = log or EventLog(folder / EVENTS_FILE)
        trainer = Trainer(
            config,
            config_sha256=sha256,
            module=initial_network(config, start, start_path),
            train=splits.train,
            validation=splits.validation,
            classes=(
                inverse_frequency(negatives, positives) if weights == "inverse" else ClassWeights()
            ),
            ranks=ranks,
            folder=folder,
            log=log if ranks.is_first else None,
            stop=stop,
            progress=progress,
        )
        header = _header(config, trainer.module, preprocess, splits, start)
        _train(trainer, splits, folder, header, log, on_epoch)
    return read_header(folder / MODEL_FILE)


def _train(
    trainer: Trainer,
    splits: Splits,
    folder: Path,
    header: CheckpointHeader,
    log: EventLog,
    on_epoch: Callable[[EpochEnd], None],
) -> None:
    """Goes on from the saved state to the finished checkpoint."""
    ranks = trainer.ranks
    trainer.resume()

    def ended(end: EpochEnd) -> None:
        if ranks.is_first:
            if end.improved:
                save_checkpoint(folder / BEST_FILE, trainer.network(), header)
                _write_validation(folder, end.scans)
            _note_epoch(log, trainer, end)
            on_epoch(end)

    trainer.epochs(ended)
    if ranks.is_first:
        _finish(trainer, folder, splits)
    ranks.gather(None)  # no rank goes on before the checkpoint is there


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a run's folder; a process that dies lets go of it.

    Raises:
        TrainingError: Another process is in it.
    """
    with (folder / _LOCK_FILE).open("ab") as stream:
        try:
            lock_file(stream)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise TrainingError(
                    f"Another process is training in {folder}.",
                    remedy="Wait until it ends, or choose another --out.",
                ) from error
            # A file system without locks: as before there were any.
        yield


def _run_sha256(config: TrainingConfig, splits: Splits, start: CheckpointHeader | None) -> str:
    """What makes a run what it is: its config, its data, the weights it starts from."""
    parts = [to_mapping(config), splits.sha256, start.model_sha256 if start else ""]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _finished(folder: Path, sha256: str) -> CheckpointHeader | None:
    """The checkpoint of a run that has ended, if it was this one."""
    if not (folder / MODEL_FILE).is_file():
        return None
    _require_same_run(folder, sha256)
    try:
        return read_header(folder / MODEL_FILE)
    except CheckpointError:
        return None


def _note_config(folder: Path, config: TrainingConfig, sha256: str) -> None:
    _require_same_run(folder, sha256)
    document = {"run_sha256": sha256, "config": to_mapping(config)}
    with replacing(folder / CONFIG_FILE) as stream:
        stream.write(f"{json.dumps(document, indent=1)}\n".encode())


def _require_same_run(folder: Path, sha256: str) -> None:
    path = folder / CONFIG_FILE
    if not path.is_file():
        if (folder / STATE_FILE).is_file() or (folder / MODEL_FILE).is_file():
            raise TrainingError(
                f"{folder} holds a run whose {CONFIG_FILE} is missing.",
                remedy="Choose another --out.",
            )
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["run_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} cannot be read.", remedy="Choose another --out.", detail=str(error)
        ) from error
    if before != sha256:
        raise TrainingError(
            f"{folder} holds a run of another config or of other data ({path.name} tells which).",
            remedy="Choose another --out, or delete that folder to begin anew.",
        )


def _header(
    config: TrainingConfig,
    module: SaDmil,
    preprocess: PreprocessConfig,
    splits: Splits,
    start: CheckpointHeader | None,
) -> CheckpointHeader:
    described = config.objective.describe()
    on = f", fine-tuned from {start.name}" if start else ""
    counts = f"{len(splits.train)} scans for training, {len(splits.validation)} for validation"
    return CheckpointHeader(
        name=config.name,
        model=module.config,
        preprocess=preprocess,
        rule=DecisionRule(),
        supervision=config.objective.supervision,
        provenance=Provenance(
            description=f"SA-DMIL ({described}){on}, seed {config.seed}.",
            training_data="; ".join(filter(None, [config.training_data, counts])),
            license=config.license,
            citation="Wu et al., MICCAI 2023, arXiv 2307.09457 (the method)",
            limits="Research use only. Not evaluated beyond its own validation split.",
            source=f"sadmil train; data {splits.sha256[:12] or 'unnamed'}",
        ),
    )


def _note_epoch(log: EventLog, trainer: Trainer, end: EpochEnd) -> None:
    standing = trainer.standing
    log.write(
        "epoch",
        standing.step,
        epoch=end.epoch,
        train=end.train,
        validation=end.validation,
        improved=end.improved,
    )


def _write_validation(folder: Path, scans: list[ValidationScan]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["scan_id", "label", "scan_logit"])
    for scan in scans:
        label = "" if math.isnan(scan.label) else int(scan.label)
        writer.writerow([scan.scan_id, label, repr(scan.logit)])
    with replacing(folder / VALIDATION_FILE) as stream:
        stream.write(buffer.getvalue().encode())


def _finish(trainer: Trainer, folder: Path, splits: Splits) -> None:
    """Calibrates the best network on the validation split, and writes it with its card."""
    best = load_checkpoint(folder / BEST_FILE)
    scans = [s for s in trainer.read_validation(best.module) if not math.isnan(s.label)]
    header = replace(best.header, rule=calibrated(best.header.rule, scans), model_sha256="")
    counts = {
        "training": count_classes(splits.train, "training"),
        "validation": count_classes(splits.validation, "validation"),
    }
    probabilities = [sigmoid(s.logit / header.rule.temperature) for s in scans]
    card = model_card(
        header,
        trainer.config,
        trainer.standing,
        counts,
        scans,
        probabilities,
        run_sha256=trainer.config_sha256,
    )
    with replacing(folder / CARD_FILE) as stream:
        stream.write(card.encode())
    # Last: what is there is finished.
    save_checkpoint(folder / MODEL_FILE, best.module, header)
