"""Experiments: planned, swept, killed and gone on with, merged from shards, told in words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadmil_core.checkpoint import CheckpointHeader
from sadmil_core.data.featurebags import FeatureBags
from sadmil_core.data.features import write_features
from sadmil_core.data.manifest import read_manifest
from sadmil_core.errors import ConfigError, ExperimentError, ManifestError
from sadmil_core.evaluation.bootstrap import Estimate
from sadmil_core.experiments.analysis import Number, subtract
from sadmil_core.experiments.arms import ATT_MIL, TRAINED_MAX, TRAINED_MEAN, plan_arms
from sadmil_core.experiments.config import ExperimentConfig, read_experiment_config
from sadmil_core.experiments.finish import finish
from sadmil_core.experiments.overhead import measure_overhead
from sadmil_core.experiments.plan import Plan, make_plan
from sadmil_core.experiments.report import result_document, write_report
from sadmil_core.experiments.sensors import SensorConfig, make_sensor_bag, write_sensor_bags
from sadmil_core.experiments.sentences import alpha_swings, shown
from sadmil_core.experiments.sweep import sweep
from sadmil_core.experiments.work import Outcome, Training
from sadmil_core.model.trained import TrainedModel
from sadmil_core.result import DecisionRule
from sadmil_core.training.fit import MODEL_FILE
from tests.core.test_data_storebags import SMALL, scans, write_store
from tests.networks import small_network


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensors")
    path = write_sensor_bags(folder, SensorConfig(bags=24, sensors=(8, 12), features=4))
    text = path.read_text()
    for old, new in (
        ("seeds = [0, 1, 2, 3, 4]", 'seeds = [0, 1]\norders = [1]\nparts = ["s1"]'),
        ("alphas = [0.02, 0.1, 0.4]", "alphas = [0.1, 0.4]\nnoise.repeats = 1"),
        ("epochs = 40", "epochs = 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    small = text.replace("seeds = [0, 1]", "seeds = [0]")
    path.with_name("small.toml").write_text(small.replace("alphas = [0.1, 0.4]", "alphas = [0.1]"))
    return path


@pytest.fixture(scope="module")
def small(sensors: Path) -> Path:
    """Four runs: Att-MIL, S1 and the trained baselines, of one seed."""
    return sensors.with_name("small.toml")


@pytest.fixture(scope="module")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The small experiment, trained without a stop."""
    plan = planned(small, tmp_path_factory.mktemp("whole"))
    assert {outcome.kind for outcome in train(plan)} == {"done"}
    return plan


def same_weights(a: Plan, b: Plan) -> bool:
    return all(
        x.folder.name == y.folder.name
        and (x.folder / MODEL_FILE).read_bytes() == (y.folder / MODEL_FILE).read_bytes()
        for x, y in zip(a.runs, b.runs, strict=True)
    )


def planned(path: Path, folder: Path, kind: Any = "order", **changes: Any) -> Plan:
    return make_plan(kind, replace(read_experiment_config(path), **changes), path.parent, folder)


def train(plan: Plan) -> list[Outcome]:
    return sweep([Training(run=run) for run in plan.unfinished], threads=1)


def test_faults_are_arcs_and_lone_sensors_are_alone() -> None:
    config = SensorConfig()
    for number in range(1, 9, 2):
        bag = make_sensor_bag(config, number)
        flips = sum(bag.labels[a] != bag.labels[b] for a, b in bag.pairs)
        assert flips == 2
        assert not make_sensor_bag(config, number + 1).labels.any()
        assert len({tuple(sorted(pair)) for pair in bag.pairs.tolist()}) == len(bag.labels)
    again = make_sensor_bag(config, 3)
    assert np.array_equal(again.features, make_sensor_bag(config, 3).features)


def test_each_kind_has_its_arms_and_the_trained_baselines(sensors: Path, tmp_path: Path) -> None:
    config = read_experiment_config(sensors)
    for kind in ("alpha", "order", "graph", "ablation"):
        arms = plan_arms(kind, config, config.graphs)  # type: ignore[arg-type]
        names = [arm.name for arm in arms]
        assert names[0] == ATT_MIL
        assert names[-2:] == [TRAINED_MEAN, TRAINED_MAX]
        assert len(set(names)) == len(names)
        assert arms[0].config.objective.smoothness_share == 0
    plan = planned(sensors, tmp_path, "graph", alphas=(0.1,), orders=(1,))
    named = {arm.graph for arm in plan.arms if arm.order}
    # Sensors have no position along a stack.
    assert named == {"chain", "3 hops", "feature-weighted", "edges of the bags"}
    assert len(plan.not_run) == 2
    everything = ("s1", "guidance", "noisy-or", "instance-max", "sm", "transformer", "bigru")
    more = replace(config, parts=(*everything, "probabilistic"), alphas=(0.1,))
    assert len(plan_arms("ablation", more, [])) == 3 + 8


def test_an_order_experiment_is_whole(sensors: Path, tmp_path: Path) -> None:
    plan = planned(sensors, tmp_path)
    assert len(plan.runs) == 2 * (1 + 2 + 2)
    with pytest.raises(ExperimentError, match="10 of 10 runs are not finished"):
        finish(plan)
    assert {outcome.kind for outcome in train(plan)} == {"done"}
    assert not list(tmp_path.rglob("test.npz"))
    result = finish(plan, threads=1)
    names = [arm.name for arm in result.analysis.arms]
    assert names == [ATT_MIL, "S1", TRAINED_MEAN, TRAINED_MAX, "all-negative", "centre rule"]
    # Candidates that were not chosen are never read on the test split.
    assert len(list(tmp_path.rglob("test.npz"))) == 2 * 4
    document = result_document(result)
    by_name = {arm["name"]: arm["metrics"] for arm in document["arms"]}
    assert by_name["all-negative"]["within_auroc"]["value"] == 0.5
    assert by_name["S1"]["slice_flips"]["value"] is not None
    assert (
        by_name["S1"]["edge_roughness_f"]["value"] < by_name[ATT_MIL]["edge_roughness_f"]["value"]
    )
    # Rows have no order here.
    assert "roughness_f" not in by_name["S1"]
    assert {choice["name"] for choice in document["chosen_on_validation"]} == {"S1"}
    words = "\n".join(shown(result))
    assert "centre rule" in words
    assert "feature noise" in words
    assert "There are 2 seeds" in words
    json_path, html_path = write_report(result)
    assert json.loads(json_path.read_text()) == json.loads(json.dumps(document))
    assert "<svg" in html_path.read_text()
    # Nothing is done again: neither trained nor read.
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = planned(sensors, tmp_path)
    assert not again.unfinished
    finish(again, threads=1)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    # Another seed adds its runs and keeps the others.
    assert len(planned(sensors, tmp_path, seeds=(0, 1, 2)).unfinished) == 5


def test_a_killed_sweep_goes_on_to_the_same_bits(small: Path, whole: Plan, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sadmil_core", "experiment", "order", str(small)]
    command += ["--out", str(tmp_path), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("run.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    parts = planned(small, tmp_path)
    done = [run for run in parts.runs if run.is_done]
    assert done
    before = {run: run.done_path.stat().st_mtime_ns for run in done}
    train(parts)
    assert before == {run: run.done_path.stat().st_mtime_ns for run in done}
    assert same_weights(whole, parts)


def test_shards_share_the_runs_and_the_last_one_reports(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from tests.commands import run_sadmil

    def call(*words: str) -> Any:
        start = ("experiment", "ablation", small, "--out", tmp_path, "--threads", "1")
        return run_sadmil(monkeypatch, capsys, *start, *words)

    first = call("--shard", "0/2")
    assert first.status == 0
    assert not (tmp_path / "ablation.json").exists()
    plan = planned(small, tmp_path, "ablation")
    assert set(plan.unfinished) == set(plan.runs[1::2])
    assert call("--merge").status == 1
    second = call("--shard", "1/2")
    assert second.status == 0
    assert (tmp_path / "ablation.html").is_file()
    document = (tmp_path / "ablation.json").read_text()
    assert call("--merge").status == 0
    assert (tmp_path / "ablation.json").read_text() == document
    assert call("--shard", "2/2").status == 2


def test_processes_make_the_same_runs(small: Path, whole: Plan, tmp_path: Path) -> None:
    plan = planned(small, tmp_path)
    outcomes = sweep([Training(run=run) for run in plan.runs[:2]], jobs=2, threads=1)
    assert {each.kind for each in outcomes} == {"done"}
    first = replace(whole, runs=whole.runs[:2])
    assert same_weights(first, replace(plan, runs=plan.runs[:2]))


def test_a_stopped_sweep_begins_nothing_new(sensors: Path, tmp_path: Path) -> None:
    plan = planned(sensors, tmp_path)
    outcomes = sweep([Training(run=run) for run in plan.runs], stop=lambda: True, threads=1)
    assert [outcome.kind for outcome in outcomes] == ["stopped"]
    assert not list(tmp_path.rglob("run.json"))


def number(*by_seed: float, low: float, high: float) -> Number:
    drawn = np.linspace(low, high, 2001)
    value = float(np.mean(by_seed))
    return Number(
        mean=Estimate(value=value, low=low, high=high, n=10, unit="scans"),
        by_seed=by_seed,
        drawn=drawn,
    )


def test_a_difference_is_shown_by_patients_and_seeds_alike() -> None:
    zero = number(0.5, 0.5, 0.5, low=0.5, high=0.5)
    both = subtract(number(0.70, 0.71, 0.72, low=0.6, high=0.8), zero)
    assert both.finding == "higher"
    assert both.seed_sd == pytest.approx(0.01)
    # t(2, 0.975) = 4.3027
    assert both.seed_low == pytest.approx(0.21 - 4.3027 * 0.01 / 3**0.5, abs=1e-5)
    seeds = subtract(number(0.4, 0.7, 1.0, low=0.6, high=0.8), zero)
    assert seeds.finding == "not shown"
    patients = subtract(number(0.70, 0.71, 0.72, low=0.4, high=0.8), zero)
    assert patients.finding == "not shown"
    assert subtract(number(0.7, low=0.6, high=0.8), number(0.5, low=0.5, high=0.5)).finding == (
        "one seed"
    )


def test_alpha_sensitivity_is_a_swing_beyond_the_seeds() -> None:
    from sadmil_core.experiments.analysis import ArmResult

    def arm(*values: float) -> ArmResult:
        numbers = {"scan_auroc": number(*values, low=0.0, high=1.0)}
        return ArmResult(name="", seeds=(0, 1), numbers=numbers)

    calm = [(0.0, arm(0.70, 0.74)), (0.1, arm(0.71, 0.75))]
    assert alpha_swings("scan_auroc", calm) == []
    swings = alpha_swings("scan_auroc", [*calm, (0.2, arm(0.90, 0.91))])
    assert swings is not None
    assert [swing[:2] for swing in swings] == [(0.1, 0.2)]
    assert alpha_swings("scan_auroc", [(0.0, arm(0.7)), (0.1, arm(0.9))]) is None


def test_each_seed_may_draw_its_own_validation(sensors: Path, tmp_path: Path) -> None:
    config = read_experiment_config(sensors)
    plan = planned(sensors, tmp_path, split=replace(config.split, each_seed=True))
    drawn = [read_manifest(run.manifest) for run in plan.runs[:2]]
    tests = [{s.scan_id for s in each.of_split("test")} for each in drawn]
    validation = [{s.scan_id for s in each.of_split("val")} for each in drawn]
    assert tests[0] == tests[1]
    assert validation[0] != validation[1]
    assert len(validation[0]) == len(validation[1])


def test_what_cannot_be_used_is_said(sensors: Path, tmp_path: Path) -> None:
    text = sensors.read_text()
    for old, new, message in (
        ("alphas = ", "alphaz = ", "alphaz"),
        ("alphas = [0.1, 0.4]", "alphas = [0.0]", "always there"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "none twice"),
        ("[train.model]\n", '[train.model]\npooling = "mean"\n', "must be 'attention'"),
    ):
        path = tmp_path / "bad.toml"
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match=message):
            read_experiment_config(path)
    manifest = tmp_path / "m.csv"
    rows = (sensors.parent / "manifest.csv").read_text().replace("bags/", f"{sensors.parent}/bags/")
    manifest.write_text(rows.replace(",test,", ",,"))
    path.write_text(text.replace("manifest.csv", str(manifest)))
    with pytest.raises(ManifestError, match="no scan in the split 'test'"):
        planned(path, tmp_path / "out")


def test_overhead_counts_what_smoothness_keeps(sensors: Path) -> None:
    config: ExperimentConfig = read_experiment_config(sensors)
    overhead = replace(config.overhead, slices=8, rounds=3)
    config = replace(config, orders=(1, 2), overhead=overhead)
    measured = measure_overhead(config, device=torch.device("cpu"))
    assert [cost.name for cost in measured.costs] == [ATT_MIL, "S1", "S2"]
    assert measured.costs[0].training_ratio == (1.0, 1.0, 1.0)
    assert all(cost.kept_ratio > 1 for cost in measured.costs[1:])
    assert len(measured.sentences) == 6


def test_features_of_a_store_are_written_once(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", count=1)
    module = small_network(output="max", dropout=0.0)
    config = replace(module.config, input_size=SMALL.size)
    header = CheckpointHeader(
        name="tiny",
        model=config,
        preprocess=SMALL,
        rule=DecisionRule(),
        supervision="scan",
        model_sha256="a",
    )
    model = TrainedModel(module=module.eval(), header=header)
    report = write_features(scans(1), store, model, tmp_path / "out")
    assert (report.features, report.written, report.kept) == (8, 1, 0)
    found = read_manifest(report.manifest)
    bags = FeatureBags(found.scans)
    from sadmil_core.data.storebags import StoreBags

    images = StoreBags(scans(1), store, SMALL)
    with torch.inference_mode():
        expected = module.encode(images[0].instances)
    assert torch.allclose(bags[0].instances, expected, atol=1e-6)
    assert [scan.label for scan in found.scans] == [True]
    damaged = next((tmp_path / "out" / "features").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = write_features(scans(1), store, model, tmp_path / "out")
    assert (again.written, again.kept) == (1, 0)
    kept = write_features(scans(1), store, model, tmp_path / "out")
    assert (kept.written, kept.kept) == (0, 1)
    other = TrainedModel(module=module, header=replace(header, model_sha256="b"))
    assert write_features(scans(1), store, other, tmp_path / "out").written == 1
