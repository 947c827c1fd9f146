from __future__ import annotations

import errno
import os
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from sadmil_core.checkpoint import read_checkpoint
from sadmil_core.errors import CheckpointError, WeightsError, WriteError
from sadmil_core.model.config import published_config
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.trained import TrainedModel, load_checkpoint
from sadmil_core.preprocess import PUBLISHED_WINDOWS, PreprocessConfig, preprocess_slice
from sadmil_core.published.mapping import import_bundle
from sadmil_core.published.statedict import to_state_dict
from sadmil_core.result import DecisionRule
from tests import tensorbundle_writer as writer
from tests.reference import published_data

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("baseline", "att_0_5", "att_0_9")
PADDED = 57


@pytest.fixture(autouse=True)
def _data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADMIL_DATA_DIR", str(tmp_path / "user"))


def _arrays(**changes: Any) -> dict[str, NDArray[Any]]:
    """The variables of a random network; a change is layer_name=function of the tensor."""
    tensors = {k: v for k, v in writer.network_variables(3).items() if not isinstance(v, bytes)}
    for key, change in changes.items():
        layer, _, name = key.removeprefix("layer").partition("_")
        full = f"layer_with_weights-{layer}/{name}{writer.SUFFIX}"
        tensors[full] = change(tensors.get(full))
    return tensors


def test_names_shapes_and_types_are_those_of_the_network() -> None:
    state = to_state_dict(_arrays())
    expected = SaDmil(published_config()).state_dict()
    assert sorted(state) == sorted(expected)
    for name, tensor in expected.items():
        assert state[name].shape == tuple(tensor.shape), name
        assert torch.from_numpy(state[name]).dtype == tensor.dtype, name
        assert state[name].flags.c_contiguous


def test_kernels_are_transposed_and_parts_named_rightly() -> None:
    arrays = _arrays()
    state = to_state_dict(arrays)

    def theirs(name: str) -> NDArray[Any]:
        return arrays[f"layer_with_weights-{name}{writer.SUFFIX}"]

    assert state["encoder.blocks.1.conv.weight"][4, 3, 2, 1] == theirs("2/kernel")[2, 1, 3, 4]
    assert state["encoder.blocks.5.norm.running_mean"][7] == theirs("11/moving_mean")[7]
    assert state["encoder.blocks.5.norm.running_var"][7] == theirs("11/moving_variance")[7]
    assert state["encoder.blocks.5.norm.weight"][7] == theirs("11/gamma")[7]
    assert state["encoder.blocks.5.norm.bias"][7] == theirs("11/beta")[7]
    assert state["attention.value.weight"][5, 1000] == theirs("12/v")[1000, 5]
    assert state["attention.gate.weight"][5, 1000] == theirs("12/u")[1000, 5]
    assert state["attention.weight.weight"][0, 5] == theirs("12/w")[5, 0]
    assert state["head.hidden.weight"][100, 1000] == theirs("13/kernel")[1000, 100]
    assert state["head.output.weight"][0, 100] == theirs("14/kernel")[100, 0]
    assert published_config().encoder.norm_eps == 1e-3


def test_a_softmax_of_two_classes_becomes_one_logit() -> None:
    two_way = {
        k: v for k, v in writer.network_variables(3, classes=2).items() if not isinstance(v, bytes)
    }
    state = to_state_dict(two_way)
    x = np.random.default_rng(0).normal(size=128).astype(np.float32)
    kernel = two_way[f"layer_with_weights-14/kernel{writer.SUFFIX}"]
    bias = two_way[f"layer_with_weights-14/bias{writer.SUFFIX}"]
    scores = np.exp(x @ kernel + bias)
    logit = state["head.output.weight"][0] @ x + state["head.output.bias"][0]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(scores[1] / scores.sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer4_kernel": lambda t: t[:1]}, r"layer_with_weights-4/kernel is of shape \(1, 3"),
        ({"layer4_kernel": lambda t: t.astype(np.float64)}, "type float64, not float32"),
        ({"layer12_v": lambda t: t * np.nan}, "12/v holds values that are not finite"),
        ({"layer5_moving_variance": lambda t: -t}, "layer 5 is negative"),
        ({"layer14_kernel": lambda t: np.zeros((128, 3), np.float32)}, r"\(128, 3\), not"),
        ({"layer15_kernel": lambda _: np.zeros(3, np.float32)}, "1 more variables, such as"),
    ],
)
def test_another_network_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        to_state_dict(_arrays(**change))


def test_a_missing_tensor_is_named() -> None:
    arrays = _arrays()
    del arrays[f"layer_with_weights-13/bias{writer.SUFFIX}"]
    with pytest.raises(WeightsError, match="no tensor layer_with_weights-13/bias"):
        to_state_dict(arrays)
    with pytest.raises(WeightsError, match="no tensor layer_with_weights-0/kernel"):
        to_state_dict({"dense/kernel": np.zeros(3)})


def test_import_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    writer.write_bundle(tmp_path / "net.ckpt", writer.network_variables(4))
    path = import_bundle(tmp_path / "net.ckpt.index", "mine")
    assert path == tmp_path / "user" / "models" / "mine.safetensors"
    header, tensors = read_checkpoint(path)
    assert header.name == "mine"
    assert header.model == published_config()
    assert header.model.bag_padding == PADDED
    assert header.preprocess == PreprocessConfig(windows=PUBLISHED_WINDOWS, size=(512, 512))
    assert header.rule == DecisionRule()
    assert header.supervision == "scan"
    assert len(header.model_sha256) == 64
    # These weights are nobody's; the header must not claim the authors' training for them.
    assert header.provenance.training_data == "unknown"
    assert "2307.09457" in header.provenance.citation
    model = load_checkpoint(path)
    for name, tensor in model.module.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name].reshape(tensor.shape))


def test_an_installed_model_is_only_replaced_when_asked(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.ckpt", "b.ckpt")):
        writer.write_bundle(tmp_path / name, writer.network_variables(seed))
    path = import_bundle(tmp_path / "a.ckpt", "mine")
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=f"already: {path}.*--overwrite"):
        import_bundle(tmp_path / "b.ckpt", "mine")
    assert path.read_bytes() == before
    import_bundle(tmp_path / "b.ckpt", "mine", overwrite=True)
    assert path.read_bytes() != before


def test_a_failed_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = writer.network_variables()
    writer.write_bundle(tmp_path / "good.ckpt", tensors)
    del tensors[f"layer_with_weights-0/bias{writer.SUFFIX}"]
    writer.write_bundle(tmp_path / "bad.ckpt", tensors)
    with pytest.raises(WeightsError, match=r"bad\.ckpt\.index does not hold the published"):
        import_bundle(tmp_path / "bad.ckpt", "mine")
    assert not (tmp_path / "user").exists()
    with pytest.raises(CheckpointError, match="cannot be a model's name"):
        import_bundle(tmp_path / "good.ckpt", "../mine")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="disk is full"):
        import_bundle(tmp_path / "good.ckpt", "mine")
    assert list((tmp_path / "user" / "models").iterdir()) == []


def test_importing_needs_no_torch() -> None:
    code = "import sadmil_core.published.fetch, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- The authors' own weights against outputs of the original network ----


@cache
def _bags() -> dict[str, torch.Tensor]:
    """The real slices of the golden bags, (S, 3, 512, 512)."""
    with np.load(published_data() / "golden" / "inputs.npz") as inputs:
        noise, phantom = inputs["noise_u8"], inputs["phantom_hu"]
    noise = (noise.astype(np.float32) / 255).repeat(8, axis=1).repeat(8, axis=2)
    config = PreprocessConfig()
    slices = np.stack([preprocess_slice(hu, config) for hu in phantom])
    return {
        "noise8_pad57": torch.from_numpy(noise.transpose(0, 3, 1, 2).copy()),
        "zeros57": torch.zeros(0, 3, 512, 512),
        "phantom12": torch.from_numpy(slices),
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    folder = published_data() / "models"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADMIL_DATA_DIR", str(tmp_path_factory.mktemp("user")))
        return {n: load_checkpoint(import_bundle(folder / f"{n}.ckpt", n)) for n in NAMES}


def _encode(module: SaDmil, x: torch.Tensor) -> torch.Tensor:
    """Features slice by slice, on one thread: several that wait for each other are slow on a
    busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            parts = [module.encode(part) for part in x.split(1)] if len(x) else []
            return torch.cat([*parts, torch.zeros(0, 1152)])
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def encoded(models: dict[str, TrainedModel]) -> dict[str, dict[str, torch.Tensor]]:
    """The features of every bag's real slices, and of one zero slice, by model and bag."""
    bags = _bags() | {"zero": torch.zeros(1, 3, 512, 512)}
    return {
        name: {bag: _encode(model.module, x) for bag, x in bags.items()}
        for name, model in models.items()
    }


def _golden(name: str, bag: str) -> dict[str, NDArray[np.float32]]:
    with np.load(published_data() / "golden" / f"golden_{name}.npz") as golden:
        # There e are the attention logits and z is the output of the hidden layer.
        keys = ("prob", "att", "e", "z")
        return {key: golden[f"{bag}.{key}"] for key in keys}


def _close(found: torch.Tensor, expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bag", ["noise8_pad57", "zeros57", "phantom12", "phantom12_pad57"])
def test_explicit_pads_agree_with_the_original(
    name: str,
    bag: str,
    models: dict[str, TrainedModel],
    encoded: dict[str, dict[str, torch.Tensor]],
) -> None:
    module, golden = models[name].module, _golden(name, bag)
    real = encoded[name][bag.removesuffix("_pad57") if "phantom" in bag else bag]
    pads = len(golden["att"]) - len(real)
    with torch.inference_mode():
        features = torch.cat([real, encoded[name]["zero"].expand(pads, -1)])
        out = module.pool(features, pads=0)
        assert module.head is not None
        assert module.head.hidden is not None
        z = module.head.hidden(out.attention_S @ features)
    _close(torch.sigmoid(out.logit)[None], golden["prob"])
    _close(out.attention_S, golden["att"])
    _close(out.attention_logit_S, golden["e"])
    np.testing.assert_allclose(z.numpy(), golden["z"], rtol=1e-4, atol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bag", ["noise8_pad57", "zeros57", "phantom12_pad57"])
def test_analytic_pads_agree_with_the_original(
    name: str,
    bag: str,
    models: dict[str, TrainedModel],
    encoded: dict[str, dict[str, torch.Tensor]],
) -> None:
    golden, zero = _golden(name, bag), encoded[name]["zero"]
    real = encoded[name][bag.removesuffix("_pad57") if "phantom" in bag else bag]
    # A bag needs a real slice: of the 57 zero ones, one stands for itself.
    real = real if len(real) else zero
    with torch.inference_mode():
        out = models[name].module.pool(real, zero[0])
    _close(torch.sigmoid(out.logit)[None], golden["prob"])
    _close(out.attention_S, golden["att"][: len(real)])
    _close(out.attention_logit_S, golden["e"][: len(real)])
    assert out.evidence_S is not None
    assert out.padding_contribution is not None
    total = (out.attention_S * out.evidence_S).sum() + out.padding_contribution
    assert float(total) == pytest.approx(float(out.logit), abs=1e-3)


@pytest.mark.reference
def test_a_bag_with_real_zero_slices_through_the_whole_network(
    models: dict[str, TrainedModel],
) -> None:
    module, golden = models["att_0_9"].module, _golden("att_0_9", "noise8_pad57")
    x = torch.cat([_bags()["noise8_pad57"], torch.zeros(PADDED - 8, 3, 512, 512)])
    features = _encode(module, x)
    with torch.inference_mode():
        out = module.pool_batch(features[None], torch.ones(1, PADDED, dtype=torch.bool))
    _close(torch.sigmoid(out.logit_B), golden["prob"])
    _close(out.attention_BS[0], golden["att"])
    _close(out.attention_logit_BS[0], golden["e"])


@pytest.mark.reference
@pytest.mark.parametrize("name", NAMES)
def test_features_agree_with_the_original(
    name: str, encoded: dict[str, dict[str, torch.Tensor]]
) -> None:
    with np.load(published_data() / "golden" / f"golden_{name}.npz") as golden:
        h_chw = golden["phantom12.h_chw"]
    # The goldens are flattened by channel first; the network's features by row, column, channel.
    h_hwc = h_chw.reshape(12, 32, 6, 6).transpose(0, 2, 3, 1).reshape(12, 1152)
    np.testing.assert_allclose(encoded[name]["phantom12"].numpy(), h_hwc, rtol=1e-4, atol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("name", NAMES)
def test_provenance_of_the_authors_weights(name: str, models: dict[str, TrainedModel]) -> None:
    provenance = models[name].header.provenance
    assert "RSNA" in provenance.training_data
    assert provenance.license.startswith("MIT")
    assert f"{name}.ckpt" in provenance.source
    assert "2307.09457" in provenance.citation
    assert "Research use only" in provenance.limits
