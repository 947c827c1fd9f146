"""Encoders of torchvision and timm: their features, weights, precision, and what can go wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sadmil_core.errors import ModelError
from sadmil_core.model import backbone
from sadmil_core.model.backbone import BackboneEncoder
from sadmil_core.model.config import BackboneConfig, ModelConfig
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.trained import initial_model, load_checkpoint, save_checkpoint
from tests.networks import small_header
from tests.torchvision_here import require_backbone_library

SIZE = (32, 32)
NETWORKS = [("torchvision", "resnet18"), ("timm", "resnet10t"), ("timm", "vit_tiny_patch16_224")]
each_network = pytest.mark.parametrize(("library", "name"), NETWORKS)


def _config(library: str, name: str, **changes: Any) -> ModelConfig:
    require_backbone_library(library)
    values: dict[str, Any] = {"library": library, "name": name}
    return ModelConfig(encoder=BackboneConfig(**(values | changes)), input_size=SIZE)


def _x(channels: int = 3, count: int = 4) -> torch.Tensor:
    return torch.rand(count, channels, *SIZE, generator=torch.Generator().manual_seed(1))


@each_network
def test_a_backbone_gives_features_and_comes_back_from_a_checkpoint(
    tmp_path: Path, library: str, name: str
) -> None:
    torch.manual_seed(0)
    module = SaDmil(_config(library, name)).eval()
    mask_BS = torch.tensor([[True, True, True], [True, False, False]])
    out = module(_x(), mask_BS)
    assert module.encode(_x()).shape == (4, module.encoder.features)
    assert out.evidence_BS is not None
    save_checkpoint(tmp_path / "m.safetensors", module, small_header(module))
    back = load_checkpoint(tmp_path / "m.safetensors").module
    assert torch.equal(back(_x(), mask_BS).logit_B, out.logit_B)


def test_resnet_without_its_classifier_is_the_librarys_own() -> None:
    encoder = BackboneEncoder(_config("torchvision", "resnet18").encoder, SIZE).eval()  # type: ignore[arg-type]
    torchvision = __import__("torchvision")
    whole = torchvision.models.resnet18().eval()
    whole.load_state_dict(encoder.net.state_dict(), strict=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    sd = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    with torch.no_grad():
        h_ND = encoder(_x())
        torch.testing.assert_close(whole((_x() - mean) / sd), whole.fc(h_ND))
    assert h_ND.shape == (4, 512)


def test_windows_other_than_three_are_spread_over_the_channels_in_order() -> None:
    weights = {c: backbone._make_adapter(c).weight[:, :, 0, 0] for c in (1, 2, 5)}
    torch.testing.assert_close(weights[1], torch.ones(3, 1))
    torch.testing.assert_close(weights[2], torch.tensor([[1, 0], [0.5, 0.5], [0, 1]]))
    torch.testing.assert_close(weights[5], torch.eye(5)[[0, 2, 4]])
    module = SaDmil(_config("torchvision", "resnet18", in_channels=2, normalisation="none"))
    assert module.eval().encode(_x(2)).shape == (4, 512)


def test_a_frozen_backbone_learns_nothing_and_keeps_its_statistics() -> None:
    module = SaDmil(_config("torchvision", "resnet18", frozen=True, in_channels=1)).train()
    before = {k: v.clone() for k, v in module.encoder.state_dict().items()}
    mask_BS = torch.ones(1, 4, dtype=torch.bool)
    optimizer = torch.optim.SGD((p for p in module.parameters() if p.requires_grad), lr=0.1)
    module(_x(1), mask_BS).logit_B.sum().backward()
    optimizer.step()
    changed = [k for k, v in module.encoder.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["adapter.weight"]
    assert not module.train().encoder.net.training


@each_network
def test_checkpointing_changes_neither_gradients_nor_statistics(library: str, name: str) -> None:
    config = _config(library, name)
    results = []
    for checkpointed in (False, True):
        torch.manual_seed(3)
        module = SaDmil(config).train()
        module.set_activation_checkpointing(checkpointed)
        torch.manual_seed(4)
        module(_x(), torch.ones(1, 4, dtype=torch.bool)).logit_B.sum().backward()
        gradients = {k: p.grad for k, p in module.named_parameters()}
        results.append((gradients, module.state_dict()))
    assert list(backbone._blocks(module.encoder.net))
    for plain, other in zip(*results, strict=True):
        assert plain.keys() == other.keys()
        for key, tensor in plain.items():
            assert torch.equal(tensor, other[key]), key


@each_network
def test_bfloat16_is_close(library: str, name: str) -> None:
    torch.manual_seed(0)
    encoder = SaDmil(_config(library, name)).encoder.eval()
    with torch.no_grad():
        full = encoder(_x())
        encoder.set_convolution_dtype(torch.bfloat16)
        half = encoder(_x().bfloat16()).float()
    assert half.dtype == torch.float32
    assert float((half - full).abs().max()) < 0.05 * float(full.abs().max())


@pytest.mark.parametrize(
    ("suffix", "prefix"), [(".safetensors", ""), (".pth", ""), (".pth", "module.")]
)
def test_training_starts_from_the_users_weights(tmp_path: Path, suffix: str, prefix: str) -> None:
    require_backbone_library("torchvision")
    torch.manual_seed(5)
    whole = __import__("torchvision").models.resnet18()
    state = {f"{prefix}{k}": v for k, v in whole.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        safetensors.torch.save_file(state, path)
    module = initial_model(_config("torchvision", "resnet18", weights=str(path)))
    assert torch.equal(module.encoder.net.conv1.weight, whole.conv1.weight)
    assert torch.equal(module.encoder.net.layer4[1].bn2.weight, whole.layer4[1].bn2.weight)


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def test_weights_with_code_in_them_are_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"a": _Trap(tmp_path / "sprung")}, tmp_path / "w.pth")
    (tmp_path / "p.pth").write_bytes(pickle.dumps(_Trap(tmp_path / "sprung")))
    for name in ("w.pth", "p.pth", "absent.pth", "absent.safetensors"):
        config = _config("torchvision", "resnet18", weights=str(tmp_path / name))
        with pytest.raises(ModelError, match=f"{name} cannot be read as a state dict"):
            initial_model(config)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("change", ["lacks", "has more", "other shape", "no dict"])
def test_weights_of_another_network_are_refused(tmp_path: Path, change: str) -> None:
    config = _config("torchvision", "resnet18", weights=str(tmp_path / "w.pth"))
    state: Any = SaDmil(config).encoder.net.state_dict()
    if change == "lacks":
        del state["conv1.weight"]
    elif change == "has more":
        state["layer5.weight"] = torch.zeros(1)
    elif change == "other shape":
        state["conv1.weight"] = torch.zeros(1)
    else:
        state = [1, 2]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth (does not hold|is not a state dict)"):
        initial_model(config)


def test_imagenet_weights_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config("torchvision", "resnet18", weights="imagenet")

    def refuse(*args: Any, **options: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", refuse)
    with pytest.raises(ModelError, match=r"could not be fetched.*path of a state dict"):
        initial_model(config)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_networks_that_are_not_there_or_do_not_fit_are_named(library: str) -> None:
    with pytest.raises(ModelError, match=f"{library} makes no network 'resnet0'"):
        SaDmil(_config(library, "resnet0"))
    with pytest.raises(ModelError, match=r"cannot read slices of 32 x 32|no network"):
        SaDmil(_config("torchvision", "vit_b_16"))


@pytest.mark.parametrize("failure", [ImportError("no module"), RuntimeError("no operator")])
def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def refuse(name: str) -> Any:
        raise failure

    monkeypatch.setattr(backbone.importlib, "import_module", refuse)
    config = ModelConfig(encoder=BackboneConfig(library="timm", name="resnet18"))
    with pytest.raises(ModelError, match=r"of timm.*sadmil-viewer\[backbones\]"):
        SaDmil(config)
