"""Reading series from disk, against SimpleITK's ImageSeriesReader on the same files."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from sadmil_core.bench import Comparison, compare
from sadmil_core.bench.series import series_folder
from sadmil_core.dicom import CTVolume, SliceHeader, decode_slice, index_folder, load_volume

if TYPE_CHECKING:
    from pathlib import Path


def load_with_us(folder: Path) -> CTVolume:
    """Indexes a folder and loads its first series."""
    return load_volume(index_folder(folder).entries[0])


def load_with_simpleitk(folder: Path) -> Any:
    """The same with SimpleITK, which sorts the files of a folder by position, too."""
    import SimpleITK as sitk  # noqa: N813 - its customary name

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def compare_loading(runs: int = 7) -> list[Comparison]:
    """Index and load 34 and 500 slices, file by file from a warm cache.

    SimpleITK sorts the files of a folder by position, too, before it reads them; its time is
    taken with that, as ours is with indexing.
    """
    found = []
    for slices, limit in ((34, 0.6), (500, 0.5)):
        with series_folder(slices) as folder:
            found.append(
                compare(
                    f"index and load {slices} x 512 x 512, uncompressed",
                    lambda folder=folder: load_with_us(folder),  # type: ignore[misc]
                    lambda folder=folder: load_with_simpleitk(folder),  # type: ignore[misc]
                    other="SimpleITK ImageSeriesReader",
                    limit=limit,
                    runs=runs,
                )
            )
    return found


def first_slice_share(slices: int = 500, runs: int = 5) -> dict[str, Any]:
    """When the first slice is decoded, as a share of the whole way from path to volume."""
    shares = []
    with series_folder(slices) as folder:
        load_with_us(folder)
        for _ in range(runs):
            shares.append(_first_share(folder))
    return {
        "name": f"first slice of {slices} decoded / all indexed and loaded",
        "ratio": round(statistics.median(shares), 4),
        "limit": 1 / 3,
    }


def _first_share(folder: Path) -> float:
    start = time.perf_counter()
    first: list[float] = []

    def show(header: SliceHeader) -> None:
        decode_slice(header)
        first.append(time.perf_counter() - start)

    load_volume(index_folder(folder, on_first=show).entries[0])
    return first[0] / (time.perf_counter() - start)
