"""Headers first, an image early, cancelled at once, and no work that nobody asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from sadmil_core.dicom import (
    SkippedFile,
    index_folder,
    load_volume,
    open_volume,
    read_headers,
)
from sadmil_core.progress import Cancelled, CancelToken
from tests.synthetic import (
    encoded_hu,
    only_entry,
    write_series,
)


def test_the_first_slice_is_shown_before_the_rest_is_read(tmp_path: Path) -> None:
    write_series(tmp_path, slices=9)
    seen: list[Any] = []
    index_folder(tmp_path, on_first=seen.append)
    assert [header.path.name for header in seen] == ["slice-004.dcm"]


def test_indexing_can_be_cancelled(tmp_path: Path) -> None:
    write_series(tmp_path)

    def progress(done: int, total: int, phase: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        index_folder(tmp_path, progress)


def test_reading_headers_leaves_the_pixels_alone_and_agrees_with_pydicom(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1, orientation=(0, 1, 0, -1, 0, 0), bits_stored=13)
    (header,), dataset = read_headers(path), dcmread(path)
    assert not isinstance(header, SkippedFile)
    assert header.position_mm == tuple(dataset.ImagePositionPatient)
    assert header.bits_stored == dataset.BitsStored == 13
    assert header.pixel_offset is not None
    assert path.read_bytes()[header.pixel_offset :][: len(dataset.PixelData)] == dataset.PixelData


def test_geometry_is_known_before_and_every_slice_arrives_once(tmp_path: Path) -> None:
    write_series(tmp_path, slices=7)
    loading = open_volume(only_entry(index_folder(tmp_path)))
    assert loading.hu.shape == (7, 6, 8)
    assert not loading.arrived.any()
    seen: list[int] = []

    def check(index: int) -> None:
        np.testing.assert_array_equal(loading.hu[index], encoded_hu(7)[index])
        seen.append(index)

    steps: list[tuple[int, int]] = []
    volume = loading.run(lambda done, total, _: steps.append((done, total)), on_slice=check)
    assert sorted(seen) == list(range(7))
    assert steps == [(done, 7) for done in range(8)]
    assert loading.arrived.all()
    assert volume.entry is loading.entry


@pytest.mark.parametrize("after", [0, 1, 4])
def test_cancelling_stops_the_load(tmp_path: Path, after: int) -> None:
    write_series(tmp_path)
    token = CancelToken()

    def progress(done: int, total: int, phase: str) -> None:
        if done == after:
            token.cancel()
        token.raise_if_cancelled()

    with pytest.raises(Cancelled):
        load_volume(only_entry(index_folder(tmp_path)), progress)
