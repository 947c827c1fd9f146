"""The parts of a batch reading: who reads what, what an index keeps, who may write when."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadmil_core.batch import BatchFolder, Shard, default_threads, shard_of
from sadmil_core.batch import index as batch_index
from sadmil_core.batch.header_text import headers_text, parse_headers
from sadmil_core.batch.index import ArchiveIndex, FileRow
from sadmil_core.batch.plan import make_units, share_of
from sadmil_core.devices import choose_device, device_of_rank
from sadmil_core.dicom import index_folder
from sadmil_core.errors import BatchError, DeviceError, InputError, WriteError
from sadmil_core.progress import Cancelled
from tests.bodies import write_head
from tests.enhanced import write_enhanced
from tests.synthetic import STUDY, delete, truncate


def _row(study: str, series: str, slices: int = 10, **changes: Any) -> FileRow:
    row = FileRow(f"/{study}/{series}".encode(), (9, 9), study, series, slices, "")
    return row._replace(**changes)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_each_study_is_in_one_share_and_shares_are_even(
    sizes: list[int], count: int, shuffle: Any
) -> None:
    rows = [_row(f"1.{n}", f"1.{n}.1", size) for n, size in enumerate(sizes)]
    units = list(make_units(rows))
    shares = [share_of(units, Shard(index=i, count=count)) for i in range(count)]
    assert sorted(u.key for share in shares for u in share) == [u.key for u in units]
    loads = [sum(unit.slices for unit in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes)
    shuffle.shuffle(units)
    assert shares == [share_of(units, Shard(index=i, count=count)) for i in range(count)]


def test_studies_that_share_a_series_are_read_together() -> None:
    pairs = [("1", "a"), ("2", "b"), ("3", "b"), ("3", "c"), ("4", "c"), ("5", "e"), ("1", "f")]
    units = make_units([_row(study, series) for study, series in pairs])
    assert [(u.key, u.series, u.slices) for u in units] == [
        ("1", ("a", "f"), 20),
        ("2", ("b", "c"), 40),
        ("5", ("e",), 10),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"stamp": (10, 9)},
        {"stamp": (9, 10)},
        {"real": b"/other"},
        {"study": "", "slices": 0, "reason": "TRUNCATED"},
    ],
    ids=str,
)
def test_any_change_of_a_file_gives_its_study_another_fingerprint(changes: dict[str, Any]) -> None:
    rows = [_row("1", "a"), _row("1", "a", real=b"/second"), _row("2", "b")]
    before = make_units(rows)
    after = make_units([rows[0], rows[1]._replace(**changes), rows[2]])
    assert before == make_units(rows)
    assert before[0].fingerprint != after[0].fingerprint
    assert before[1] == after[1]


def test_the_shard_is_the_option_or_what_torchrun_says() -> None:
    environment = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    said = Shard(index=3, count=8, local_index=1, local_count=2)
    assert shard_of(None, environment) == said
    assert shard_of("0/4", {}) == Shard(index=0, count=4)
    assert shard_of(None, {}) == Shard()
    assert said.name == "00003-of-00008"
    for option, wrong in (("4/4", {}), ("x/4", {}), (None, {"RANK": "9", "WORLD_SIZE": "8"})):
        with pytest.raises(ValueError, match=r"no part|I/N"):
            shard_of(option, wrong)


def test_cores_are_shared_out_where_torchrun_would_leave_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(9)), raising=False)
    four = Shard(local_count=4, count=4)
    assert default_threads(four, {"OMP_NUM_THREADS": "1"}) == 2
    assert default_threads(four, {"OMP_NUM_THREADS": "3"}) is None
    assert default_threads(Shard(), {"OMP_NUM_THREADS": "1"}) is None
    assert default_threads(Shard(local_count=16, count=16), {}) == 1


def test_ranks_of_a_machine_take_its_cards_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of_rank("auto", rank) for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert device_of_rank("cpu", 1) == "cpu"
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="no cuda:2 device"):
        choose_device("cuda:2")
    for wrong in ("cpu:1", "cuda:", "cuda:x", "gpu"):
        with pytest.raises(ValueError, match="device must be"):
            choose_device(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of_rank("auto", 1) == "auto"


def test_headers_come_back_as_they_were(tmp_path: Path) -> None:
    write_head(tmp_path / "a", slices=3, syntax="jpeg 2000")
    write_head(tmp_path / "b", slices=2, change=delete("RescaleSlope"), series_uid=f"{STUDY}.9")
    write_enhanced(tmp_path / "c")
    headers = index_folder(tmp_path).headers
    assert any(header.fragments for header in headers)
    assert any(header.frame_number for header in headers)
    for header in headers:
        assert parse_headers(headers_text([header]), header.path) == (header,)


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    made = BatchFolder(tmp_path / "out")
    made.make()
    return made


@pytest.fixture
def headers_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose headers were read."""
    found: list[Path] = []
    really = batch_index.read_files

    def counted(files: list[Path], *rest: Any) -> Any:
        for path, headers in zip(files, really(files, *rest), strict=True):
            found.append(path)
            yield headers

    monkeypatch.setattr(batch_index, "read_files", counted)
    return found


def test_the_index_is_that_of_the_folder(tmp_path: Path, folder: BatchFolder) -> None:
    archive = tmp_path / "archive"
    write_head(archive / "a", series_uid=f"{STUDY}.7")
    truncate(write_head(archive / "b")[3], 9)
    (archive / "notes").write_text("")
    (archive / "nowhere").symlink_to(tmp_path / "absent")
    index = ArchiveIndex(folder)
    assert index.bring_up_to_date([archive]) == ()
    plain = index_folder(archive)
    assert index.stacks([f"{STUDY}.7", plain.entries[0].series_instance_uid]) == plain.entries
    assert sorted(index.skipped(), key=lambda f: f.path) == list(plain.skipped)


def test_headers_are_read_once_and_again_where_files_changed(
    tmp_path: Path, folder: BatchFolder, headers_read: list[Path]
) -> None:
    paths = write_head(tmp_path / "a")
    index = ArchiveIndex(folder)
    for _ in range(2):
        index.bring_up_to_date([tmp_path / "a"])
    assert len(headers_read) == 10
    headers_read.clear()
    os.utime(paths[3], ns=(1, 1))
    paths[4].unlink()
    index.bring_up_to_date([tmp_path / "a"])
    assert headers_read == [paths[3]]
    assert len(list(index.planned_files())) == 9


def test_voxels_in_a_file_of_their_own_are_looked_at_each_time(
    tmp_path: Path, folder: BatchFolder
) -> None:
    image = sitk.GetImageFromArray(np.zeros((9, 8, 8), np.int16))
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    index = ArchiveIndex(folder)
    index.bring_up_to_date([tmp_path / "a.mhd"])
    before = make_units(index.planned_files())
    index.bring_up_to_date([tmp_path / "a.mhd"])
    assert make_units(index.planned_files()) == before
    header = (tmp_path / "a.mhd").stat()
    (tmp_path / "a.raw").write_bytes(bytes(1151) + b"\1")
    assert (tmp_path / "a.mhd").stat() == header
    index.bring_up_to_date([tmp_path / "a.mhd"])
    assert make_units(index.planned_files()) != before


def test_a_stopped_indexing_keeps_what_it_read(
    tmp_path: Path,
    folder: BatchFolder,
    headers_read: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_index, "_BATCH", 4)
    write_head(tmp_path / "a")
    index = ArchiveIndex(folder)

    def stop(done: int, total: int, phase: str) -> None:
        if len(headers_read) >= 9:
            raise Cancelled

    with pytest.raises(Cancelled):
        index.bring_up_to_date([tmp_path / "a"], stop)
    seen = len(headers_read)
    index.bring_up_to_date([tmp_path / "a"])
    assert len(headers_read) - seen <= 2
    assert len(list(index.planned_files())) == 10


def test_one_process_indexes_for_all_that_start_with_it(
    tmp_path: Path, folder: BatchFolder, headers_read: list[Path]
) -> None:
    write_head(tmp_path / "a")
    started = threading.Event()

    def wait(done: int, total: int, phase: str) -> None:
        if "waiting" in phase:
            started.set()

    second = threading.Thread(
        target=lambda: ArchiveIndex(folder).bring_up_to_date([tmp_path / "a"], wait)
    )
    with folder.locked("index"):
        second.start()
        assert started.wait(10)
        assert headers_read == []
        # As the process that holds the lock does at its end.
        (folder.state / "index-checked").write_text("")
    second.join(10)
    assert not second.is_alive()
    assert headers_read == []


def test_an_archive_that_is_away_for_a_while_keeps_its_index(
    tmp_path: Path, folder: BatchFolder, headers_read: list[Path]
) -> None:
    write_head(tmp_path / "a")
    index = ArchiveIndex(folder)
    index.bring_up_to_date([tmp_path / "a"])
    (tmp_path / "a").rename(tmp_path / "away")
    with pytest.raises(InputError, match="does not exist"):
        index.bring_up_to_date([tmp_path / "a"])
    (tmp_path / "away").rename(tmp_path / "a")
    index.bring_up_to_date([tmp_path / "a"])
    assert len(headers_read) == len(list(index.planned_files())) == 10


def test_an_index_of_no_use_is_named(tmp_path: Path, folder: BatchFolder) -> None:
    write_head(tmp_path / "a")
    folder.index.write_bytes(b"not a database" * 99)
    with pytest.raises(BatchError, match=r"index\.sqlite cannot be used.*Delete it"):
        ArchiveIndex(folder).bring_up_to_date([tmp_path / "a"])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="could not be made"):
        BatchFolder(tmp_path / "file" / "out").make()
