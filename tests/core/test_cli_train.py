"""``sadmil train``: from a manifest of features or images to a model, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadmil_core.checkpoint import read_header
from sadmil_core.modelstore import user_models_dir
from sadmil_core.training.events import read_events
from tests.bodies import write_head
from tests.commands import Outcome, run_sadmil

CONFIG = """
name = "rings"
seed = 3
{more}
[data]
manifest = "m.csv"
bags_per_step = 4
[model.encoder]
kind = "features"
features = 6
[model.head]
hidden = 0
dropout = 0.2
[objective]
alpha = 0.1
[optimizer]
lr = 0.02
[length]
epochs = {epochs}
patience = 0
save_every_steps = 1
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    def call(*options: Any, out: str = "out", config: str = "run.toml") -> Outcome:
        words = ("train", tmp_path / config, "--out", tmp_path / out, *options)
        return run_sadmil(monkeypatch, capsys, *words)

    return call


def write_features(folder: Path, scans: int = 24, *, positions: bool = False) -> None:
    """Bags of 5 to 9 instances; positive ones have two that differ in the first feature."""
    rng = np.random.default_rng(0)
    rows = ["scan_id,split,scan_label,features_path,edges_path,slice_index,slice_label"]
    for number in range(scans):
        count = int(rng.integers(5, 10))
        features = rng.normal(size=(count, 6)).astype(np.float32)
        positive = number % 2
        if positive:
            features[2:4, 0] += 4
        if positive and positions:
            np.savez(folder / f"{number}.npz", features=features, position_mm=np.arange(count))
            path = f"{number}.npz"
        else:
            np.save(folder / f"{number}.npy", features)
            path = f"{number}.npy"
        split = "val" if number % 3 == 0 else "train"
        rows.append(f"s{number},{split},{positive},{path},,,")
        rows += [
            f"s{number},{split},,{path},,{i},{int(i in (2, 3))}" for i in range(2, 4 * positive)
        ]
    (folder / "m.csv").write_text("\n".join(rows) + "\n")


def write_config(folder: Path, *, epochs: int = 4, more: str = "", **replaced: str) -> None:
    text = CONFIG.format(epochs=epochs, more=more)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "run.toml").write_text(text)


def spawn(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        *(words or ("sadmil_core",)),
        "train",
        str(folder / "run.toml"),
    ]
    return subprocess.Popen(
        [*command, "--out", str(folder / "out"), "--threads", "1"],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_steps(folder: Path, process: subprocess.Popen[str], steps: int) -> None:
    """Until the event log shows a step, so that the run is well under way."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if len(read_events(folder / "out" / "events.jsonl")) >= steps:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate(timeout=10))


def test_features_become_a_model_with_its_card(run: Any, tmp_path: Path) -> None:
    write_features(tmp_path)
    write_config(tmp_path, epochs=30)
    first = run("--install")
    assert first.status == 0, first.err
    assert "epoch 30: loss" in first.err
    header = read_header(tmp_path / "out" / "model.safetensors")
    assert header.name == "rings"
    assert header.rule.temperature != 1
    assert "positive scans found | 4 of 4" in (tmp_path / "out" / "card.md").read_text()
    installed = user_models_dir() / "rings.safetensors"
    assert read_header(installed).model_sha256 == header.model_sha256
    again = run("--install")
    assert again.status == 0
    assert "epoch" not in again.err  # finished: nothing is trained again


def test_a_killed_run_goes_on_to_the_same_bits(run: Any, tmp_path: Path) -> None:
    write_features(tmp_path)
    write_config(tmp_path, epochs=60)
    process = spawn(tmp_path)
    wait_for_steps(tmp_path, process, 20)
    process.kill()
    process.communicate(timeout=30)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert run("--threads", 1).status == 0
    assert run("--threads", 1, out="whole").status == 0
    for name in ("model.safetensors", "events.jsonl", "validation.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_sigterm_saves_and_says_how_to_go_on(run: Any, tmp_path: Path) -> None:
    write_features(tmp_path)
    write_config(tmp_path, epochs=5000)
    process = spawn(tmp_path)
    wait_for_steps(tmp_path, process, 10)
    second = run()  # while the first still trains
    assert second.status == 1
    assert "Another process is training" in second.err
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command goes on" in err


def test_two_ranks_stop_together_and_finish(tmp_path: Path) -> None:
    write_features(tmp_path)
    write_config(tmp_path, epochs=400)
    launch = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "sadmil_core")
    process = spawn(tmp_path, *launch)
    wait_for_steps(tmp_path, process, 10)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert err.count("the same command goes on") == 1, err
    events = read_events(tmp_path / "out" / "events.jsonl")
    process = spawn(tmp_path, *launch)
    wait_for_steps(tmp_path, process, len(events) + 5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    steps = [
        e["step"] for e in read_events(tmp_path / "out" / "events.jsonl") if e["event"] == "step"
    ]
    assert steps == list(range(1, len(steps) + 1))  # none lost, none twice


def test_images_of_a_store_are_augmented_and_learned(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["scan_id,path,scan_label,split"]
    for number in range(4):
        write_head(tmp_path / f"h{number}", 5 + number)
        rows.append(f"h{number},h{number},{number % 2},{'train' if number < 2 else 'val'}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    store = ("prepare", tmp_path / "m.csv", "--store", tmp_path / "s", "--size", "32,32")
    assert run_sadmil(monkeypatch, capsys, *store, "--workers", 0).status == 0
    (tmp_path / "run.toml").write_text(
        """
name = "images"
[data]
manifest = "m.csv"
store = "s"
[model]
input_size = [32, 32]
[model.encoder]
channels = [4, 4]
kernels = [3, 3]
padding = ["same", "same"]
dropout = [0.0, 0.0]
output = "max"
norm = "group"
[preprocess]
size = [32, 32]
resample = "hu"
[augment]
flip = 0.5
slice_drop = 0.2
[length]
epochs = 2
"""
    )
    done = run("--tensorboard")
    assert done.status == 0, done.err
    assert read_header(tmp_path / "out" / "model.safetensors").preprocess.resample == "hu"
    assert list((tmp_path / "out" / "tensorboard").glob("events.*"))
    (tmp_path / "run.toml").write_text(
        (tmp_path / "run.toml").read_text().replace("[32, 32]", "[40, 40]")
    )
    other = run(out="other")
    assert other.status == 1
    assert "wanted is" in other.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"[objective]": "[objective]\ngraph = {length_mm = 5.0}"}, "some slices have no position"),
        ({"[objective]": "[objective]\ngraph = {edges = 'bag'}"}, "name no edges_path"),
        ({"[objective]": "[objective]\nmask_weight = 1.0"}, "mask_weight needs"),
        ({"features = 6": "features = 7"}, "features = 6"),
        ({"alpha = 0.1": "alpha = 1.1"}, "alpha must lie in [0, 1]"),
        ({"alpha = 0.1": "alhpa = 0.1"}, "alhpa"),
        ({"[optimizer]": "[augment]\nflip = 0.5\n[optimizer]"}, "[augment] is for images"),
        ({"[model.head]": "[model]\npooling = 'mean'\n[model.head]"}, "has no attention"),
        ({'"m.csv"': '"absent.csv"'}, "absent.csv"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_starts(
    run: Any, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    write_features(tmp_path, positions=True)
    write_config(tmp_path, **change)
    outcome = run()
    assert outcome.status == 1
    assert words in outcome.err
    assert not (tmp_path / "out").exists()


def test_splits_must_be_there_and_hold_both_classes(run: Any, tmp_path: Path) -> None:
    write_features(tmp_path)
    write_config(tmp_path)
    table = (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_text(table.replace(",val,", ",,"))
    outcome = run()
    assert outcome.status == 1
    assert "no scan in the split 'val'" in outcome.err
    kept = [row for row in table.splitlines() if ",val,1" not in row]
    (tmp_path / "m.csv").write_text("\n".join(row for row in kept if ",val,," not in row) + "\n")
    outcome = run()
    assert outcome.status == 1
    assert "no positive scan" in outcome.err


def test_broken_features_are_listed_all_at_once(run: Any, tmp_path: Path) -> None:
    write_features(tmp_path)
    write_config(tmp_path)
    (tmp_path / "1.npy").write_bytes(b"")
    np.save(tmp_path / "2.npy", np.full((4, 6), np.nan, np.float32))
    np.save(tmp_path / "4.npy", np.zeros((4, 6), np.int16))
    outcome = run()
    assert outcome.status == 1
    for name in ("1.npy", "2.npy", "4.npy"):
        assert name in outcome.err
