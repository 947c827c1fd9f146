"""The store of prepared scans: whole or absent, exact, and refusing what it is not."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from sadmil_core.data import store as module
from sadmil_core.data.store import StoredScan, StoreReader, StoreWriter, scan_key
from sadmil_core.errors import StoreError, WriteError
from sadmil_core.pixelgrid import GridConfig
from tests.synthetic import encoded_hu

GRID = GridConfig()
HU = encoded_hu(4, 6, 8)


def scan(scan_id: str = "scan 1", slices: int = 4) -> StoredScan:
    return StoredScan(
        scan_id=scan_id,
        sop_instance_uids=tuple(f"1.2.{i}" for i in range(slices)),
        frame_numbers=(None, 1, 2, 3)[:slices],
        position_mm=(None, -5.0, 0.1, 5.3)[:slices],
        series_instance_uid="1.2",
        stack_index=1,
        source_sha256="ab" * 32,
        warnings=("GAP: a gap",),
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_written_is_read(tmp_path: Path) -> None:
    mask = (HU % 3 == 0).astype(np.uint8)
    mask[1] = 0
    writer = StoreWriter(tmp_path / "new" / "store", GRID)
    writer.write(scan(), HU, mask)
    writer.write(scan("zeros"), np.zeros_like(HU))
    reader = StoreReader(tmp_path / "new" / "store", GRID)
    assert "scan 1" in reader
    assert "scan 2" not in reader
    assert reader.info("scan 1") == scan()
    np.testing.assert_array_equal(reader.hu("scan 1"), HU)
    np.testing.assert_array_equal(reader.mask("scan 1"), mask)
    assert not reader.hu("zeros").any()
    assert reader.mask("zeros") is None
    assert not (reader.path / ".unfinished").exists() or not any(
        (reader.path / ".unfinished").iterdir()
    )


def test_it_is_a_zarr_group_with_one_chunk_a_slice_and_one_file_a_scan(tmp_path: Path) -> None:
    StoreWriter(tmp_path, GRID).write(scan(), HU)
    root = zarr.open_group(tmp_path, mode="r", zarr_format=3)
    assert root.attrs["store_schema"] == 1
    assert root.attrs["grid_sha256"] == GRID.grid_sha256
    array = root[f"scans/{scan_key('scan 1')}/hu"]
    assert isinstance(array, zarr.Array)
    assert (array.chunks, array.shards) == ((1, 6, 8), (4, 6, 8))
    assert array.dtype == np.int16
    assert len(files_of(tmp_path / "scans" / scan_key("scan 1"))) == 3


def test_a_scan_is_replaced_and_the_rest_left_alone(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, GRID)
    writer.write(scan(), HU, np.ones(HU.shape, np.uint8))
    writer.write(scan("other"), HU)
    writer = StoreWriter(tmp_path, GRID)
    writer.write(replace(scan(slices=2), warnings=()), HU[2:])
    np.testing.assert_array_equal(writer.hu("scan 1"), HU[2:])
    assert writer.mask("scan 1") is None
    np.testing.assert_array_equal(writer.hu("other"), HU)


def test_the_same_scans_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        StoreWriter(tmp_path / name, GRID).write(scan(), HU)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_another_grid_is_refused_and_both_are_named(tmp_path: Path) -> None:
    StoreWriter(tmp_path, GridConfig(size=(32, 32), pixel_spacing_mm=2.0, crop="head"))
    for kind in (StoreReader, StoreWriter):
        with pytest.raises(StoreError, match=r"32 x 32 pixels of 2 mm.*scanner's own matrix"):
            kind(tmp_path, GRID)
    assert StoreReader(tmp_path).grid.size == (32, 32)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="no store"):
        StoreReader(tmp_path / "absent")
    with pytest.raises(StoreError, match="no store"):
        StoreWriter(tmp_path, GRID)
    with pytest.raises(StoreError, match="no folder"):
        StoreWriter(tmp_path / "notes.txt", GRID)
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"store_schema": 2}, "schema 2"),
        ({"grid_sha256": "0"}, "hash"),
        ({"grid": {"colour": 1}}, "colour"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    StoreWriter(tmp_path, GRID)
    header = json.loads((tmp_path / "zarr.json").read_text())
    header["attributes"] |= change
    (tmp_path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(StoreError, match=words):
        StoreReader(tmp_path)


def test_a_missing_scan_is_named(tmp_path: Path) -> None:
    reader = StoreWriter(tmp_path, GRID)
    for read in (reader.info, reader.hu, reader.mask):
        with pytest.raises(StoreError, match="no scan elsewhere"):
            read("elsewhere")


def test_damaged_pixels_are_never_read_as_if_they_were_whole(tmp_path: Path) -> None:
    StoreWriter(tmp_path, GRID).write(scan(), HU)
    shard = tmp_path / "scans" / scan_key("scan 1") / "hu" / "c" / "0" / "0" / "0"
    whole = shard.read_bytes()
    for place in range(0, len(whole), 7):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            found = StoreReader(tmp_path).hu("scan 1")
        except StoreError as error:
            assert "scan 1" in str(error)  # noqa: PT017 - either is right
        else:
            np.testing.assert_array_equal(found, HU)
    shard.unlink()
    with pytest.raises(StoreError, match="missing"):
        StoreReader(tmp_path).hu("scan 1")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(tmp_path, GRID)
    writer.write(scan(), HU)
    before = files_of(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    for name in ("scan 1", "scan 2"):
        with pytest.raises(WriteError, match="disk is full"):
            writer.write(scan(name), HU + 1)
    assert files_of(tmp_path) == before


def test_a_killed_writer_leaves_no_scan_and_is_swept_up(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from sadmil_core.data import store
        from tests.core.test_data_store import GRID, HU, scan
        store._flush = lambda folder: (print("written", flush=True), time.sleep(60))
        store._make_root = lambda path, grid: None
        store.StoreWriter(Path(sys.argv[1]), GRID).write(scan(), HU)
        """
    )
    writer = StoreWriter(tmp_path, GRID)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        writer.sweep()
        assert any((tmp_path / ".unfinished").iterdir())  # of a process that is at work
        process.send_signal(signal.SIGKILL)
    assert "scan 1" not in writer
    writer.sweep()
    assert not (tmp_path / ".unfinished").exists()


def test_what_writers_of_other_machines_left_is_swept_after_a_day(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, GRID)
    old, new = (tmp_path / ".unfinished" / f"key.elsewhere.1.{name}" for name in "ab")
    for folder in (old, new):
        folder.mkdir(parents=True)
    then = time.time() - 2 * 24 * 3600
    os.utime(old, (then, then))
    writer.sweep()
    assert os.listdir(tmp_path / ".unfinished") == [new.name]


def test_a_store_half_made_is_made(tmp_path: Path) -> None:
    StoreWriter(tmp_path, GRID)
    (tmp_path / "zarr.json").unlink()
    StoreWriter(tmp_path, GRID).write(scan(), HU)
    assert "scan 1" in StoreReader(tmp_path, GRID)


def test_threads_read_and_write_at_once(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, GRID)

    def work(number: int) -> bool:
        writer.write(scan(f"scan {number}"), HU + np.int16(number))
        return bool((writer.hu(f"scan {number}") == HU + number).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(12)))
