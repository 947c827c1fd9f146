"""Windows by hand, resizing against torch, display by the standard's own formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sadmil_core.display import PRESETS, DisplayWindow, to_gray
from sadmil_core.preprocess import (
    PUBLISHED_WINDOWS,
    PreprocessConfig,
    Window,
    apply_window,
    make_bag,
    preprocess_slice,
)
from tests.synthetic import load, write_series

ALL_INT16 = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize(
    ("window", "values"),
    [
        (PUBLISHED_WINDOWS[0], {-1000: 0, -1: 0, 0: 0, 20: 0.25, 40: 0.5, 80: 1, 81: 1, 3000: 1}),
        (PUBLISHED_WINDOWS[1], {-20: 0, -10: 0.05, 80: 0.5, 130: 0.75, 180: 1, 200: 1}),
        (PUBLISHED_WINDOWS[2], {15: 0, 18: 0.1, 30: 0.5, 45: 1, 46: 1}),
    ],
)
def test_the_published_windows_by_hand(window: Window, values: dict[int, float]) -> None:
    x = apply_window(np.array(list(values), np.int16), window)
    np.testing.assert_allclose(x, list(values.values()), rtol=0, atol=1e-7)
    assert x.dtype == np.float32


@pytest.mark.parametrize("window", PUBLISHED_WINDOWS)
def test_windows_keep_every_grey_level_apart_and_agree_for_int16_and_float32(
    window: Window,
) -> None:
    x = apply_window(ALL_INT16, window)
    assert (x.min(), x.max()) == (0, 1)
    assert len(np.unique(x)) == window.width_hu + 1
    np.testing.assert_array_equal(x, apply_window(ALL_INT16.astype(np.float32), window))


def test_a_fraction_of_a_hounsfield_unit_counts() -> None:
    x = apply_window(np.array([40.5], np.float32), PUBLISHED_WINDOWS[0])
    assert float(x[0]) == pytest.approx(40.5 / 80, abs=1e-7)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_window_without_width_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width"):
        Window(level_hu=40, width_hu=width)
    with pytest.raises(ValueError, match="wide"):
        DisplayWindow(40, width)


@pytest.mark.parametrize("size", [(32, 32), (64, 40), (17, 50)])
def test_resizing_is_bilinear_after_windowing_as_torch_does_it(size: tuple[int, int]) -> None:
    hu = np.random.default_rng(1).normal(40, 60, (40, 48)).astype(np.float32)
    config = PreprocessConfig(size=size)
    windowed = np.stack([apply_window(hu, window) for window in config.windows])
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(windowed)[None], size, mode="bilinear", antialias=True
    )[0].numpy()
    np.testing.assert_allclose(preprocess_slice(hu, config), expected, atol=2e-5)


def test_a_slice_of_the_right_size_is_not_touched_by_resizing() -> None:
    hu = np.random.default_rng(1).integers(-1000, 1000, (32, 32)).astype(np.int16)
    x = preprocess_slice(hu, PreprocessConfig(size=(32, 32)))
    for plane, window in zip(x, PUBLISHED_WINDOWS, strict=True):
        np.testing.assert_array_equal(plane, apply_window(hu, window))


@pytest.mark.parametrize("chunk", [1, 2, 5, 6, 100])
def test_chunks_are_the_bag_in_order_whatever_their_size(tmp_path: Path, chunk: int) -> None:
    write_series(tmp_path, shuffle_names=True)
    volume = load(tmp_path)
    bag = make_bag(volume, PreprocessConfig(size=(6, 8)))
    assert bag.shape == (6, 3, 6, 8)
    x = np.concatenate(list(bag.chunks(chunk)))
    expected = [preprocess_slice(hu, PreprocessConfig(size=(6, 8))) for hu in volume.hu]
    np.testing.assert_array_equal(x, np.stack(expected))


def _by_the_standard(x: float, c: float, w: float) -> float:
    """PS3.3 C.11.2.1.2.1 with output from 0 to 255, written as the standard writes it."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 255.0
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


@pytest.mark.parametrize(
    "window",
    [*PRESETS.values(), DisplayWindow(35.5, 7.5), DisplayWindow(0, 2), DisplayWindow(9, 1)],
)
def test_display_follows_the_standard(window: DisplayWindow) -> None:
    near = np.arange(-1500, 2500).astype(np.int16)
    expected = [_by_the_standard(float(x), window.level_hu, window.width_hu) for x in near]
    gray = to_gray(near, window)
    assert gray.dtype == np.uint8
    np.testing.assert_allclose(gray, expected, atol=0.5001)
    np.testing.assert_array_equal(gray, to_gray(near.astype(np.float32), window))
    inverted = to_gray(near, window, inverted=True)
    np.testing.assert_allclose(inverted, 255 - np.array(expected), atol=0.5001)


def test_the_brain_window_by_hand() -> None:
    hu = np.array([-1000, 0, 1, 39, 40, 79, 80, 3000], np.int16)
    # Black up to 0, white from 79 + 1 on, 79 steps of 255/79 between.
    assert to_gray(hu, PRESETS["Brain"]).tolist() == [0, 0, 3, 126, 129, 255, 255, 255]


def test_display_of_every_int16_value_and_of_slices_that_are_views() -> None:
    gray = to_gray(ALL_INT16, PRESETS["Bone"])
    assert np.all(np.diff(gray.astype(int)) >= 0)
    assert (gray[0], gray[-1]) == (0, 255)
    plane = ALL_INT16.reshape(256, 256)
    turned = plane[::2, ::-3].T
    np.testing.assert_array_equal(
        to_gray(turned, PRESETS["Bone"]), gray.reshape(256, 256)[::2, ::-3].T
    )
