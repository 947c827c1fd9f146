"""The grid slices are brought to: placed by hand, around heads wherever they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from sadmil_core.configs import canonical_json, from_mapping, to_mapping
from sadmil_core.dicom import CTVolume, WarningCode
from sadmil_core.headbox import find_head
from sadmil_core.pixelgrid import GridConfig, lay_grid
from sadmil_core.preprocess import (
    PreprocessConfig,
    Window,
    apply_window,
    grid_slices,
    make_bag,
)
from tests.bodies import AIR, BONE, BRAIN, PIXEL_MM, SIZE, SKIN, disc, head
from tests.synthetic import load, write_series

WIDE = Window(level_hu=0, width_hu=4096)


def volume_of(
    folder: Path, hu: NDArray[np.int16], pixel_mm: float | tuple[float, float] = PIXEL_MM
) -> CTVolume:
    spacing = pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)
    write_series(folder, hu=hu, pixel_spacing_mm=spacing)
    return load(folder)


def config(size: int, spacing_mm: float | None = None, crop: str = "none") -> PreprocessConfig:
    return from_mapping(
        PreprocessConfig,
        {
            "windows": [{"level_hu": 40.0, "width_hu": 80.0}],
            "size": [size, size],
            "resample": "hu",
            "pixel_spacing_mm": spacing_mm,
            "crop": crop,
        },
    )


def moved_head(
    dy_mm: float, dx_mm: float, turn_deg: float = 0.0, *, size: int = 96, table: bool = True
) -> NDArray[np.int16]:
    """A head elsewhere in a larger field, on a thin head-rest that touches it, above a table."""
    hu = np.full((10, size, size), AIR, np.float64)
    hu[:] = head(10, size=size)[:]
    hu = ndimage.rotate(hu, turn_deg, axes=(1, 2), reshape=False, order=1, cval=AIR)
    hu = ndimage.shift(hu, (0, dy_mm / PIXEL_MM, dx_mm / PIXEL_MM), order=1, cval=AIR)
    if table:
        lowest = np.flatnonzero((hu[5] > -300).any(axis=1))[-1]
        hu[:, lowest + 1 : lowest + 3, 4:-4] = 100  # 7 mm of plastic, 320 mm wide
        hu[:, -3:-1, :] = 200
    return hu.round().astype(np.int16)


def test_defaults_leave_the_published_preprocessing_and_its_hash_alone() -> None:
    mapping = to_mapping(PreprocessConfig())
    assert set(mapping) == {"windows", "size"}
    assert PreprocessConfig().grid == GridConfig()
    assert from_mapping(PreprocessConfig, mapping) == PreprocessConfig()
    changed = config(32, 1.0, "head")
    assert from_mapping(PreprocessConfig, to_mapping(changed)) == changed
    assert canonical_json(mapping) == canonical_json(to_mapping(PreprocessConfig(size=(512, 512))))


def test_grids_are_told_apart_by_their_hash_and_windows_play_no_part() -> None:
    grids = [
        PreprocessConfig().grid,
        config(32).grid,
        config(33).grid,
        config(32, 1.0).grid,
        config(32, 1.0, "head").grid,
        config(32, 1.5, "head").grid,
    ]
    assert len({grid.grid_sha256 for grid in grids}) == len(grids)
    assert len({str(grid) for grid in grids}) == len(grids)
    other = PreprocessConfig(windows=(WIDE,), size=(224, 224))
    assert other.grid.grid_sha256 == PreprocessConfig().grid.grid_sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pixel_spacing_mm": 1.0}, "resample"),
        ({"crop": "head"}, "resample"),
        ({"resample": "hu", "crop": "head"}, "needs pixel_spacing_mm"),
        ({"resample": "hu", "pixel_spacing_mm": 0.0}, "positive"),
        ({"resample": "hu", "pixel_spacing_mm": float("nan")}, "positive"),
    ],
)
def test_a_grid_that_means_nothing_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PreprocessConfig(**changes)  # type: ignore[arg-type]


def test_a_grid_of_the_scanners_own_pixels_is_the_matrix(tmp_path: Path) -> None:
    """Each voxel of these volumes has its own value: nothing may move or mix."""
    write_series(tmp_path, slices=4, rows=12, columns=10, pixel_spacing_mm=(0.5, 0.5))
    volume = load(tmp_path)
    same = GridConfig(size=(12, 10), pixel_spacing_mm=0.5)
    np.testing.assert_array_equal(grid_slices(volume, same)[0], volume.hu)
    inner, _ = grid_slices(volume, GridConfig(size=(8, 4), pixel_spacing_mm=0.5))
    np.testing.assert_array_equal(inner, volume.hu[:, 2:-2, 3:-3])
    outer, _ = grid_slices(volume, GridConfig(size=(16, 14), pixel_spacing_mm=0.5))
    expected = np.pad(volume.hu, ((0, 0), (2, 2), (2, 2)), constant_values=-1024)
    np.testing.assert_array_equal(outer, expected)
    native, _ = grid_slices(volume, GridConfig())
    np.testing.assert_array_equal(native, volume.hu)


def test_pixels_that_are_not_square_become_square(tmp_path: Path) -> None:
    """A linear ramp stays the same ramp in mm."""
    y, x = np.mgrid[:40, :30].astype(float)
    hu = np.stack([(8 * y + 3 * x).round()] * 2).astype(np.int16)
    volume = volume_of(tmp_path, hu, (0.5, 0.8))
    found, _ = grid_slices(volume, GridConfig(size=(20, 24), pixel_spacing_mm=0.7))
    y_mm, x_mm = (np.arange(20) - 9.5) * 0.7, (np.arange(24) - 11.5) * 0.7
    expected = 8 * (y_mm[:, None] / 0.5 + 19.5) + 3 * (x_mm / 0.8 + 14.5)
    np.testing.assert_allclose(found[0], expected, atol=1.5)


def test_the_whole_matrix_is_resampled_as_torch_does_it_before_windowing(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(40, 60, (2, 40, 40)).astype(np.int16)
    volume = volume_of(tmp_path, noise)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(volume.hu.astype(np.float32))[:, None],
        (16, 16),
        mode="bilinear",
        antialias=True,
    )[:, 0].numpy()
    found, _ = grid_slices(volume, config(16).grid)
    assert found.dtype == np.int16
    np.testing.assert_allclose(found, smooth, atol=0.51)
    x = make_bag(volume, config(16)).instances(0, 2)
    np.testing.assert_array_equal(x[:, 0], apply_window(found, Window(level_hu=40, width_hu=80)))


@pytest.mark.parametrize("turn_deg", [0.0, 20.0, -35.0])
@pytest.mark.parametrize(("dy_mm", "dx_mm"), [(0, 0), (-40, 55), (25, -50)])
def test_the_head_is_found_wherever_it_lies(
    tmp_path: Path, dy_mm: float, dx_mm: float, turn_deg: float
) -> None:
    hu = moved_head(dy_mm, dx_mm, turn_deg)
    grid = lay_grid(volume_of(tmp_path, hu), config(64, PIXEL_MM, "head").grid)
    centre = np.array([grid.top, grid.left]) + 32
    np.testing.assert_allclose((centre - 48) * PIXEL_MM, [dy_mm, dx_mm], atol=2.5 * PIXEL_MM)
    assert not grid.warnings


def test_a_head_at_its_own_place_is_cut_out_alike_in_all_slices(tmp_path: Path) -> None:
    """Moved by whole pixels, the head brings the same pixels: one offset for the scan."""
    here = volume_of(tmp_path / "a", moved_head(0, 0, table=False))
    there = volume_of(tmp_path / "b", moved_head(-10 * PIXEL_MM, 7 * PIXEL_MM, table=False))
    grid = config(64, PIXEL_MM, "head").grid
    np.testing.assert_array_equal(grid_slices(here, grid)[0], grid_slices(there, grid)[0])
    np.testing.assert_array_equal(grid_slices(here, grid)[0], grid_slices(here, grid)[0])


def test_a_head_that_fills_a_small_field_is_centred_on_it(tmp_path: Path) -> None:
    hu = head(8, size=40)  # 144 mm of field: the head reaches beyond it on all sides
    box = find_head(volume_of(tmp_path, hu))
    assert box is not None
    assert (box.top, box.left, box.bottom, box.right) == (0, 0, 40, 40)


def test_on_a_fine_matrix_the_box_is_exact_to_the_coarse_grid(tmp_path: Path) -> None:
    hu = head(4, size=256, pixel_mm=0.9)
    box = find_head(volume_of(tmp_path, hu, 0.9))
    assert box is not None
    found = np.array([box.top, box.bottom, box.left, box.right]) * 0.9
    centre = 256 * 0.9 / 2
    np.testing.assert_allclose(
        found, [centre - 95, centre + 95, centre - 75, centre + 75], atol=3.5
    )


def test_without_a_head_the_middle_is_taken_and_said(tmp_path: Path) -> None:
    hu = np.full((4, SIZE, SIZE), AIR, np.int16)
    hu[:, disc(SIZE, PIXEL_MM, 20, 20, x_mm=60)] = BRAIN
    volume = volume_of(tmp_path, hu)
    bag = make_bag(volume, config(32, PIXEL_MM, "head"))
    assert [w.code for w in bag.warnings] == [WarningCode.NO_HEAD_FOUND]
    centred = make_bag(volume, config(32, PIXEL_MM))
    assert not centred.warnings
    np.testing.assert_array_equal(bag.instances(0, 4), centred.instances(0, 4))


def test_a_head_larger_than_the_grid_is_cut_and_said(tmp_path: Path) -> None:
    hu = head(6)
    bag = make_bag(volume_of(tmp_path, hu), config(32, PIXEL_MM, "head"))
    assert [w.code for w in bag.warnings] == [WarningCode.HEAD_CUT]
    assert "cut to 115 x 115 mm" in bag.warnings[0].message


def test_bone_reaching_over_slices_keeps_one_head(tmp_path: Path) -> None:
    """The vertex alone is small; the box is that of all slices together."""
    hu = head(6)
    hu[-1] = AIR
    hu[-1, disc(SIZE, PIXEL_MM, 30, 30, x_mm=10, y_mm=10)] = SKIN
    hu[-1, disc(SIZE, PIXEL_MM, 25, 25, x_mm=10, y_mm=10)] = BONE
    whole, alone = (
        find_head(volume_of(tmp_path / "a", hu)),
        find_head(volume_of(tmp_path / "b", hu[:-1])),
    )
    assert whole == alone
