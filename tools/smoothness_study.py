"""Does smoothness help? The study of docs/smoothness.md, from phantoms to tables and figures.

Two arms of made heads: `natural`, with bleeds where they occur, and `uniform`, parts of heads in
which a bleed lies anywhere along the stack. The encoder of the default model, which has met none of
these scans, is frozen; heads learn from scan labels alone. Then one network from scratch, on scan
labels alone, as in the paper. Run again, it goes on where it stopped.

    python tools/smoothness_study.py --out out/smoothness          # about an hour on two cores
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ARMS = {"natural": 1001, "uniform": 2002}
"""The arms, and the seeds of their phantoms."""
KINDS = ("alpha", "ablation", "graph")
HEADS = """\
seeds = [{seeds}]
alphas = [{alphas}]
orders = [{orders}]
parts = ["att-mil", "s1", "s2", "guidance", "instance-max", "noisy-or"]
choose_by = "scan_loss"

[train]
name = "smoothness-{arm}"
[train.data]
manifest = "features/manifest.csv"
bags_per_step = 8
bags_per_batch = 8
workers = 0
[train.model.encoder]
kind = "features"
features = {features}
[train.model.attention]
hidden = 32
[train.model.head]
hidden = 0
dropout = 0.1
[train.optimizer]
lr = 1e-3
weight_decay = 1e-3
[train.length]
epochs = {epochs}
patience = 10
"""
SCRATCH = """\
seeds = [0]
alphas = [0.5]
orders = [1]

[train]
name = "smoothness-scratch"
[train.data]
manifest = "scans.csv"
store = "store-96"
bags_per_step = 4
bags_per_batch = 1
[train.preprocess]
size = [96, 96]
resample = "hu"
[train.model]
input_size = [96, 96]
[train.model.encoder]
channels = [16, 32, 48, 64]
kernels = [5, 3, 3, 3]
padding = ["same", "same", "same", "same"]
dropout = [0.0, 0.0, 0.0, 0.0]
output = "max"
norm = "group"
[train.model.attention]
hidden = 32
[train.model.head]
hidden = 0
dropout = 0.0
[train.optimizer]
lr = 1e-3
[train.length]
epochs = {epochs}
patience = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is made, of how much.

    Attributes:
        out: The folder of everything.
        scans: Of each arm.
        seeds: Of each variant.
        epochs: Of each head, at most.
        scratch_epochs: Of each network from scratch; 0 leaves that arm out.
        model: Whose encoder is frozen.
        size: Rows and columns of the phantoms.
        jobs: Trainings at once.
    """

    out: Path
    scans: int
    seeds: int
    epochs: int
    scratch_epochs: int
    model: str
    size: int
    jobs: int


def sadmil(*words: str | int | Path) -> None:
    """Runs a command and shows it."""
    print("sadmil", *words, flush=True)
    subprocess.run([sys.executable, "-m", "sadmil_core", *map(str, words)], check=True)


def prepare_arm(study: Study, arm: str) -> Path:
    """Phantoms, splits by phantom, a store, and the frozen features of all slices."""
    folder = study.out / arm
    cohort = folder / "cohort"
    count, seed, size = study.scans, ARMS[arm], study.size
    made = ("synth", "phantom", "--out", cohort, "--scans", count, "--seed", seed)
    sadmil(*made, "--arm", arm, "--size", size)
    split = folder / "scans.csv"
    sadmil("manifest", "split", cohort / "manifest.csv", "--out", split, "--fractions", ".5,.2,.3")
    store, features = folder / "store", folder / "features"
    sadmil("prepare", split, "--store", store, "--model", study.model)
    sadmil("features", split, "--store", store, "--model", study.model, "--out", features)
    return folder


def feature_count(folder: Path) -> int:
    """How many features a slice has."""
    import numpy as np

    with np.load(next((folder / "features").rglob("*.npz"))) as file:
        return int(file["features"].shape[1])


def run_heads(study: Study, arm: str, folder: Path) -> None:
    """The experiments on frozen features; equal trainings are shared among them."""
    named = {"arm": arm, "features": feature_count(folder), "epochs": study.epochs}
    named["seeds"] = ", ".join(map(str, range(study.seeds)))
    for kind in KINDS:
        # Of graphs one order and weight, the default model's: how much, and S1 or S2, is asked
        # by the other two.
        amounts = {"alphas": "0.1", "orders": "2"}
        if kind != "graph":
            amounts = {"alphas": "0.1, 0.5, 0.9", "orders": "1, 2"}
        config = folder / f"{kind}.toml"
        config.write_text(HEADS.format(**named, **amounts), encoding="utf-8")
        sadmil("experiment", kind, config, "--out", folder / "report", "--jobs", study.jobs)


def run_scratch(study: Study, folder: Path) -> None:
    """The paper's setting: encoder and head from scan labels alone."""
    config = folder / "scratch.toml"
    config.write_text(SCRATCH.format(epochs=study.scratch_epochs), encoding="utf-8")
    store = folder / "store-96"
    inner = ("prepare", folder / "scans.csv", "--store", store, "--size", "96,96")
    sadmil(*inner)
    sadmil("experiment", "order", config, "--out", folder / "scratch", "--jobs", study.jobs)


# -- tables and figures -------------------------------------------------------------------------

COLUMNS = {
    "scan_auroc": "scan AUROC",
    "within_auroc": "slice AUROC within positive scans",
    "within_auroc_few": "... 1 to 3 positive slices",
    "within_auroc_single": "... one positive slice",
    "within_auroc_off_centre": "... bleed off-centre",
    "roughness_sa": "roughness of S·a",
}


def number_text(metric: dict[str, Any] | None) -> str:
    """Value, interval of resampled scans, and spread over seeds."""
    if metric is None or metric.get("value") is None:
        return "-"
    text = f"{metric['value']:.3f}"
    if metric["low"] is not None:
        text += f" ({metric['low']:.3f} to {metric['high']:.3f})"
    if metric.get("seed_sd") is not None:
        text += f" ±{metric['seed_sd']:.3f}"
    return text


def table(document: dict[str, Any]) -> Iterator[str]:
    """A table of Markdown, a row for each variant and baseline."""
    yield "| variant | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    for arm in document["arms"]:
        cells = [number_text(arm["metrics"].get(key)) for key in COLUMNS]
        yield f"| {arm['name']} | " + " | ".join(cells) + " |"


def write_tables(study: Study, documents: dict[tuple[str, str], dict[str, Any]]) -> Path:
    """All tables and all that was and was not shown, in one file."""
    lines = []
    for (arm, kind), document in documents.items():
        test = document["test"]
        lines += [
            f"## {arm}, {kind}",
            "",
            f"{test['scans']} test scans, {test['positive']} with blood.",
            "",
            *table(document),
            "",
            *(f"- {sentence}" for sentence in document["shown"]),
            "",
        ]
    path = study.out / "smoothness.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def draw(study: Study, documents: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Slice AUROC and roughness along alpha, and the variants beside each other."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    arms = [arm for arm in ARMS if (arm, "alpha") in documents]
    figure, axes = plt.subplots(2, len(arms), figsize=(4.6 * len(arms), 6.4), squeeze=False)
    for column, arm in enumerate(arms):
        for row, key in enumerate(("within_auroc", "roughness_sa")):
            draw_ladder(axes[row][column], documents[arm, "alpha"], key)
            axes[row][column].set_title(f"{arm}: {COLUMNS[key]}", fontsize=10)
    figure.tight_layout()
    figure.savefig(study.out / "smoothness-alpha.png", dpi=110)
    plt.close(figure)
    figure, axes = plt.subplots(1, len(arms), figsize=(4.8 * len(arms), 4.2), squeeze=False)
    for column, arm in enumerate(arms):
        draw_forest(axes[0][column], documents[arm, "ablation"]["arms"])
        axes[0][column].set_title(f"{arm}: slice AUROC within positive scans", fontsize=10)
    figure.tight_layout()
    figure.savefig(study.out / "smoothness-variants.png", dpi=110)
    plt.close(figure)


def draw_ladder(ax: Any, document: dict[str, Any], key: str) -> None:
    """A metric along alpha, with the interval of resampled scans, and each seed as a point."""
    plain = next(arm for arm in document["arms"] if arm["name"] == "Att-MIL")
    for order, (colour, mark) in {1: ("#1f77b4", "o"), 2: ("#d95f02", "s")}.items():
        steps = [arm for arm in document["arms"] if arm["order"] == order]
        rungs = [(0.0, plain), *sorted(((arm["alpha"], arm) for arm in steps), key=lambda p: p[0])]
        alphas = [alpha + (order - 1.5) * 0.015 for alpha, _ in rungs]
        metrics = [arm["metrics"][key] for _, arm in rungs]
        values = [metric["value"] for metric in metrics]
        spread = [
            [metric["value"] - metric["low"] for metric in metrics],
            [metric["high"] - metric["value"] for metric in metrics],
        ]
        for alpha, metric in zip(alphas, metrics, strict=True):
            ax.plot([alpha] * len(metric["by_seed"]), metric["by_seed"], ".", color=colour, ms=4)
        ax.errorbar(alphas, values, spread, color=colour, marker=mark, capsize=3, label=f"S{order}")
    centre = next((arm for arm in document["arms"] if "centre" in arm["name"]), None)
    if centre is not None and key in centre["metrics"] and centre["metrics"][key].get("value"):
        ax.axhline(centre["metrics"][key]["value"], color="#777777", ls=":", label="centre rule")
    ax.set_xlabel("alpha")
    ax.legend(fontsize=8)


def draw_forest(ax: Any, arms: Iterable[dict[str, Any]]) -> None:
    """Each variant's slice AUROC with its interval, and its seeds as points."""
    known = [arm for arm in arms if arm["metrics"].get("within_auroc", {}).get("value") is not None]
    for place, arm in enumerate(reversed(known)):
        metric = arm["metrics"]["within_auroc"]
        ax.plot([metric["low"], metric["high"]], [place, place], color="#777777")
        ax.plot(metric["value"], place, "s", color="#1f77b4")
        ax.plot(metric["by_seed"], [place - 0.2] * len(metric["by_seed"]), ".", color="#d95f02")
    ax.set_yticks(range(len(known)), [arm["name"] for arm in reversed(known)], fontsize=8)
    ax.axvline(0.5, color="#777777", lw=0.6, ls=":")


def collect(study: Study) -> dict[tuple[str, str], dict[str, Any]]:
    """The numbers of all experiments that are finished."""
    places = [(arm, kind, study.out / arm / "report") for arm in ARMS for kind in KINDS]
    places.append(("from scratch", "order", study.out / "natural" / "scratch"))
    found = {}
    for arm, kind, folder in places:
        path = folder / f"{kind}.json"
        if path.is_file():
            found[arm, kind] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Makes the arms, runs the experiments, writes tables and figures."""
    parser = argparse.ArgumentParser(description="Does smoothness help?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=400, help="of each arm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--scratch-epochs", type=int, default=8, help="0: without that arm")
    parser.add_argument("--model", default="default", help="whose encoder is frozen")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=2)
    study = Study(**vars(parser.parse_args(arguments)))
    study.out.mkdir(parents=True, exist_ok=True)
    for arm in ARMS:
        run_heads(study, arm, prepare_arm(study, arm))
    if study.scratch_epochs:
        run_scratch(study, study.out / "natural")
    documents = collect(study)
    draw(study, documents)
    print(write_tables(study, documents))


if __name__ == "__main__":
    main()
