"""Augmentation: exact where it can be, in step for pixels, masks and slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from sadmil_core.configs import from_mapping
from sadmil_core.data.augment import Augmentation, AugmentConfig, draw_augmentation
from sadmil_core.preprocess import PreprocessConfig

KEPT = np.arange(4)
NONE = np.zeros(30, np.bool_)


def draw(seed: int = 0, positive: NDArray[np.bool_] = NONE, **options: Any) -> Augmentation:
    return draw_augmentation(AugmentConfig(**options), np.random.default_rng(seed), positive)


def blob(rows: int = 60, columns: int = 80) -> NDArray[np.float32]:
    y, x = np.mgrid[:rows, :columns]
    return (800 * np.exp(-(((y - 20) / 6) ** 2) - ((x - 50) / 9) ** 2)).astype(np.float32)


def test_by_default_nothing_is_changed() -> None:
    plane, drawn, config = blob(), draw(), PreprocessConfig()
    assert drawn.move(plane) is plane
    assert drawn.windows(config) is config
    assert drawn.noise_sd_hu == 0
    np.testing.assert_array_equal(drawn.kept, np.arange(30))


def test_a_flip_exchanges_columns_exactly() -> None:
    plane = blob().astype(np.int16)
    np.testing.assert_array_equal(draw(flip=1.0).move(plane), plane[:, ::-1])


def test_quarter_turns_and_whole_pixel_shifts_are_exact() -> None:
    """With columns towards the right and rows down, the columns' axis turns to the rows'."""
    plane = blob(64, 64)
    turned = Augmentation(kept=KEPT, rotation_degrees=90).move(plane, 0)
    np.testing.assert_allclose(turned, np.rot90(plane, -1), atol=0.01)
    shifted = Augmentation(kept=KEPT, shift=(4 / 64, -8 / 64)).move(plane, -7)
    np.testing.assert_array_equal(shifted[4:, :-8], plane[:-4, 8:])
    assert (shifted[:4] == -7).all()
    assert (shifted[:, -8:] == -7).all()


@pytest.mark.parametrize(
    ("rotation", "scale", "shift"), [(10, 1.1, (0.05, -0.02)), (-25, 0.9, (0, 0))]
)
def test_turning_scaling_and_shifting_is_as_scipy_does_it(
    rotation: float, scale: float, shift: tuple[float, float]
) -> None:
    plane = blob()
    moved = Augmentation(kept=KEPT, rotation_degrees=rotation, scale=scale, shift=shift)
    angle = np.deg2rad(rotation)
    to_rows_columns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(plane.shape) - 1) / 2
    offset = centre - to_rows_columns @ (centre + np.multiply(shift, plane.shape)) / scale
    expected = ndimage.affine_transform(plane, to_rows_columns / scale, offset, order=1)
    np.testing.assert_allclose(moved.move(plane, 0.0), expected, atol=0.5)


def test_a_slice_is_sharpened_and_blurred_and_stays_as_it_is_where_it_is_even() -> None:
    plane = np.zeros((9, 9), np.int16)
    plane[4, 4] = 90
    soft, sharp = (Augmentation(kept=KEPT, sharpness=by).sharpen(plane) for by in (-1.0, 0.5))
    np.testing.assert_allclose(soft[3:6, 3:6], 10.0)
    assert sharp[4, 4] == pytest.approx(90 + 0.5 * 80)
    assert sharp[4, 5] == pytest.approx(-0.5 * 10)
    assert sharp.sum() == pytest.approx(soft.sum(), abs=1e-3)
    assert not sharp[:2].any()
    assert Augmentation(kept=KEPT).sharpen(plane) is plane


def test_windows_move_and_widen_together() -> None:
    drawn = Augmentation(kept=KEPT, level_hu=3, width_hu=-40)
    found = [(w.level_hu, w.width_hu) for w in drawn.windows(PreprocessConfig()).windows]
    assert found == [(43, 40), (83, 160), (33, 1)]


def test_draws_fill_their_ranges_and_keep_to_them() -> None:
    options = {
        "flip": 0.5,
        "rotation_degrees": 10.0,
        "scale": 0.1,
        "shift": 0.05,
        "noise_sd_hu": 4.0,
        "sharpness": 0.8,
        "level_jitter_hu": 5.0,
        "width_jitter_hu": 8.0,
        "slice_drop": 0.2,
    }
    found = [draw(seed, **options) for seed in range(400)]
    assert 0.4 < np.mean([d.flip for d in found]) < 0.6
    for values, lower, upper in (
        ([d.rotation_degrees for d in found], -10, 10),
        ([d.scale for d in found], 0.9, 1.1),
        ([d.shift[0] for d in found], -0.05, 0.05),
        ([d.shift[1] for d in found], -0.05, 0.05),
        ([d.noise_sd_hu for d in found], 0, 4),
        ([d.sharpness for d in found], -0.8, 0.8),
        ([d.level_hu for d in found], -5, 5),
        ([d.width_hu for d in found], -8, 8),
    ):
        margin = (upper - lower) / 20
        assert lower <= min(values) < lower + margin
        assert upper - margin < max(values) <= upper
    assert abs(np.mean([len(d.kept) for d in found]) - 24) < 0.5
    assert all((np.diff(d.kept) > 0).all() for d in found)


def test_what_one_field_draws_does_not_depend_on_the_others() -> None:
    alone = draw(3, rotation_degrees=10.0)
    together = draw(3, rotation_degrees=10.0, flip=0.5, noise_sd_hu=2.0, slice_drop=0.5)
    assert alone.rotation_degrees == together.rotation_degrees != 0


def test_a_positive_slice_and_two_slices_always_stay() -> None:
    positive = np.zeros(4, np.bool_)
    positive[2] = True
    for seed in range(200):
        drawn = draw(seed, positive, slice_drop=0.9)
        assert 2 in drawn.kept
        assert len(drawn.kept) >= 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip", 1.1),
        ("scale", 0.9),
        ("noise_sd_hu", -1.0),
        ("sharpness", 1.5),
        ("slice_drop", 1.0),
    ],
)
def test_what_makes_no_sense_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        from_mapping(AugmentConfig, {key: value})
