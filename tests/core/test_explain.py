"""Explanations lie where they should, follow the weights, and can be stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sadmil_core.checkpoint import CheckpointHeader, Provenance
from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import ModelError
from sadmil_core.explain import Explainer
from sadmil_core.explain.explainer import input_grid
from sadmil_core.explain.explanation import Lattice, spread
from sadmil_core.explain.gradcam import cell_lattice, cell_shares
from sadmil_core.explain.occlusion import CoveredSlice
from sadmil_core.model.config import (
    BackboneConfig,
    compact_config,
    published_config,
    published_encoder,
)
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.model.trained import TrainedModel, load_checkpoint
from sadmil_core.pixelgrid import Grid
from sadmil_core.predict import Predictor
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.progress import Cancelled
from sadmil_core.published.mapping import import_bundle
from sadmil_core.result import DecisionRule
from tests.families import compact_image_config, random_network
from tests.networks import SIZE, small_header, small_network
from tests.reference import published_data
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model

METHODS = ("occlusion", "grad-cam")
SPOT = 6  # a slice of the study with a spot in rows and columns 20 to 27 of 64


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = write_spot_study(tmp_path_factory.mktemp("spots") / "study")
    (entry,) = index_folder(folder).entries
    return load_volume(entry)


def predictor_of(module: SaDmil, preprocess: PreprocessConfig) -> Predictor:
    header = CheckpointHeader(
        name="made",
        model=module.config,
        preprocess=preprocess,
        rule=DecisionRule(),
        supervision="scan",
        provenance=Provenance(description="random weights"),
    )
    return Predictor(TrainedModel(module=module.eval(), header=header), device="cpu", chunk=16)


def tiny_predictor(tmp_path: Path, preprocess: PreprocessConfig | None = None) -> Predictor:
    write_tiny_model(tmp_path / "tiny.safetensors")
    model = load_checkpoint(tmp_path / "tiny.safetensors")
    if preprocess is not None:
        config = replace(model.header.model, input_size=preprocess.size)
        header = replace(model.header, model=config, preprocess=preprocess)
        model = replace(model, header=header)
    return Predictor(model, device="cpu", chunk=32)


def centre_of_mass(moved: np.ndarray) -> tuple[float, float]:
    raised = np.clip(moved, 0, None)
    rows, columns = np.indices(moved.shape)
    return float((rows * raised).sum() / raised.sum()), float(
        (columns * raised).sum() / raised.sum()
    )


def cropping(volume) -> PreprocessConfig:
    spacing = volume.entry.geometry.row_spacing_mm
    return PreprocessConfig(size=(56, 60), resample="hu", pixel_spacing_mm=spacing, crop="head")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("crop", [False, True], ids=["whole matrix", "head crop"])
def test_the_spot_that_the_network_looks_for_is_found(volume, tmp_path, method, crop):
    # Off the middle, so that coordinates of the crop would be wrong ones on the matrix.
    hu = np.roll(volume.hu, (6, 3), axis=(1, 2))
    spot = hu[SPOT] == 70
    spot[28:32, 26:30] = False
    hu[SPOT][spot] = 25  # small enough to be covered by one square
    moved = replace(volume, hu=hu)
    rows, columns = np.nonzero(hu[SPOT] == 70)
    predictor = tiny_predictor(tmp_path, cropping(moved) if crop else None)
    found = Explainer(predictor, moved).explain(SPOT, method)
    assert found.moved_RC.shape == volume.entry.shape[1:]
    assert found.slice_index == SPOT
    assert found.model == predictor.model.header.identity
    assert centre_of_mass(found.moved_RC) == pytest.approx((rows.mean(), columns.mean()), abs=2.0)
    assert found.strongest == found.moved_RC.max() > 0
    if crop:
        grid = input_grid(moved, cropping(moved))
        assert abs(grid.top - 4) >= 2  # where a crop of the middle would begin


def test_occlusion_says_by_how_much_the_scan_logit_falls(volume, tmp_path):
    predictor = tiny_predictor(tmp_path)
    found = Explainer(predictor, volume).explain(SPOT, "occlusion")
    # Without its spot the slice is like those without one; others still have theirs.
    whole = predictor.run(volume)
    hu = volume.hu.copy()
    hu[SPOT][hu[SPOT] == 70] = 25
    healed = predictor.run(replace(volume, hu=hu))
    assert 0 < found.strongest <= (whole.scan_logit - healed.scan_logit) * 1.05 + 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["published", "compact"])
def test_other_weights_give_another_map(volume, method, kind):
    config = small_network(bag_padding=20).config if kind == "published" else compact_image_config()
    preprocess = PreprocessConfig(size=SIZE)
    maps = []
    for seed in (0, 1):
        module = random_network(config, seed)
        explainer = Explainer(predictor_of(module, preprocess), volume)
        maps.append(explainer.explain(SPOT, method).moved_RC.ravel())
    assert min(np.abs(each).max() for each in maps) > 0
    assert abs(np.corrcoef(maps)[0, 1]) < 0.9


@pytest.mark.parametrize("kind", ["published", "compact"])
def test_grad_cam_adds_up_to_what_the_slice_brings(kind):
    """Behind a linear head and equal weights, activation times gradient is the evidence."""
    config = published_config() if kind == "published" else compact_config()
    torch.manual_seed(3)
    module = SaDmil(config).eval()
    predictor = predictor_of(module, PreprocessConfig(size=config.input_size))
    x = torch.rand(3, *config.input_size)
    with torch.no_grad():
        (h,) = module.encode(x[None])
        brings = float(module.head(h) - module.head(torch.zeros_like(h)))
    shares = cell_shares(predictor.model, x.numpy(), module.head)
    assert shares.shape == ((6, 6) if kind == "published" else (8, 8))
    assert shares.sum() == pytest.approx(brings, abs=1e-4)
    assert abs(brings) > 1e-3


def test_cells_lie_at_the_middles_of_their_receptive_fields():
    """The published encoder's, found by asking which input pixels a cell depends on."""
    torch.manual_seed(0)
    encoder = SaDmil(replace(published_config(), bag_padding=0)).eval().encoder
    x = torch.rand(1, 3, 512, 512, requires_grad=True)
    # All values pass: the maximum would hide parts of the field.
    for block in encoder.blocks:
        block.pool = torch.nn.AvgPool2d(2)
        block.conv.weight.data.abs_()
        block.conv.bias.data.fill_(1.0)
    encoder.cells(x)[0, :, 2, 4].sum().backward()
    seen = x.grad[0].abs().sum(dim=0) > 0
    lattice = cell_lattice(published_encoder())
    for axis, cell in ((1, 2), (0, 4)):
        where = torch.nonzero(seen.any(dim=axis)).ravel()
        middle = float(where[0] + where[-1]) / 2
        assert middle == pytest.approx(lattice.first + lattice.step * cell, abs=0.51)


def test_a_coarse_map_is_spread_over_the_matrix_where_the_input_lay():
    grid = Grid(size=(8, 8), top=10, left=20, step=(2, 3))
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = 1
    moved = spread(values, (Lattice(first=0.5, step=2), Lattice(first=0.5, step=2)), grid, (40, 60))
    # The value is at (2.5, 4.5) of the input, whose pixel centres are half a pixel in.
    row, column = centre_of_mass(moved)
    assert (row, column) == pytest.approx((10 + 2 * 3 - 0.5, 20 + 3 * 5 - 0.5))
    rows, columns = np.nonzero(moved)
    assert rows.min() >= 10
    assert rows.max() < 26
    assert columns.min() >= 20
    assert columns.max() < 44


def test_squares_cover_all_that_is_not_air_and_nothing_else():
    x = np.zeros((2, 50, 40), np.float32)
    x[:, 10:50, 5:40] = 0.5
    x[1, 20, 20] = 1.0
    covered = CoveredSlice(x)
    seen = covered.instances(0, len(covered))
    assert seen.shape[1:] == x.shape
    assert (seen[:, :, :10] == 0).all()  # air stays
    changed = (seen[:, 1] != x[1]).any(axis=0)
    assert np.argwhere(changed).tolist() == [[20, 20]]
    assert len(covered) < np.prod(covered.shape)
    values = np.arange(len(covered), dtype=np.float32) + 1
    filled = covered.as_map(values)
    assert sorted(filled[filled > 0].tolist()) == values.tolist()


def test_a_slice_of_air_moves_nothing(volume, tmp_path):
    hu = volume.hu.copy()
    hu[3] = -1000
    found = Explainer(tiny_predictor(tmp_path), replace(volume, hu=hu)).explain(3, "occlusion")
    assert found.strongest == 0.0


def test_it_can_be_stopped_and_asked_again(volume, tmp_path):
    explainer = Explainer(tiny_predictor(tmp_path), volume)
    phases = []

    def stop(done, total, phase):
        phases.append(phase)
        if phase.startswith("covering") and done:
            raise Cancelled

    with pytest.raises(Cancelled):
        explainer.explain(SPOT, "occlusion", stop)
    assert {"reading with the model", "covering one place after another"} <= set(phases)
    phases.clear()
    assert explainer.explain(SPOT, "occlusion", lambda *_: phases.append(_[2])).strongest > 0
    assert "reading with the model" not in phases  # the scan is encoded once


def test_an_encoder_without_feature_map_is_refused_with_the_way_out(volume, tmp_path):
    predictor = tiny_predictor(tmp_path)
    header = small_header(small_network())
    other = replace(header.model, encoder=BackboneConfig(library="torchvision", name="resnet18"))
    predictor.model = replace(predictor.model, header=replace(header, model=other))
    with pytest.raises(ModelError, match=r"feature map.*\n?.*occlusion"):
        Explainer(predictor, volume).explain(SPOT, "grad-cam")


@pytest.mark.reference
def test_the_published_network_is_explained_by_its_own_weights_alone(volume):
    path = import_bundle(published_data() / "models" / "baseline.ckpt", "baseline")
    trained = load_checkpoint(path)
    torch.manual_seed(5)
    shuffled = SaDmil(trained.header.model)
    maps = []
    for module in (trained.module, shuffled):
        predictor = predictor_of(module, trained.header.preprocess)
        maps.append(Explainer(predictor, volume).explain(SPOT, "grad-cam").moved_RC.ravel())
    assert min(np.abs(each).max() for each in maps) > 0
    assert abs(np.corrcoef(maps)[0, 1]) < 0.9
