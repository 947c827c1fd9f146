"""The default model: slices drawn evenly, an encoder that learns them, figures, the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadmil_core.checkpoint import CheckpointHeader, Provenance, read_header
from sadmil_core.data.augment import AugmentConfig
from sadmil_core.data.manifest import ManifestScan, SliceLabel
from sadmil_core.data.store import StoredScan, StoreWriter
from sadmil_core.defaultmodel.agreement import FoldModel, agreement, correlated
from sadmil_core.defaultmodel.build import Build
from sadmil_core.defaultmodel.pretrain import (
    PretrainConfig,
    augmented,
    cell_loss,
    pretrain,
    slices_to_draw,
)
from sadmil_core.defaultmodel.recipe import SHORT
from sadmil_core.defaultmodel.scores import ScanScores, measured, scan_auroc, slice_auroc
from sadmil_core.defaultmodel.slicepool import SlicePool, open_slice_pool
from sadmil_core.errors import TrainingError
from sadmil_core.model.assemble import assembled
from sadmil_core.model.config import FeaturesConfig, ModelConfig
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.trained import TrainedModel, load_checkpoint
from sadmil_core.preprocess import preprocess_slice
from sadmil_core.result import DecisionRule
from sadmil_core.training.fit import held
from sadmil_core.training.loop import Stopped
from sadmil_core.training.ranks import Ranks
from tests.bodies import write_head
from tests.commands import run_sadmil

SIZE = SHORT.preprocess.size
FEW = replace(SHORT, phantoms=12, candidates=SHORT.candidates[:1])
NOTHING = AugmentConfig()
TINY = PretrainConfig(steps=6, slices_per_step=8, save_every_steps=2, bf16=False)


def described(name: str, bleeding: tuple[int, ...], count: int = 6) -> ManifestScan:
    return ManifestScan(
        scan_id=name,
        patient_id=name,
        label=bool(bleeding),
        subtypes={},
        slices=tuple(SliceLabel(slice_index=at, label=at in bleeding) for at in range(count)),
    )


@pytest.fixture
def scans() -> list[ManifestScan]:
    return [described("a", (1, 2)), described("b", ()), described("c", (4,)), described("d", ())]


@pytest.fixture
def store(tmp_path: Path, scans: list[ManifestScan]) -> Path:
    rng = np.random.default_rng(0)
    writer = StoreWriter(tmp_path / "store", SHORT.preprocess.grid)
    for scan in scans:
        hu = rng.integers(20, 40, (6, *SIZE)).astype(np.int16)
        mask = np.zeros(hu.shape, np.uint8)
        for each in scan.slices:
            if each.label:
                mask[each.slice_index, 20:32, 16:28] = 1
        hu[mask == 1] += 35
        info = StoredScan(
            scan_id=scan.scan_id,
            sop_instance_uids=tuple(f"{scan.scan_id}{at}" for at in range(6)),
            frame_numbers=(None,) * 6,
            position_mm=tuple(5.0 * at for at in range(6)),
            series_instance_uid=scan.scan_id,
            stack_index=0,
            source_sha256=scan.scan_id,
        )
        writer.write(info, hu, mask)
    return tmp_path / "store"


@pytest.fixture
def pool(store: Path, scans: list[ManifestScan], tmp_path: Path) -> SlicePool:
    return open_slice_pool(scans, store, tmp_path / "pool")


@pytest.fixture
def header() -> CheckpointHeader:
    return CheckpointHeader(
        name="tiny",
        model=SHORT.encoder_model,
        preprocess=SHORT.preprocess,
        rule=DecisionRule(),
        supervision="mask",
    )


def test_a_pool_holds_every_slice_once_and_is_made_once(
    pool: SlicePool, store: Path, scans: list[ManifestScan], tmp_path: Path
) -> None:
    assert pool.hu.shape == (24, *SIZE)
    assert pool.masks.reshape(24, -1).max(axis=1).nonzero()[0].tolist() == [1, 2, 16]
    assert pool.starts == {"a": 0, "b": 6, "c": 12, "d": 18}
    file = tmp_path / "pool" / "hu.npy"
    written = file.stat().st_mtime_ns
    assert np.array_equal(open_slice_pool(scans, store, tmp_path / "pool").hu, pool.hu)
    assert file.stat().st_mtime_ns == written
    fewer = open_slice_pool(scans[2:], store, tmp_path / "pool")
    assert np.array_equal(fewer.hu, pool.hu[12:])


def test_half_of_a_step_bleeds_and_a_quarter_lies_beside_it(
    pool: SlicePool, scans: list[ManifestScan]
) -> None:
    draw = slices_to_draw(scans, pool)
    assert draw.bleeding.tolist() == [1, 2, 16]
    assert set(draw.beside) == {0, 3, 4, 5, 12, 13, 14, 15, 17}
    chosen, label = draw.draw(np.random.default_rng(0), 16)
    assert label.tolist() == [1.0] * 8 + [0.0] * 8
    assert set(chosen[:8]) <= set(draw.bleeding)
    assert set(chosen[8:12]) <= set(draw.beside)
    assert set(chosen[12:]) <= set(draw.others)
    with pytest.raises(TrainingError, match="others"):
        slices_to_draw([scans[0], scans[2]], pool)


def test_cells_with_blood_count_half_and_the_worst_without_more() -> None:
    logits = torch.zeros(1, 2, 2)
    logits[0, 1, 1] = 3.0  # says blood where there is none
    masks = torch.zeros(1, 4, 4)
    masks[0, 0, 1] = 1  # one pixel makes its cell one with blood
    even, worst = math.log(2), math.log1p(math.exp(3.0))
    expected = even / 2 + ((2 * even + worst) / 3 + 0.5 * worst) / 2
    assert float(cell_loss(logits, masks, hard_share=0.3)) == pytest.approx(expected, rel=1e-6)
    blank = ((2 * even + worst + even) / 4 + 0.5 * worst) / 2
    assert float(cell_loss(logits, 0 * masks, hard_share=0.3)) == pytest.approx(blank, rel=1e-6)


def test_slices_that_are_not_changed_are_what_prediction_sees(pool: SlicePool) -> None:
    x, masks = augmented(
        pool.hu[:3], pool.masks[:3], SHORT.preprocess, NOTHING, np.random.default_rng(0)
    )
    seen = np.stack([preprocess_slice(hu, SHORT.preprocess) for hu in pool.hu[:3]])
    assert np.allclose(x.numpy(), seen, atol=1e-4)
    assert np.array_equal(masks.numpy(), pool.masks[:3])


def test_masks_move_with_their_slices() -> None:
    hu = np.full((4, 60, 48), 30, np.int16)
    hu[:, 8:20, 30:42] = 75
    config = AugmentConfig(flip=0.5, rotation_degrees=30, scale=0.2, shift=0.1)
    x, masks = augmented(
        hu, (hu == 75).astype(np.uint8), SHORT.preprocess, config, np.random.default_rng(1)
    )
    bright = x[:, 0] > (52.5 / 80)  # halfway between both in the first window
    overlap = (bright & (masks > 0)).sum(dim=(1, 2)) / (bright | (masks > 0)).sum(dim=(1, 2))
    assert (overlap > 0.9).all()
    middle = [m.nonzero().float().mean(dim=0)[1] for m in masks]
    assert min(middle) < 24 < max(middle)  # some were flipped


def test_slices_are_sharpened_and_blurred_each_by_itself() -> None:
    hu = np.full((12, 60, 48), 30, np.int16)
    hu[:, 30, 24] = 50
    config = AugmentConfig(sharpness=0.8)
    x, _ = augmented(
        hu, np.zeros(hu.shape, np.uint8), SHORT.preprocess, config, np.random.default_rng(2)
    )
    spot, beside = 80 * x[:, 0, 30, 24].numpy(), 80 * x[:, 0, 30, 25].numpy()
    assert spot.min() < 45 < 55 < spot.max()
    # What the middle gains, its eight neighbours lose.
    np.testing.assert_allclose(8 * (beside - 30), 50 - spot, atol=0.01)
    assert np.allclose(80 * x[:, 0, :20].numpy(), 30, atol=0.01)


def test_an_encoder_learns_and_goes_on_to_the_same_weights(
    pool: SlicePool, scans: list[ManifestScan], header: CheckpointHeader, tmp_path: Path
) -> None:
    whole = pretrain(header, TINY, scans, pool, NOTHING, tmp_path / "whole")
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        pretrain(header, TINY, scans, pool, NOTHING, tmp_path / "parts", stop=lambda: next(asked))
    parts = pretrain(header, TINY, scans, pool, NOTHING, tmp_path / "parts")
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, parts.module.state_dict()[name]), name
    with pytest.raises(TrainingError, match="another config"):
        pretrain(header, replace(TINY, lr=1e-2), scans, pool, NOTHING, tmp_path / "parts")


def test_enough_steps_tell_slices_apart(
    pool: SlicePool, scans: list[ManifestScan], header: CheckpointHeader, tmp_path: Path
) -> None:
    config = PretrainConfig(steps=60, slices_per_step=16, bf16=False)
    learnt = pretrain(header, config, scans, pool, NOTHING, tmp_path / "run").module
    x, _ = augmented(pool.hu[:], pool.masks[:], SHORT.preprocess, NOTHING, np.random.default_rng(0))
    with torch.inference_mode():
        logits = learnt.cell_logits(learnt.encode(x)[:, :, None, None])[:, 0, 0].numpy()
    bleeding = pool.masks.reshape(24, -1).max(axis=1) > 0
    assert logits[bleeding].min() > logits[~bleeding].max()


def test_an_encoder_and_a_head_make_one_network(header: CheckpointHeader) -> None:
    torch.manual_seed(0)
    encoder = TrainedModel(module=SaDmil(header.model).eval(), header=header)
    over = replace(header.model, encoder=FeaturesConfig(features=8), input_size=(1, 1))
    config = ModelConfig(encoder=over.encoder, head=over.head)
    head = TrainedModel(module=SaDmil(config).eval(), header=replace(header, model=config))
    one = assembled(encoder, head)
    x = torch.rand(1, 5, 3, *SIZE)
    mask = torch.ones(1, 5, dtype=torch.bool)
    with torch.inference_mode():
        features = encoder.module.encode(x[0])[None]
        assert torch.allclose(
            one(x[0], mask).logit_B, head.module(features[0], mask).logit_B, atol=1e-6
        )


def scores(name: str, host: str, logit: float, attention: list[float], slices: str) -> ScanScores:
    flags = np.array([c == "x" for c in slices])
    return ScanScores(
        scan_id=name,
        host=host,
        label=bool(flags.any()),
        logit=logit,
        attention=np.array(attention),
        evidence=np.array(attention),
        slices=flags,
    )


def test_scores_are_counted_by_hand_and_their_intervals_are_over_hosts() -> None:
    scans = [
        scores("1", "h1", 2.0, [0.1, 0.7, 0.2], ".x."),
        scores("2", "h1", 1.0, [0.4, 0.4, 0.2], "..."),
        scores("3", "h2", 0.0, [0.5, 0.2, 0.3], ".xx"),
        scores("4", "h2", -1.0, [0.4, 0.4, 0.2], "..."),
    ]
    assert scan_auroc(scans) == 0.75
    assert slice_auroc(scans, lambda s: s.attention) == 0.5  # 1 and 0
    figures = measured([scans])
    assert figures["slice_auroc_attention"]["value"] == 0.5
    assert figures["slice_auroc_attention"]["low"] == 0.0
    assert figures["slice_auroc_attention"]["high"] == 1.0
    assert figures["slice_auroc_centre"]["value"] == 0.75 + 0.125
    assert figures["scan_auroc"]["hosts"] == 2


def test_the_command_makes_a_model_from_phantoms_and_does_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("train-default", "--short", "--out", tmp_path / "out", "--threads", "2")
    first = run_sadmil(monkeypatch, capsys, *words)
    assert first.status == 0, first.err
    path = tmp_path / "out" / "default.safetensors"
    header = read_header(path)
    assert header.provenance.phantoms_only
    assert header.provenance.license == "MIT"
    assert header.preprocess == SHORT.preprocess
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["model_sha256"] == header.model_sha256
    assert set(report["outer"]) == {candidate.name for candidate in SHORT.candidates}
    assert 0 < header.rule.scan_threshold < 1
    encoder = load_checkpoint(tmp_path / "out" / "final" / "encoder" / "model.safetensors")
    kept = {k: v for k, v in encoder.module.state_dict().items() if k.startswith("encoder.")}
    shipped = load_checkpoint(path).module.state_dict()
    assert all(torch.equal(shipped[name], tensor) for name, tensor in kept.items())
    card = (tmp_path / "out" / "default.md").read_text(encoding="utf-8")
    assert header.model_sha256 in card
    assert f"{report['nested']['scan_auroc']['value']:.3f}" in card
    assert "phantoms alone" in card
    before = path.read_bytes()
    again = run_sadmil(monkeypatch, capsys, *words)
    assert again.status == 0
    assert path.read_bytes() == before


def test_networks_trained_at_a_time_are_those_trained_one_by_one(tmp_path: Path) -> None:
    def build(name: str, **options: Any) -> Build:
        return Build(
            folder=tmp_path / name,
            recipe=FEW,
            ranks=Ranks(device=torch.device("cpu")),
            provenance=Provenance(),
            **options,
        )

    def made() -> int:
        return len(list((tmp_path / "two").glob("labels/*.json")))

    torch.set_num_threads(1)
    with pytest.raises(Stopped):
        build("two", stop=lambda: made() > 0, processes=2).run([])
    assert 0 < made() < FEW.phantoms
    said: list[str] = []
    two = build("two", processes=2, say=said.append).run([])
    assert [line for line in said if "trained" in line]
    one = build("one").run([])
    assert two.read_bytes() == one.read_bytes()


def test_one_folder_is_for_one_process(tmp_path: Path) -> None:
    build = Build(
        folder=tmp_path,
        recipe=FEW,
        ranks=Ranks(device=torch.device("cpu")),
        provenance=Provenance(),
    )
    with held(tmp_path), pytest.raises(TrainingError, match="Another process"):
        build.run([])
    assert not (tmp_path / "store").exists()


def test_agreement_is_of_ranks_and_has_an_interval() -> None:
    own = np.array([0.1, 0.4, 0.2, 3.0, 9.0])
    found = correlated(own, np.array([1.0, 3.0, 2.0, 4.0, 5.0]))
    assert found["spearman"] == pytest.approx(1.0)
    swapped = correlated(own, np.array([2.0, 3.0, 1.0, 4.0, 5.0]))
    assert swapped["spearman"] == pytest.approx(0.9)  # 1 - 6 * 2 / (5 * 24)
    assert swapped["low"] < 0.9 <= swapped["high"]


def test_unlabelled_scans_are_read_by_the_model_that_was_kept_from_them(
    header: CheckpointHeader, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    for number in range(4):
        write_head(
            tmp_path / str(number), 12, study_uid=f"1.2.{number}", series_uid=f"1.3.{number}"
        )
    models = []
    for logit in (-1.0, 1.0, 5.0):
        module = SaDmil(header.model)
        with torch.no_grad():
            for parameter in module.head.parameters():
                parameter.fill_(0.0)
            list(module.head.parameters())[-1].fill_(logit)
        models.append(TrainedModel(module=module.eval(), header=header))
    folds = [
        FoldModel(model=models[0], kept_from=frozenset({"1.2.0"})),
        FoldModel(model=models[1], kept_from=frozenset({"1.2.1"})),
    ]
    found = agreement(folds, ["1.2.0", "1.2.1", "1.2.2"], [tmp_path], [models[2]])
    assert found["logits"] == {
        "1.2.0": [pytest.approx(-1), pytest.approx(5)],
        "1.2.1": [pytest.approx(1), pytest.approx(5)],
        "1.2.3": [pytest.approx(0), pytest.approx(5)],  # no host: the mean of both
    }
    assert "spearman" not in found  # 1.2.2 was in training everywhere: three are too few
