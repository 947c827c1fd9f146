"""The loop: it learns, it stops and goes on to the same bits, and ranks make the step of one."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sadmil_core.checkpoint import CheckpointHeader, read_checkpoint
from sadmil_core.data.bags import BagSample
from sadmil_core.errors import TrainingError, WriteError
from sadmil_core.model.trained import load_checkpoint
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.training.config import (
    DataConfig,
    LengthConfig,
    OptimizerConfig,
    TrainingConfig,
)
from sadmil_core.training.events import read_events
from sadmil_core.training.fit import Splits, fit
from sadmil_core.training.loop import Stopped
from sadmil_core.training.objective_config import ObjectiveConfig
from sadmil_core.training.ranks import Ranks
from tests.bag_lists import BagList, square_scans
from tests.networks import SIZE, small_config

ONE = Ranks(device=torch.device("cpu"))


def _config(**changes: Any) -> TrainingConfig:
    values: dict[str, Any] = {
        "name": "squares",
        "data": DataConfig(manifest="-", bags_per_step=3, bags_per_batch=2),
        "model": small_config(output="max"),
        "objective": ObjectiveConfig(alpha=0.1, slice_weight=0.5, attention_weight=0.2),
        "optimizer": OptimizerConfig(lr=1e-2, ema_decay=0.5, warmup_steps=2, schedule="cosine"),
        "length": LengthConfig(epochs=3, patience=0, save_every_steps=1),
        "seed": 4,
    }
    return TrainingConfig(**(values | changes))


def _splits(train: int = 7, validation: int = 4) -> Splits:
    return Splits(
        train=BagList(square_scans(train, 1)), validation=BagList(square_scans(validation, 2))
    )


def _fit(config: TrainingConfig, folder: Path, **options: Any) -> CheckpointHeader:
    splits = options.pop("splits", None) or _splits()
    preprocess = PreprocessConfig(size=SIZE)
    return fit(config, splits, folder, ONE, preprocess=preprocess, **options)


def _without_times(folder: Path) -> list[dict[str, Any]]:
    return read_events(folder / "events.jsonl")


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    config = _config(
        length=LengthConfig(epochs=15, patience=0),
        optimizer=OptimizerConfig(lr=1e-2),
        objective=ObjectiveConfig(alpha=0.02),
    )
    header = _fit(config, tmp_path, splits=_splits(24, 12))
    events = read_events(tmp_path / "events.jsonl")
    losses = [e["validation"]["scan"] for e in events if e["event"] == "epoch"]
    assert losses[-1] < 0.5 * math.log(2) < losses[0]
    model = load_checkpoint(tmp_path / "model.safetensors")
    assert model.header == header
    right = 0
    for sample in square_scans(20, 3):
        pooled = model.module.pool(model.module.encode(sample.instances))
        probability = torch.sigmoid(pooled.logit / header.rule.temperature)
        right += bool(probability > header.rule.scan_threshold) == (sample.label > 0.5)
    assert right >= 18


def test_the_folder_tells_what_was_done(tmp_path: Path) -> None:
    header = _fit(_config(license="CC0"), tmp_path)
    card = (tmp_path / "card.md").read_text()
    for text in ("squares", "S1, alpha 0.1, chain", "7 labelled, 3 of them positive", "CC0"):
        assert text in card
    assert header.supervision == "slice"
    assert "Research use only" in card
    assert header.rule.temperature != 1.0
    document = json.loads((tmp_path / "config.json").read_text())
    assert document["config"]["seed"] == 4
    rows = (tmp_path / "validation.csv").read_text().splitlines()
    assert len(rows) == 1 + 4


@pytest.mark.parametrize("stop_after", [1, 3, 5, 8])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, stop_after: int) -> None:
    _fit(_config(), tmp_path / "whole")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_after + 1

    with pytest.raises(Stopped):
        _fit(_config(), tmp_path / "parts", stop=stop)
    _fit(_config(), tmp_path / "parts")
    for name in ("model.safetensors", "best.safetensors"):
        whole, parts = ((tmp_path / folder / name).read_bytes() for folder in ("whole", "parts"))
        assert whole == parts
    assert _without_times(tmp_path / "whole") == _without_times(tmp_path / "parts")
    states = [
        safetensors.torch.load_file(tmp_path / folder / "state.safetensors")
        for folder in ("whole", "parts")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


class _KilledError(BaseException):
    """As if the process ended here."""


def test_a_run_that_dies_between_two_saves_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config = _config(length=LengthConfig(epochs=3, patience=0, save_every_steps=2))
    _fit(config, tmp_path / "whole")

    def die(done: int, total: int, phase: str) -> None:
        if done == 6:
            raise _KilledError

    with pytest.raises(_KilledError):
        _fit(config, tmp_path / "parts", progress=die)
    _fit(config, tmp_path / "parts")
    whole, parts = (
        (tmp_path / folder / "model.safetensors").read_bytes() for folder in ("whole", "parts")
    )
    assert whole == parts
    assert _without_times(tmp_path / "whole") == _without_times(tmp_path / "parts")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    header = _fit(_config(), tmp_path)
    splits = _splits()
    assert _fit(_config(), tmp_path, splits=splits) == header
    assert isinstance(splits.train, BagList)
    assert not splits.train.drawn


def test_another_config_or_other_data_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    _fit(_config(), tmp_path)
    with pytest.raises(TrainingError, match="another config"):
        _fit(_config(seed=5), tmp_path)
    with pytest.raises(TrainingError, match="other data"):
        _fit(_config(), tmp_path, splits=replace(_splits(), sha256="x"))


def test_threads_that_load_change_nothing(tmp_path: Path) -> None:
    data = DataConfig(manifest="-", bags_per_step=3, bags_per_batch=2, workers=2)
    _fit(_config(), tmp_path / "0")
    _fit(_config(data=data), tmp_path / "2")
    tensors = [read_checkpoint(tmp_path / n / "model.safetensors")[1] for n in ("0", "2")]
    assert all((tensors[0][k] == tensors[1][k]).all() for k in tensors[0])


def test_early_stopping(tmp_path: Path) -> None:
    config = _config(
        optimizer=OptimizerConfig(lr=1e-12), length=LengthConfig(epochs=50, patience=2)
    )
    splits = _splits()
    _fit(config, tmp_path, splits=splits)
    epochs = [e for e in read_events(tmp_path / "events.jsonl") if e["event"] == "epoch"]
    assert len(epochs) < 50


def test_a_class_without_examples_is_said(tmp_path: Path) -> None:
    negative = [s for s in square_scans(6, 1) if s.label == 0]
    splits = Splits(train=BagList(negative), validation=BagList(square_scans(4, 2)))
    with pytest.raises(TrainingError, match="3 negative and 0 positive"):
        _fit(_config(), tmp_path, splits=splits)


def test_a_loss_that_is_no_number_is_left_out_and_at_last_given_up(tmp_path: Path) -> None:
    samples = square_scans(7, 1)
    broken = replace(samples[3], instances=torch.full_like(samples[3].instances, torch.nan))

    def splits(train: list[BagSample]) -> Splits:
        return Splits(train=BagList(train), validation=BagList(square_scans(4, 2)))

    config = _config(length=LengthConfig(epochs=4, patience=0))
    one = splits([*samples[:3], broken, *samples[4:]])
    _fit(config, tmp_path / "one", splits=one)
    events = read_events(tmp_path / "one" / "events.jsonl")
    assert sum(e["event"] == "nonfinite" for e in events) == 4
    nothing = [replace(s, instances=torch.full_like(s.instances, torch.nan)) for s in samples]
    with pytest.raises(TrainingError, match="no finite number"):
        _fit(config, tmp_path / "all", splits=splits(nothing))


def test_a_full_disk_is_said_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fit(_config(), tmp_path / "whole")
    calls = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="disk is full"):
        _fit(_config(), tmp_path / "parts")
    monkeypatch.setattr(os, "fsync", fsync)
    _fit(_config(), tmp_path / "parts")
    whole, parts = (
        (tmp_path / folder / "model.safetensors").read_bytes() for folder in ("whole", "parts")
    )
    assert whole == parts


def test_fine_tuning_starts_from_a_checkpoint(tmp_path: Path) -> None:
    _fit(_config(), tmp_path / "first")
    start = tmp_path / "first" / "model.safetensors"
    config = _config(
        model=None, start="first", optimizer=OptimizerConfig(lr=1e-3, freeze_encoder=True)
    )
    header = _fit(config, tmp_path / "second", start_path=start)
    before, after = (
        read_checkpoint(start)[1],
        read_checkpoint(tmp_path / "second" / "model.safetensors")[1],
    )
    assert "fine-tuned from squares" in header.provenance.description
    assert all((before[k] == after[k]).all() for k in before if k.startswith("encoder."))
    assert any((before[k] != after[k]).any() for k in before if not k.startswith("encoder."))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_ranks(world: int, *arguments: str) -> None:
    environment = os.environ | {
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.training_rank", *arguments]
    started = [
        subprocess.Popen(
            command,
            env=environment | {"RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_two_ranks_make_the_gradient_of_one(tmp_path: Path) -> None:
    """Bags of unequal length, a step that leaves a rank without any, fp64, frozen BatchNorm."""
    for world in (1, 2):
        _run_ranks(world, str(tmp_path / str(world)))
    one, two = (
        safetensors.torch.load_file(tmp_path / str(world) / "gradients.safetensors")
        for world in (1, 2)
    )
    assert one.keys() == two.keys()
    for name in one:
        error = (one[name] - two[name]).norm() / one[name].norm().clamp(min=1e-12)
        assert float(error) <= 1e-6, name
    models = [read_checkpoint(tmp_path / str(w) / "model.safetensors")[1] for w in (1, 2)]
    for name, tensor in models[0].items():
        assert tensor == pytest.approx(models[1][name], abs=1e-6), name
