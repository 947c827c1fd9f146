"""The benchmark of training on tiny scans: that it measures what it says, never how fast."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from sadmil_core.bench import of_pairs
from sadmil_core.bench.loader import loader_share
from sadmil_core.bench.plain import PlainNetwork
from sadmil_core.bench.training import has_bf16, inference_operations, measure_training
from sadmil_core.bench.trainside import SideSettings, random_scan, step_config
from sadmil_core.model.config import ConvEncoderConfig, ModelConfig
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.training.objective import ClassWeights, combine, term_weights
from sadmil_core.training.passes import forward_terms
from tests.commands import run_sadmil

if TYPE_CHECKING:
    from pathlib import Path

TINY = SideSettings(slices=3, size=192)


def without_dropout(config: ModelConfig) -> ModelConfig:
    encoder = config.encoder
    assert isinstance(encoder, ConvEncoderConfig)
    encoder = replace(encoder, dropout=(0.0,) * len(encoder.dropout))
    return replace(config, encoder=encoder, head=replace(config.head, dropout=0.0))


def test_the_plain_module_makes_the_same_step() -> None:
    """Else the two ways would not be worth comparing: loss, gradients and statistics agree."""
    run = step_config(TINY)
    assert run.model is not None
    model = without_dropout(run.model)
    config, batch = replace(run, model=model), random_scan(TINY)
    ours, plain = SaDmil(model).double().train(), PlainNetwork(model).double().train()
    own, other = ours.state_dict(), plain.state_dict()
    assert [t.shape for t in own.values()] == [t.shape for t in other.values()]
    plain.load_state_dict(dict(zip(other, own.values(), strict=True)))
    batch = replace(batch, instances=batch.instances.double())
    classes = ClassWeights()
    sums = forward_terms(ours, batch, config, classes)
    loss, _ = combine(config.objective, sums, term_weights(batch, classes))
    again = plain.loss(batch.instances, float(batch.label_B[0]), config.objective.alpha)
    loss.backward()  # type: ignore[no-untyped-call]
    again.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, again)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_each_way_trains_in_a_process_of_its_own() -> None:
    compared, memory = measure_training(slices=2, size=192, runs=1, threads=1)
    names = [c.name for c in compared]
    assert len(set(names)) == len(names) == (5 if has_bf16() else 4)
    assert all(c.ratio > 0 and c.runs == 1 for c in compared)
    assert [c.limit for c in compared if "fp32, 1" in c.name] == [0.7]
    assert [c.limit for c in compared if "chain" in c.name] == [0.01, 0.01]
    assert all(mb > 0 for mb in memory["mb"].values())
    assert {"fp32", "plain, fp32", "fp32, activation checkpointing"} <= set(memory["mb"])


def test_smoothness_adds_no_operation_to_a_prediction() -> None:
    found = inference_operations(slices=2, size=192)
    assert set(found["operations"]) == {"Att-MIL", "S1", "S2"}
    assert found["differing"] == 0 < found["operations"]["S1"]


def test_the_wait_for_the_loader_is_a_share_of_the_training() -> None:
    found = loader_share(scans=4, slices=2, size=40, network=32)
    assert 0 < found["waited_s"] < found["trained_s"]
    assert found["ratio"] == pytest.approx(found["waited_s"] / found["trained_s"], abs=0.01)


def test_one_part_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("imagecodecs")
    slow = of_pairs("a step", [(3.0, 4.0), (1.0, 2.0), (9.0, 10.0)], other="other", limit=0.7)

    def measured() -> tuple[list[Any], dict[str, Any]]:
        return [slow], {"name": "memory"}

    monkeypatch.setattr("sadmil_core.bench.training.measure_training", measured)
    monkeypatch.setattr("sadmil_core.bench.training.inference_operations", lambda: {"n": 1})
    monkeypatch.setattr("sadmil_core.bench.loader.measure_loader", lambda: {"ratio": 0.02})
    out = tmp_path / "bench.json"
    done = run_sadmil(monkeypatch, capsys, "bench", "--only", "training", "--out", out)
    assert done.status == 0
    document = json.loads(done.out)
    assert document == json.loads(out.read_text(encoding="utf-8"))
    (comparison,) = document["comparisons"]
    assert (comparison["ratio"], comparison["ours_ms"], comparison["runs"]) == (0.75, 3000.0, 3)
    assert not comparison["holds"]
    assert document["loader"] == {"ratio": 0.02}
    assert not {"first_slice", "window", "decoders"} & set(document)
