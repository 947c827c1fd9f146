"""The recipe of docs/experiments.md on phantoms, from DICOM to the report of an ablation.

Makes small phantoms and a manifest, prepares a store, trains an encoder briefly on slice labels,
writes its frozen features, and asks with five seeds what S1 and S2 are worth on them. Run again,
it goes on where it stopped.

    python tools/experiment_demo.py --out out/experiment-demo     # some minutes on two cores
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from sadmil_core.data.manifest import ManifestScan, SliceLabel, write_manifest
from sadmil_core.synth.bleeds import BleedKind
from sadmil_core.synth.demo import write_phantom_study
from sadmil_core.synth.phantom import PhantomConfig, make_phantom

PHANTOMS = PhantomConfig(
    slices=24, size=128, pixel_mm=1.84, spacing_mm=6.0, supersampling=1, anatomy_mm=1.84
)
ENCODER = """\
name = "phantom-encoder"

[data]
manifest = "manifest.csv"
store = "store"
bags_per_step = 2

[preprocess]
size = [128, 128]

[model]
input_size = [128, 128]
[model.encoder]
channels = [16, 32, 48, 64]
kernels = [5, 3, 3, 3]
padding = ["same", "same", "same", "same"]
dropout = [0.0, 0.0, 0.0, 0.0]
output = "max"
norm = "group"
[model.head]
hidden = 0
dropout = 0.0

[objective]
slice_weight = 1.0
attention_weight = 0.2
[optimizer]
lr = 2e-3
[length]
epochs = 12
patience = 0
"""
ABLATION = """\
seeds = [0, 1, 2, 3, 4]
alphas = [0.1, 0.5, 0.9]
parts = ["att-mil", "s1", "s2", "guidance", "noisy-or"]

[train]
name = "phantom-ablation"
[train.data]
manifest = "features/manifest.csv"
bags_per_step = 8
bags_per_batch = 8
workers = 0
[train.model]
[train.model.encoder]
kind = "features"
features = 64
[train.model.attention]
hidden = 32
[train.model.head]
hidden = 0
dropout = 0.0
[train.optimizer]
lr = 3e-3
[train.length]
epochs = 25
patience = 8
"""


def make_scan(folder: Path, number: int, count: int) -> ManifestScan:
    """One phantom as a series; every second one bleeds, all kinds in turn."""
    kinds = list(BleedKind)
    bleed = kinds[(number // 2) % len(kinds)] if number % 2 else None
    phantom = make_phantom(np.random.default_rng([7, number]), PHANTOMS, bleed=bleed)
    path = folder / f"phantom-{number:03d}"
    if not (path / "IM0001.dcm").is_file():  # the last one written
        write_phantom_study(phantom, path, seed=number)
    place = (number // 2 + 0.5) / (count / 2)
    return ManifestScan(
        scan_id=path.name,
        split="train" if place < 0.5 else "val" if place < 0.7 else "test",
        path=path,
        label=bool(phantom.slice_positive.any()),
        slices=tuple(
            SliceLabel(slice_index=at, label=bool(each))
            for at, each in enumerate(phantom.slice_positive)
        ),
    )


def sadmil(*words: str | Path) -> None:
    """Runs a command and shows it."""
    print("sadmil", *words, flush=True)
    subprocess.run([sys.executable, "-m", "sadmil_core", *map(str, words)], check=True)


def main() -> None:
    """Makes the phantoms, then gives the commands of the recipe."""
    parser = argparse.ArgumentParser(description="An ablation on phantoms, end to end.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    out, count = arguments.out.resolve(), arguments.scans
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "manifest.csv").is_file():
        make = partial(make_scan, out / "scans", count=count)
        with ProcessPoolExecutor(arguments.jobs) as pool:
            write_manifest(list(pool.map(make, range(count))), out / "manifest.csv")
    (out / "encoder.toml").write_text(ENCODER, encoding="utf-8")
    (out / "ablation.toml").write_text(ABLATION, encoding="utf-8")
    manifest, store = out / "manifest.csv", out / "store"
    encoder = out / "encoder" / "model.safetensors"
    sadmil("prepare", manifest, "--store", store)
    sadmil("train", out / "encoder.toml", "--out", out / "encoder")
    features = out / "features"
    sadmil("features", manifest, "--store", store, "--model", encoder, "--out", features)
    jobs = str(arguments.jobs)
    config, report = out / "ablation.toml", out / "report"
    sadmil("experiment", "ablation", config, "--out", report, "--jobs", jobs)


if __name__ == "__main__":
    main()
