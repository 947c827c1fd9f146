"""Whatever the geometry, the numbering and the names: every slice, and every file, in its place."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from sadmil_core.dicom import (
    SeriesIndex,
    StackEntry,
    WarningCode,
    index_folder,
    load_volume,
    merge_indexes,
)
from tests.enhanced import write_enhanced
from tests.synthetic import SERIES, STUDY, encoded_hu, head_normal, truncate, write_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, COLUMNS = 5, 7


@dataclass(frozen=True)
class Scan:
    """One series as it is to be written.

    Attributes:
        offsets_mm: Of each slice along the normal, rising.
        numbers: InstanceNumbers; None for none.
        frames: All slices in one Enhanced file, in this order; None for a file a slice.
    """

    orientation: tuple[float, ...]
    offsets_mm: tuple[float, ...]
    numbers: tuple[int, ...] | None
    frames: tuple[int, ...] | None

    @property
    def count(self) -> int:
        return len(self.offsets_mm)

    def write(self, folder: Path, uid: str, names: random.Random) -> list[Path]:
        """Writes it under names that mean nothing; returns the files."""
        if self.frames is not None:
            return [
                write_enhanced(
                    folder / f"{names.getrandbits(48):x}",
                    hu=encoded_hu(self.count, ROWS, COLUMNS),
                    offsets_mm=self.offsets_mm,
                    orientation=self.orientation,
                    frames=self.frames,
                    series_uid=uid,
                    study_uid=STUDY,
                    sop_uid=f"{uid}.1000",
                )
            ]

        def renumber(dataset: Dataset, z: int) -> None:
            dataset.InstanceNumber = self.numbers[z] if self.numbers else None

        paths = write_series(
            folder,
            hu=encoded_hu(self.count, ROWS, COLUMNS),
            offsets_mm=self.offsets_mm,
            orientation=self.orientation,
            series_uid=uid,
            study_uid=STUDY,
            change=renumber,
            name=f"{uid}-{{:03d}}",
        )
        return [path.rename(folder / f"{names.getrandbits(48):x}") for path in paths]


def _rotation(tilt: float, turn: float, roll: float) -> NDArray[np.float64]:
    def about(axis: int, angle_deg: float) -> NDArray[np.float64]:
        cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        matrix = np.eye(3)
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        matrix[a, a] = matrix[b, b] = cosine
        matrix[a, b], matrix[b, a] = -sine, sine
        return matrix

    return np.asarray(about(0, tilt) @ about(2, turn) @ about(1, roll))


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    """Any: tilted, turned, rolled, mirrored, up to sagittal and coronal."""
    angles = st.sampled_from([0.0, 90.0, -90.0, 180.0]) | st.floats(-180, 180)
    matrix = _rotation(draw(angles), draw(angles), draw(angles))
    row, column = matrix[:, 0], matrix[:, 1] * draw(st.sampled_from([1, -1]))
    # Where a normal lies across the body, rounding decides which end is the first.
    assume(abs(np.cross(row, column)[2]) > 1e-6)
    # As many digits as a DS holds (PS3.5 section 6.2).
    return tuple(round(float(cosine), 9) + 0.0 for cosine in (*row, *column))


@st.composite
def scans(draw: st.DrawFn, *, multi_frame: bool = True) -> Scan:
    steps = draw(st.lists(st.floats(0.3, 30).map(lambda mm: round(mm, 3)), max_size=7))
    offsets = tuple(float(round(mm, 3)) for mm in np.cumsum([0.0, *steps]))
    count = len(offsets)
    order = draw(st.permutations(range(count)))
    kind = draw(st.sampled_from(["numbered", "no numbers", *(["frames"] if multi_frame else [])]))
    return Scan(
        orientation=draw(orientations()),
        offsets_mm=offsets,
        numbers=tuple(n + 1 for n in order) if kind == "numbered" else None,
        frames=tuple(order) if kind == "frames" else None,
    )


def _check_stack(entry: StackEntry, scan: Scan) -> None:
    """All of a scan, foot to head, each voxel where it belongs."""
    positions = entry.geometry.position_mm
    assert all(a < b for a, b in pairwise(positions))
    steps = np.diff(scan.offsets_mm)
    np.testing.assert_allclose(entry.geometry.spacings_mm, steps, atol=1e-4)
    np.testing.assert_allclose(entry.geometry.normal, head_normal(scan.orientation), atol=1e-6)
    np.testing.assert_array_equal(load_volume(entry).hu, encoded_hu(scan.count, ROWS, COLUMNS))


def _summary(index: SeriesIndex) -> list[tuple[object, ...]]:
    """What of an index must not hang on the names of files."""
    return [
        (
            entry.series_instance_uid,
            entry.stack_index,
            [(h.sop_instance_uid, h.frame_number) for h in entry.slices],
            entry.geometry,
            entry.warning_codes,
        )
        for entry in index.entries
    ]


@settings(deadline=None)
@given(st.lists(scans(), min_size=1, max_size=3), st.integers(0, 1 << 30))
def test_every_slice_of_every_series_is_in_its_place(found: list[Scan], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, names = Path(name), random.Random(seed)
        for number, scan in enumerate(found):
            scan.write(folder, f"{SERIES}.{number}", names)
        index = index_folder(folder)
        assert index.skipped == ()
        entries = {entry.series_instance_uid: entry for entry in index.entries}
        assert len(entries) == len(index.entries) == len(found)
        for number, scan in enumerate(found):
            _check_stack(entries[f"{SERIES}.{number}"], scan)


@settings(deadline=None)
@given(scans(), st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_names_of_files_mean_nothing(scan: Scan, first: int, second: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        indexes = []
        for place, seed in (("a", first), ("b", second)):
            scan.write(Path(name) / place, SERIES, random.Random(seed))
            indexes.append(index_folder(Path(name) / place))
        assert _summary(indexes[0]) == _summary(indexes[1])


@settings(deadline=None)
@given(scans(multi_frame=False), st.data())
def test_each_file_is_a_slice_a_counted_duplicate_or_skipped(
    scan: Scan, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, names = Path(name), random.Random(0)
        paths = scan.write(folder, SERIES, names)
        copied = data.draw(st.sets(st.integers(0, scan.count - 1)))
        for z in copied:
            shutil.copy(paths[z], folder / f"copy-{z}")
        cut = data.draw(st.sets(st.integers(0, scan.count - 1), max_size=scan.count - 1))
        for z in cut:
            truncate(paths[z], 30)
        foreign = data.draw(st.integers(0, 2))
        for number in range(foreign):
            (folder / f"note-{number}").write_text("no DICOM")
        index = index_folder(folder)
        (entry,) = index.entries
        files = sorted(path for path in folder.iterdir())
        used = {header.path for header in entry.slices}
        skipped = {file.path for file in index.skipped}
        assert not used & skipped
        dropped = [w.message for w in entry.warnings if w.code == WarningCode.DUPLICATES_DROPPED]
        counted = int(re.match(r"\d+", dropped[0]).group()) if dropped else 0  # type: ignore[union-attr]
        assert len(used) + len(skipped) + counted == len(files)
        assert len(skipped) == len(cut) + foreign
        # A cut file's copy takes its place; what is left without one is missing, and said.
        left = [z for z in range(scan.count) if z not in cut or z in copied]
        assert len(entry.slices) == len(left)
        assert (WarningCode.FILES_SKIPPED in entry.warning_codes) == bool(cut)
        expected = encoded_hu(scan.count, ROWS, COLUMNS)[left]
        np.testing.assert_array_equal(load_volume(entry).hu, expected)


@settings(deadline=None)
@given(st.lists(scans(multi_frame=False), min_size=1, max_size=2), st.integers(0, 1 << 30))
def test_a_series_spread_over_folders_is_the_same_series(found: list[Scan], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        names, whole = random.Random(seed), Path(name) / "whole"
        for number, scan in enumerate(found):
            scan.write(whole, f"{SERIES}.{number}", names)
        parts = [Path(name) / "parts" / part for part in "abc"]
        for path in whole.iterdir():
            place = names.choice(parts)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        expected = _summary(index_folder(whole))
        assert _summary(index_folder(Path(name) / "parts")) == expected
        there = [part for part in parts if part.exists()]
        names.shuffle(there)
        assert _summary(merge_indexes([index_folder(part) for part in there])) == expected


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
    st.integers(2, 3),
    st.integers(0, 1 << 30),
)
def test_reconstructions_at_the_same_positions_are_told_apart(
    steps: list[int], depth: int, seed: int
) -> None:
    """By their kernels here; each may lack slices. Where that is too little, it is said."""
    offsets = np.cumsum([0, *steps])
    with tempfile.TemporaryDirectory() as name:
        folder, chance = Path(name), random.Random(seed)
        kept = []
        for k in range(depth):

            def sharpen(dataset: Dataset, z: int, k: int = k) -> None:
                dataset.ConvolutionKernel = f"H{k}0s"

            lost = set(chance.sample(range(len(offsets)), chance.randrange(len(offsets) - 1)))
            kept.append([z for z in range(len(offsets)) if z not in lost])
            write_series(
                folder,
                hu=encoded_hu(len(offsets), ROWS, COLUMNS),
                offsets_mm=[float(mm) for mm in offsets],
                left_out=lost,
                uid_start=1 + 100 * k,
                name=f"{chance.getrandbits(40):x}-{{:03d}}",
                # Or the images of two would be the same, and so duplicates.
                intercept=float(k),
                change=sharpen,
            )
        index = index_folder(folder)
        together = {z for layer in kept for z in layer}
        if sum(map(len, kept)) == len(together):
            return  # no position repeats: one stack, whatever the kernels
        if any(WarningCode.MIXED_STACKS in entry.warning_codes for entry in index.entries):
            assert depth > 2  # two that share a position are always told apart
            return
        for entry in index.entries:
            assert len({header.kernel for header in entry.slices}) == 1
            k = int(entry.slices[0].kernel[1])
            hu = load_volume(entry).hu
            np.testing.assert_array_equal(hu, encoded_hu(len(offsets), ROWS, COLUMNS)[kept[k]])
        assert sorted(len(entry.slices) for entry in index.entries) == sorted(map(len, kept))


def test_the_encoding_tells_places_apart() -> None:
    """Or the properties above would hold of anything."""
    hu = encoded_hu(8, ROWS, COLUMNS)
    assert len(np.unique(hu)) == hu.size
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(hu[::-1], hu)
