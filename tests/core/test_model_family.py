"""What holds for every member of the family, whatever it is made of."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadmil_core.checkpoint import read_header
from sadmil_core.configs import canonical_json, to_mapping
from sadmil_core.dicom import CTVolume
from sadmil_core.errors import CheckpointError, ModelError
from sadmil_core.model.config import (
    AttentionConfig,
    BackboneConfig,
    ConvEncoderConfig,
    FeaturesConfig,
    InstanceHeadConfig,
    ModelConfig,
    compact_config,
    published_config,
)
from sadmil_core.model.context_config import BiGruConfig, SmConfig, TransformerConfig
from sadmil_core.model.graph import EdgeList
from sadmil_core.model.graph_config import GraphConfig
from sadmil_core.model.sadmil import BagOutput, SaDmil
from sadmil_core.model.trained import TrainedModel, load_checkpoint, save_checkpoint
from sadmil_core.predict import Predictor
from sadmil_core.result import DecisionRule, sigmoid
from tests.families import (
    FEATURES,
    MEMBERS,
    compact_image_config,
    features_config,
    image_config,
    random_network,
)
from tests.networks import SIZE, small_header
from tests.synthetic import load, write_series

each_member = pytest.mark.parametrize("member", MEMBERS)
MIXING = [m for m in MEMBERS if m.startswith(("Sm", "transformer", "BiGRU"))]


def _bag(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    h_SD = torch.randn(count, FEATURES, generator=generator, dtype=torch.float64)
    gaps_S = 2 + 4 * torch.rand(count, generator=generator, dtype=torch.float64)
    return h_SD, gaps_S.cumsum(0)


def _read(module: SaDmil, *bags: tuple[torch.Tensor, torch.Tensor]) -> BagOutput:
    """Bags through the flat interface, pads of the positions full of nonsense."""
    longest = max(len(h_SD) for h_SD, _ in bags)
    mask_BS = torch.stack([torch.arange(longest) < len(h_SD) for h_SD, _ in bags])
    position_mm_BS = torch.full(mask_BS.shape, 1e9, dtype=torch.float64)
    for b, (_, z_S) in enumerate(bags):
        position_mm_BS[b, : len(z_S)] = z_S
    flat_ND = torch.cat([h_SD for h_SD, _ in bags])
    return module(flat_ND, mask_BS, position_mm_BS=position_mm_BS)


def _values(out: BagOutput, bag: int, count: int) -> dict[str, torch.Tensor]:
    found = {
        "logit": out.logit_B[bag],
        "attention": out.attention_BS[bag, :count],
        "f": out.attention_logit_BS[bag, :count],
    }
    for name in ("evidence_BS", "attention_sd_BS", "slice_logit_BS"):
        if getattr(out, name) is not None:
            found[name] = getattr(out, name)[bag, :count]
    return found | {name: loss_B[bag] for name, loss_B in out.extra_loss.items()}


@each_member
@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_a_longer_bag_beside_it_changes_nothing(member: str, count: int) -> None:
    module = random_network(features_config(member)).double()
    alone_h, beside_h = (_bag(count, 1)[0].requires_grad_() for _ in range(2))
    z_S = _bag(count, 1)[1]
    other = _bag(23, 2)
    alone = _values(_read(module, (alone_h, z_S)), 0, count)
    both = _read(module, other, (beside_h, z_S))
    beside = _values(both, 1, count)
    assert alone.keys() == beside.keys()
    for name, value in alone.items():
        torch.testing.assert_close(beside[name], value, rtol=0, atol=1e-9, msg=name)
    assert not both.attention_BS[1, count:].any()
    torch.testing.assert_close(both.attention_BS.sum(dim=1), torch.ones(2).double())
    alone["logit"].backward()
    beside["logit"].backward()
    assert alone_h.grad is not None
    assert beside_h.grad is not None
    torch.testing.assert_close(beside_h.grad, alone_h.grad, rtol=0, atol=1e-9)
    assert torch.isfinite(alone_h.grad).all()


@each_member
def test_what_stands_outside_the_bags_never_matters(member: str) -> None:
    module = random_network(features_config(member)).double()
    h_SD, z_S = _bag(4, 3)
    mask_BS = torch.tensor([[True] * 4 + [False] * 3])
    for rubbish in (0.0, float("nan"), float("inf")):
        h_BSD = torch.full((1, 7, FEATURES), rubbish, dtype=torch.float64)
        h_BSD[0, :4] = h_SD
        z_BS = torch.full((1, 7), rubbish, dtype=torch.float64)
        z_BS[0, :4] = z_S
        out = module.pool_batch(h_BSD.requires_grad_(), mask_BS, position_mm_BS=z_BS)
        one = module.pool(h_SD, position_mm_S=z_S)
        torch.testing.assert_close(out.logit_B[0], one.logit)
        out.logit_B.sum().backward()
        assert h_BSD.grad is not None
        assert torch.isfinite(h_BSD.grad).all()
        assert not h_BSD.grad[0, 4:].any()


@each_member
def test_a_bag_read_twice_gives_the_same_bits(member: str) -> None:
    module = random_network(features_config(member)).double()
    bag = _bag(6, 4)
    first, second = _read(module, bag), _read(module, bag)
    for name, value in _values(first, 0, 6).items():
        assert torch.equal(_values(second, 0, 6)[name], value), name


@pytest.mark.parametrize(
    "member", [m for m in MEMBERS if not m.startswith(("BiGRU", "probabilistic", "transformer"))]
)
def test_reversing_a_stack_reverses_its_slices_where_order_has_no_direction(member: str) -> None:
    """Graphs and sets: all but what has a direction or draws by place."""
    module = random_network(features_config(member)).double()
    h_SD, z_S = _bag(9, 5)
    there, back = _read(module, (h_SD, z_S)), _read(module, (h_SD.flip(0), -z_S.flip(0)))
    torch.testing.assert_close(back.logit_B, there.logit_B)
    torch.testing.assert_close(back.attention_BS.flip(1), there.attention_BS)


@each_member
def test_without_mixing_the_order_of_slices_does_not_matter(member: str) -> None:
    module = random_network(features_config(member)).double()
    h_SD, z_S = _bag(9, 6)
    order = torch.tensor([3, 8, 0, 5, 1, 7, 4, 2, 6])
    bags = ((h_SD, z_S), (h_SD[order], z_S))
    first, second = (_read(module, bag).logit_B.detach() for bag in bags)
    if member in MIXING:
        assert abs(float(first - second)) > 1e-6
    else:
        # Draws of probabilistic attention belong to places: their mean is the same nearly.
        tolerance = 0.05 if "probabilistic" in member else 1e-12
        torch.testing.assert_close(second, first, rtol=0, atol=tolerance)


@each_member
def test_evidence_adds_up_to_the_logit_or_is_not_given(member: str) -> None:
    config = features_config(member)
    out = _read(random_network(config).double(), _bag(7, 7))
    expected = member in {
        "attention",
        "ungated",
        "mean",
        "instance",
        "probabilistic",
        "probabilistic, smooth",
    }
    assert config.gives_evidence == (out.evidence_BS is not None) == expected
    if out.evidence_BS is not None:
        total_B = (out.attention_BS * out.evidence_BS).sum(dim=1)
        torch.testing.assert_close(total_B, out.logit_B)


@each_member
def test_every_parameter_takes_part(member: str) -> None:
    """One without a gradient would stall training on several processes."""
    module = random_network(features_config(member)).double().train()
    out = _read(module, _bag(5, 8), _bag(3, 9))
    total = out.logit_B.sum() + sum(loss.sum() for loss in out.extra_loss.values())
    if out.slice_logit_BS is not None:
        total = total + out.slice_logit_BS.sum()
    total.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> CTVolume:
    folder = tmp_path_factory.mktemp("scan")
    hu = np.random.default_rng(2).normal(40, 50, (6, 32, 32)).round().astype(np.int16)
    write_series(folder, hu=hu)
    return load(folder)


def _saved(path: Path, config: ModelConfig, **header: Any) -> TrainedModel:
    module = random_network(config)
    save_checkpoint(path, module, small_header(module, **header))
    return load_checkpoint(path)


@each_member
def test_each_member_is_saved_and_reads_a_scan(
    tmp_path: Path, volume: CTVolume, member: str
) -> None:
    model = _saved(tmp_path / "m.safetensors", image_config(member))
    assert read_header(tmp_path / "m.safetensors").model == image_config(member)
    predictor = Predictor(model, device="cpu")
    result = predictor.run(volume)
    assert result.attention.sum() == pytest.approx(1)
    assert (result.attention_sd is not None) == ("probabilistic" in member)
    assert (result.slice_probability is not None) == (model.header.model.instance is not None)
    assert np.isnan(result.attention_logit).all() == (
        model.header.model.pooling in ("max", "instance-max", "noisy-or")
    )
    if member == "mean":
        np.testing.assert_allclose(result.attention, 1 / 6)
        assert not result.slice_positive.any()
    for index in (0, 3):
        keep = [i for i in range(6) if i != index]
        entry = volume.entry
        geometry = replace(
            entry.geometry, origins_mm=tuple(entry.geometry.origins_mm[i] for i in keep)
        )
        fewer = replace(entry, slices=tuple(entry.slices[i] for i in keep), geometry=geometry)
        expected = predictor.run(CTVolume(entry=fewer, hu=volume.hu[keep]))
        assert predictor.probability_without(result, index) == pytest.approx(
            expected.scan_probability, abs=1e-5
        )


def test_a_negative_scan_need_not_have_a_suspicious_slice(tmp_path: Path, volume: CTVolume) -> None:
    rule = DecisionRule(
        slice_score="probability", slice_threshold=0.5, relative_to_uniform=False, gated=False
    )
    model = _saved(tmp_path / "m.safetensors", image_config("instance"), rule=rule)
    assert model.module.instance is not None
    with torch.no_grad():
        model.module.instance.output.weight.zero_()
        model.module.instance.output.bias.fill_(-3.0)
    result = Predictor(model, device="cpu").run(volume)
    np.testing.assert_allclose(result.slice_probability, sigmoid(-3.0), rtol=1e-6)
    assert not result.slice_positive.any()


@pytest.mark.parametrize(("score", "member"), [("probability", "mean"), ("evidence", "max")])
def test_a_rule_by_what_the_network_does_not_give_is_refused(score: Any, member: str) -> None:
    rule = DecisionRule(slice_score=score, relative_to_uniform=False)
    with pytest.raises(ValueError, match=f"gives no {score}"):
        small_header(SaDmil(image_config(member)), rule=rule)


def test_models_of_features_or_of_given_edges_are_not_asked_about_a_ct(tmp_path: Path) -> None:
    features = _saved(tmp_path / "f.safetensors", features_config("attention"))
    with pytest.raises(ModelError, match="reads features"):
        Predictor(features, device="cpu")
    config = replace(image_config("Sm on features"), graph=GraphConfig(edges="bag"))
    edges = _saved(tmp_path / "e.safetensors", config)
    with pytest.raises(ModelError, match="needs edges"):
        Predictor(edges, device="cpu")


def test_edges_of_the_bag_join_what_they_say() -> None:
    config = replace(features_config("Sm on features"), graph=GraphConfig(edges="bag"))
    module = random_network(config).double()
    h_SD, _ = _bag(4, 11)
    chain = EdgeList(
        pairs_E2=torch.tensor([[0, 1], [1, 2], [2, 3]]), weights_E=torch.ones(3).double()
    )
    by_chain = random_network(replace(config, graph=GraphConfig())).double()
    torch.testing.assert_close(module.pool(h_SD, edges=chain).logit, by_chain.pool(h_SD).logit)
    with pytest.raises(ValueError, match="needs the edges"):
        module.pool(h_SD)


@pytest.mark.parametrize(
    "pair", list(itertools.permutations(["attention", "transformer", "BiGRU", "noisy or"], 2))
)
def test_weights_of_another_member_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    config, other = (features_config(member) for member in pair)
    path = tmp_path / "m.safetensors"
    module = random_network(other)
    save_checkpoint(path, module, small_header(random_network(config)))
    with pytest.raises(CheckpointError, match="weights of another network"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bag_padding": 9, "pooling": "mean"}, "plain attention"),
        ({"bag_padding": 9, "context": BiGruConfig()}, "plain attention"),
        ({"bag_padding": 9, "encoder": FeaturesConfig(features=3)}, "plain attention"),
        ({"pooling": "noisy-or"}, "needs an instance head"),
        ({"context": SmConfig(), "pooling": "mean"}, "mean as it is"),
        ({"context": SmConfig(where="logits"), "pooling": "max"}, "needs plain attention"),
        (
            {"context": SmConfig(where="logits"), "attention": AttentionConfig(probabilistic=True)},
            "needs plain attention",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(features_config("attention"), **changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AttentionConfig(prior_smoothness=1.0),
        lambda: AttentionConfig(probabilistic=True, prior_smoothness=-1.0),
        lambda: AttentionConfig(samples=40),
        lambda: FeaturesConfig(features=0),
        lambda: BackboneConfig(library="timm", name=""),
        lambda: BackboneConfig(library="timm", name="x", in_channels=0),
        lambda: SmConfig(gamma=0.0),
        lambda: TransformerConfig(width=12, heads=4),
        lambda: TransformerConfig(layers=0),
        lambda: TransformerConfig(dropout=1.0),
        lambda: BiGruConfig(hidden=0),
        lambda: BiGruConfig(dropout=0.1),
        lambda: InstanceHeadConfig(hidden=-1),
    ],
)
def test_parts_refuse_values_without_a_meaning(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must|needs|only|between"):
        make()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_compact_network_is_small_and_reads_256(norm: Any) -> None:
    module = SaDmil(compact_config(norm)).eval()
    assert sum(p.numel() for p in module.parameters()) < 400_000
    assert module.encode(torch.rand(1, 3, 256, 256)).shape == (1, 128)


def test_groupnorm_makes_a_slice_independent_of_the_others_in_training() -> None:
    module = SaDmil(replace(compact_image_config())).train()
    for block in module.encoder.blocks:
        block.dropout.p = 0.0
    x_NCHW = torch.rand(5, 3, *SIZE)
    torch.testing.assert_close(module.encode(x_NCHW)[:2], module.encode(x_NCHW[:2]))


def test_cells_are_asked_as_the_whole_slice_is() -> None:
    module = random_network(compact_image_config())
    x_NCHW, mask_BS = torch.rand(3, 3, *SIZE), torch.tensor([[True, True], [True, False]])
    out = module(x_NCHW, mask_BS, cells=True)
    assert isinstance(module.config.encoder, ConvEncoderConfig)
    assert out.cell_logit_NHW.shape == (3, *module.config.encoder.spatial_size(SIZE))
    cell_D = module.encoder.blocks(x_NCHW)[1, :, 2, 3]
    torch.testing.assert_close(out.cell_logit_NHW[1, 2, 3], module.head(cell_D))
    torch.testing.assert_close(out.logit_B, module(x_NCHW, mask_BS).logit_B)
    with pytest.raises(ValueError, match="logit for each cell"):
        random_network(image_config("attention"))(x_NCHW, mask_BS, cells=True)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_checkpointing_changes_neither_gradients_nor_statistics(norm: Any) -> None:
    config = compact_image_config()
    assert isinstance(config.encoder, ConvEncoderConfig)
    config = replace(config, encoder=replace(config.encoder, norm=norm))
    x_NCHW = torch.rand(4, 3, *SIZE)
    results = []
    for checkpointed in (False, True):
        torch.manual_seed(3)
        module = SaDmil(config).train()
        module.set_activation_checkpointing(checkpointed)
        torch.manual_seed(4)  # dropout draws the same again, too
        module(x_NCHW, torch.ones(1, 4, dtype=torch.bool)).logit_B.sum().backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        results.append((gradients, dict(module.state_dict())))
        if checkpointed:
            module.set_activation_checkpointing(False)
            assert "forward" not in module.encoder.blocks[0].__dict__
    for plain, other in zip(*results, strict=True):
        for name, tensor in plain.items():
            assert torch.equal(tensor, other[name]), name


def test_checkpointing_keeps_fewer_activations() -> None:
    module = SaDmil(compact_image_config()).train()
    kept = []
    for checkpointed in (False, True):
        module.set_activation_checkpointing(checkpointed)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, into=sizes: into.append(t.numel()) or t, lambda t: t
        ):
            module.encode(torch.rand(4, 3, *SIZE))
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_half_precision_of_the_encoder_does_not_reach_the_pooling() -> None:
    module = random_network(image_config("Sm on features"))
    mask_BS = torch.ones(1, 3, dtype=torch.bool)
    position_mm_BS = torch.arange(3.0)[None]
    with torch.autocast("cpu", torch.bfloat16):
        out = module(torch.rand(3, 3, *SIZE), mask_BS, position_mm_BS=position_mm_BS)
    assert out.logit_B.dtype == out.attention_logit_BS.dtype == torch.float32


def test_the_published_config_keeps_its_mapping() -> None:
    """Its text goes into the hashes of checkpoints that people have."""
    assert canonical_json(to_mapping(published_config())) == (
        '{"attention":{"bias":false,"gated":true,"hidden":64},"bag_padding":57,"encoder":'
        '{"channels":[16,32,32,32,32,32],"dropout":[0.0,0.3,0.0,0.0,0.3,0.3],"in_channels":3,'
        '"kernels":[5,3,3,3,3,3],"norm_eps":0.001,"output":"flatten","padding":["same","valid",'
        '"valid","valid","valid","valid"]},"head":{"activation":"linear","dropout":0.25,'
        '"hidden":128},"input_size":[512,512]}'
    )
