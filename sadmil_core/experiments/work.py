"""What one process does: a training with its readings, or the reading of the test split."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from sadmil_core.atomic import replacing
from sadmil_core.data.augment import AugmentConfig
from sadmil_core.data.featurebags import FeatureBags
from sadmil_core.data.storebags import StoreBags
from sadmil_core.devices import choose_device, device_of_rank
from sadmil_core.errors import ExperimentError, SadmilError
from sadmil_core.experiments.noise import NoisyFeatures, NoisyImages
from sadmil_core.experiments.readings import (
    decision_flips,
    load_readings,
    read_bags,
    save_readings,
)
from sadmil_core.model.trained import load_checkpoint
from sadmil_core.training.fit import BEST_FILE, MODEL_FILE, fit
from sadmil_core.training.loop import STATE_FILE, Stopped
from sadmil_core.training.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sadmil_core.data.bags import BagSource
    from sadmil_core.data.scans import ManifestScan
    from sadmil_core.experiments.config import NoiseConfig
    from sadmil_core.experiments.plan import Run
    from sadmil_core.experiments.readings import Readings
    from sadmil_core.model.trained import TrainedModel

TRAIN_READINGS, VALIDATION_READINGS = "train.npz", "val.npz"
TEST_READINGS = "test.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a piece of work.

    Attributes:
        title: Which.
        kind: What became of it.
        message: Why it failed.
    """

    title: str
    kind: Literal["done", "stopped", "failed"]
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A run to be trained and read on its own splits."""

    run: Run

    @property
    def number(self) -> int:
        """Which, for the choice of a device."""
        return self.run.number

    def do(self, stop: Callable[[], bool]) -> Outcome:
        """Trains, or goes on where it stopped."""
        return _guarded(self.run, lambda: _train(self.run, stop))


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReading:
    """A finished run to be read on the test split.

    Attributes:
        run: Finished.
        scans: Of the test split.
        noise: Under which decisions may flip.
        identity: Of scans and noise: other readings are not used again.
    """

    run: Run
    scans: tuple[ManifestScan, ...]
    noise: NoiseConfig
    identity: str

    @property
    def number(self) -> int:
        """Which, for the choice of a device."""
        return self.run.number

    @property
    def path(self) -> Path:
        """Where the readings are."""
        return self.run.folder / TEST_READINGS

    @property
    def is_done(self) -> bool:
        """Whether the very readings are there."""
        note = self.path.with_suffix(".json")
        with suppress(OSError, ValueError):
            return self.path.is_file() and json.loads(note.read_text()) == self._note
        return False

    @property
    def _note(self) -> dict[str, str]:
        return {"identity": self.identity}

    def do(self, stop: Callable[[], bool]) -> Outcome:
        """Reads, unless asked to stop before."""
        if stop():
            return Outcome(title=self.run.title, kind="stopped")
        return _guarded(self.run, self._read)

    def _read(self) -> None:
        if self.is_done:
            return
        model = load_checkpoint(self.run.folder / MODEL_FILE)
        device = _device(self.run.number)
        bags = _judged_bags(self.run, self.scans, model)
        clean = read_bags(model, bags, device)
        noisy = [
            read_bags(model, _with_noise(self.run, bags, model, self.noise, repeat), device)
            for repeat in range(self.noise.repeats)
        ]
        if noisy:
            clean = replace(clean, extras={**clean.extras, **decision_flips(clean, noisy)})
        save_readings(clean, self.path)
        with replacing(self.path.with_suffix(".json")) as stream:
            stream.write(json.dumps(self._note).encode())


def _guarded(run: Run, work: Callable[[], None]) -> Outcome:
    try:
        work()
    except Stopped:
        return Outcome(title=run.title, kind="stopped")
    except SadmilError as error:
        return Outcome(title=run.title, kind="failed", message=str(error))
    return Outcome(title=run.title, kind="done")


def _device(number: int) -> torch.device:
    """Processes of a machine share its cards in turn."""
    choice = device_of_rank("cuda", number) if torch.cuda.is_available() else "cpu"
    return choose_device(choice)


def _train(run: Run, stop: Callable[[], bool]) -> None:
    if run.is_done:
        return
    if stop():
        raise Stopped
    device = _device(run.number)
    opened = run.open()
    header = fit(
        run.config,
        opened.splits,
        run.folder,
        Ranks(device=device),
        preprocess=opened.preprocess,
        stop=stop,
    )
    model = load_checkpoint(run.folder / MODEL_FILE)
    plain = replace(run, config=replace(run.config, augment=AugmentConfig()))
    for name, bags in (
        (TRAIN_READINGS, plain.open().splits.train),
        (VALIDATION_READINGS, opened.splits.validation),
    ):
        save_readings(read_bags(model, bags, device), run.folder / name)
    document = {"arm": run.arm.name, "seed": run.seed, "model_sha256": header.model_sha256}
    with replacing(run.done_path) as stream:
        stream.write(f"{json.dumps(document, indent=1)}\n".encode())
    # What only an unfinished run needs; a hundred runs are kept.
    for name in (STATE_FILE, BEST_FILE):
        with suppress(OSError):
            (run.folder / name).unlink()


def _judged_bags(
    run: Run, scans: Sequence[ManifestScan], model: TrainedModel
) -> FeatureBags | StoreBags:
    if not model.header.model.reads_images:
        return FeatureBags(scans)
    return StoreBags(scans, run.base / run.config.data.store, model.header.preprocess)


def _with_noise(
    run: Run, bags: BagSource, model: TrainedModel, noise: NoiseConfig, repeat: int
) -> BagSource:
    if not model.header.model.reads_images:
        return NoisyFeatures(bags, noise.feature_share, repeat)
    store = run.base / run.config.data.store
    return NoisyImages(bags, store, model.header.preprocess, noise.sd_hu, repeat)


def read_back(run: Run, name: str) -> Readings:
    """Readings of a finished run.

    Raises:
        ExperimentError: They are damaged, or of another network than the run's.
    """
    readings = load_readings(run.folder / name)
    try:
        expected = json.loads(run.done_path.read_text(encoding="utf-8"))["model_sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise ExperimentError(
            f"{run.done_path} cannot be read.",
            remedy=f"Delete the folder {run.folder.name} and run the experiment again.",
            detail=str(error),
        ) from error
    if readings.model_sha256 != expected:
        raise ExperimentError(
            f"{run.folder / name} is of another network than {run.done_path.name} says.",
            remedy=f"Delete the folder {run.folder.name} and run the experiment again.",
        )
    return readings
