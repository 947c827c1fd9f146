"""The encoder: taking the maximum first must not change a bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sadmil_core.configs import to_mapping
from sadmil_core.model.config import ConvEncoderConfig, published_config
from sadmil_core.model.encoder import ConvBlock, ConvEncoder
from tests.networks import SIZE, small_network


def _block(seed: int, kernel: int = 3, padding: str = "valid") -> ConvBlock:
    generator = torch.Generator().manual_seed(seed)
    block = ConvBlock(3, 8, kernel, padding, 0.3, 1e-3)
    with torch.no_grad():
        for name, tensor in block.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                positive = name in ("norm.weight", "norm.running_var")
                tensor.copy_(noise.abs() + 0.01 if positive else noise)
    return block.eval()


def _plain(block: ConvBlock, x_NCHW: torch.Tensor) -> torch.Tensor:
    """In the order of the paper: convolution, ReLU, BatchNorm, maximum."""
    return block.dropout(block.pool(block.norm(torch.relu(block.conv(x_NCHW)))))


def _x(rows: int, columns: int, channels_last: bool) -> torch.Tensor:
    x_NCHW = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(1))
    return x_NCHW.contiguous(memory_format=torch.channels_last) if channels_last else x_NCHW


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (33, 35)])
@pytest.mark.parametrize(("kernel", "padding"), [(3, "valid"), (5, "same")])
def test_pooling_first_is_exact_to_the_bit(
    kernel: int, padding: str, size: tuple[int, int], channels_last: bool
) -> None:
    x_NCHW = _x(*size, channels_last)
    for seed in range(4):
        block = _block(seed, kernel, padding)
        assert block.pools_first
        assert torch.equal(block(x_NCHW), _plain(block, x_NCHW))


def test_a_scale_of_zero_is_exact_too() -> None:
    block = _block(0)
    with torch.no_grad():
        block.norm.weight[2] = 0
    assert block.pools_first
    assert torch.equal(block(_x(32, 32, False)), _plain(block, _x(32, 32, False)))


@pytest.mark.parametrize("scale", [-0.5, float("nan")])
def test_a_negative_scale_falls_back_to_the_order_of_the_paper(scale: float) -> None:
    block, x_NCHW = _block(0), _x(32, 32, False)
    with torch.no_grad():
        block.norm.weight[2] = scale
    assert not block.pools_first
    expected = _plain(block, x_NCHW)
    assert torch.equal(block(x_NCHW).nan_to_num(7), expected.nan_to_num(7))
    if scale < 0:  # and it matters: pooled first, the result would be another one
        wrong = block.norm(torch.relu(block.pool(block.conv(x_NCHW))))
        assert not torch.allclose(wrong, expected)


def test_training_keeps_the_order_of_the_paper() -> None:
    """BatchNorm then uses the batch's own statistics, taken before the maximum."""
    block, x_NCHW = _block(0).train(), _x(32, 32, False)
    block.dropout.p = 0.0
    assert not block.pools_first
    assert torch.equal(block(x_NCHW), _plain(block, x_NCHW))
    block.norm.eval()
    assert block.pools_first


@pytest.mark.parametrize("output", ["flatten", "max", "mean"])
def test_features_have_the_number_the_config_says(output: str) -> None:
    module = small_network(output=output)
    h_ND = module.encode(torch.rand(3, 3, *SIZE))
    assert h_ND.shape == (3, module.config.features)


def test_flattening_goes_by_row_column_channel() -> None:
    module = small_network()
    x_NCHW = torch.rand(1, 3, *SIZE)
    map_CHW = module.encoder.blocks(x_NCHW)[0]
    channels, _, columns = map_CHW.shape
    for channel, row, column in ((0, 0, 1), (3, 2, 4), (7, 6, 6)):
        place = (row * columns + column) * channels + channel
        assert module.encode(x_NCHW)[0, place] == map_CHW[channel, row, column]


def test_the_published_network_has_the_sizes_of_the_paper() -> None:
    config = published_config()
    sizes = []
    for depth in range(1, 7):
        encoder = ConvEncoderConfig(
            channels=config.encoder.channels[:depth],
            kernels=config.encoder.kernels[:depth],
            padding=config.encoder.padding[:depth],
            dropout=config.encoder.dropout[:depth],
            output="flatten",
        )
        sizes.append(encoder.spatial_size((512, 512))[0])
    assert sizes == [256, 127, 62, 30, 14, 6]
    assert config.features == 1152


def test_blocks_without_a_max_pool_keep_the_cells_fine() -> None:
    config = ConvEncoderConfig(
        channels=(4, 8, 8),
        kernels=(3, 3, 3),
        padding=("same",) * 3,
        dropout=(0.0,) * 3,
        output="max",
        norm="group",
        unpooled=1,
    )
    assert config.spatial_size((32, 24)) == (8, 6)
    encoder = ConvEncoder(config, (32, 24)).eval()
    x = torch.rand(2, 3, 32, 24)
    assert encoder.cells(x).shape == (2, 8, 8, 6)
    assert encoder(x).shape == (2, 8)
    assert to_mapping(replace(config, unpooled=0)).get("unpooled") is None
    with pytest.raises(ValueError, match="unpooled"):
        replace(config, unpooled=4)
