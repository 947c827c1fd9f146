"""Results kept between runs: the same numbers, only for the very same stack, model and settings."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from sadmil_core.dicom import CodedWarning, StackEntry, WarningCode, index_folder
from sadmil_core.errors import UnscorableError, WriteError
from sadmil_core.fitness import Fitness, FitnessCode, FitnessLevel, FitnessReason
from sadmil_core.report import ScanRecord
from sadmil_core.report.record import unscored
from sadmil_core.result import DecisionRule, Execution, ModelIdentity, ScanResult
from sadmil_core.resultcache import ReadSettings, ResultCache, series_digest
from tests.synthetic import write_series

MODEL = ModelIdentity(model_id="m", sha256="ab" * 32)
SETTINGS = ReadSettings(device="auto", precision="fp32")
WHEN = datetime(2026, 11, 24, 14, 2, tzinfo=UTC)


@pytest.fixture
def entry(tmp_path: Path) -> StackEntry:
    write_series(tmp_path / "scan")
    return index_folder(tmp_path / "scan").entries[0]


@pytest.fixture
def cache(tmp_path: Path) -> ResultCache:
    return ResultCache(tmp_path / "results")


def made_record(entry: StackEntry, **changes: object) -> ScanRecord:
    count = len(entry.slices)
    values = np.random.default_rng(3).normal(size=(5, count)).astype(np.float32)
    result = ScanResult(
        entry=entry,
        attention=values[0],
        attention_logit=np.full(count, np.nan, np.float32),
        evidence=values[1],
        contribution=values[2],
        padding_contribution=0.1 + 0.2,
        attention_sd=values[3],
        slice_probability=None,
        bag_size=57,
        bag_padding=57,
        scan_logit=1 / 3,
        scan_probability=0.97,
        rule=DecisionRule(slice_score="evidence", relative_to_uniform=False, slice_threshold=0.25),
        model=MODEL,
        execution=Execution(
            device="cpu", precision="fp32", threads=2, chunk=1, seconds={"encode": 0.25}
        ),
        warnings=(CodedWarning(WarningCode.NO_HEAD_FOUND, "no head was found"),),
        features=np.arange(count * 4, dtype=np.float32).reshape(count, 4),
    )
    doubt = FitnessReason(FitnessCode.NOISY, FitnessLevel.CAUTION, "the scan is noisy")
    fitness = Fitness(reasons=(doubt,), brain_slices=3)
    record = ScanRecord(entry=entry, model=MODEL, fitness=fitness, result=result)
    return replace(record, **changes)


def test_a_result_comes_back_as_it_was_with_its_date(entry, cache):
    record = made_record(entry)
    assert cache.put(record, SETTINGS, WHEN)
    found = cache.get(entry, MODEL, SETTINGS)
    assert found.read_at == WHEN
    assert (found.fitness, found.failure, found.entry) == (record.fitness, None, entry)
    for field in fields(ScanResult):
        before, after = getattr(record.result, field.name), getattr(found.result, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            assert not after.flags.writeable
            np.testing.assert_array_equal(after, before)
        else:
            assert after == before, field.name


def test_a_stack_rightly_not_scored_is_kept_with_the_reason(entry, cache):
    unfit = Fitness(reasons=(FitnessReason(FitnessCode.NOT_A_HEAD, FitnessLevel.UNFIT, "a knee"),))
    error = UnscorableError("Unfit to be scored: a knee.")
    assert cache.put(unscored(entry, MODEL, unfit, WarningCode.UNFIT, error), SETTINGS)
    found = cache.get(entry, MODEL, SETTINGS)
    assert found.result is None
    assert found.fitness == unfit
    assert found.failure == CodedWarning(WarningCode.UNFIT, str(error))


def test_what_another_try_may_do_better_is_not_kept(entry, cache):
    error = UnscorableError("x")
    for code in (WarningCode.READ_FAILED, WarningCode.NOT_SCORED):
        assert not cache.put(unscored(entry, MODEL, Fitness(), code, error), SETTINGS)
    lost = CodedWarning(WarningCode.SLICES_UNDECODABLE, "one slice was lost")
    partial = replace(entry, warnings=(lost,))
    assert not cache.put(made_record(partial), SETTINGS)
    slow = CodedWarning(WarningCode.DEVICE_FALLBACK, "read on the CPU")
    record = made_record(entry)
    fallen = replace(record, result=replace(record.result, warnings=(slow,)))
    assert not cache.put(fallen, SETTINGS)
    unfit = Fitness(reasons=(FitnessReason(FitnessCode.NOT_CT, FitnessLevel.UNFIT, "no CT"),))
    assert not cache.put(made_record(entry, fitness=unfit), SETTINGS)
    assert not list(cache.folder.glob("*"))


def test_another_model_device_or_precision_has_no_result(entry, cache):
    cache.put(made_record(entry), SETTINGS)
    assert cache.get(entry, replace(MODEL, sha256="cd" * 32), SETTINGS) is None
    assert cache.get(entry, MODEL, replace(SETTINGS, device="cuda")) is None
    assert cache.get(entry, MODEL, replace(SETTINGS, precision="bf16")) is None
    assert cache.get(entry, replace(MODEL, model_id="renamed"), SETTINGS).model.sha256 == "ab" * 32


def test_a_changed_added_or_removed_slice_is_another_series(entry, cache, tmp_path):
    cache.put(made_record(entry), SETTINGS)
    files = sorted((tmp_path / "scan").iterdir())
    status = files[0].stat()
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cache.get(index_folder(tmp_path / "scan").entries[0], MODEL, SETTINGS) is None
    os.utime(files[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.get(index_folder(tmp_path / "scan").entries[0], MODEL, SETTINGS) is not None
    files[-1].unlink()
    assert cache.get(index_folder(tmp_path / "scan").entries[0], MODEL, SETTINGS) is None


def test_a_folder_that_was_moved_keeps_its_results(entry, cache, tmp_path):
    cache.put(made_record(entry), SETTINGS)
    (tmp_path / "scan").rename(tmp_path / "elsewhere")
    moved = index_folder(tmp_path / "elsewhere").entries[0]
    assert cache.get(moved, MODEL, SETTINGS).entry is moved


def test_an_archive_counts_by_its_own_time_not_by_that_of_unpacking(cache, tmp_path):
    write_series(tmp_path / "scan")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "scan"))
    first, second = (index_folder(archive).entries[0] for _ in range(2))
    assert series_digest(first) == series_digest(second)
    cache.put(made_record(first), SETTINGS)
    assert cache.get(second, MODEL, SETTINGS) is not None
    os.utime(archive, ns=(0, 1))
    assert cache.get(index_folder(archive).entries[0], MODEL, SETTINGS) is None


def test_voxels_that_may_change_alone_have_no_digest(entry):
    detached = replace(entry.slices[0], path=Path("volume.MHD"))
    assert series_digest(replace(entry, slices=(detached, *entry.slices[1:]))) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_file_is_ignored_and_removed(entry, cache, damage, caplog):
    cache.put(made_record(entry), SETTINGS)
    (path,) = cache.folder.glob("*.result")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(
        {"cut": data[:-7], "flipped": data, "empty": b"", "foreign": b"\x80\x04pickle" * 9}[damage]
    )
    assert cache.get(entry, MODEL, SETTINGS) is None
    assert not path.exists()
    assert "damaged" in caplog.text


def test_names_uids_and_folders_stay_out_of_the_file(entry, cache):
    cache.put(made_record(entry), SETTINGS)
    (path,) = cache.folder.glob("*.result")
    data = path.read_bytes() + path.name.encode()
    header = entry.slices[0]
    for secret in (
        header.series_instance_uid,
        header.study_instance_uid,
        header.sop_instance_uid,
        str(header.path.parent),
    ):
        assert secret.encode() not in data


def test_the_folder_stays_within_its_limits_and_the_unused_go_first(entry, tmp_path):
    cache = ResultCache(tmp_path / "results", limit_count=10)
    models = [replace(MODEL, sha256=f"{n:064d}") for n in range(11)]
    for number, model in enumerate(models[:10]):
        record = made_record(entry)
        cache.put(replace(record, model=model), SETTINGS)
        os.utime(cache._path(entry, model, SETTINGS), (number, number))
    assert cache.get(entry, models[0], SETTINGS) is not None  # and so has just been used
    cache.put(replace(made_record(entry), model=models[10]), SETTINGS)
    left = [n for n, model in enumerate(models) if cache.get(entry, model, SETTINGS)]
    assert left == [0, 3, 4, 5, 6, 7, 8, 9, 10]
    small = ResultCache(tmp_path / "results", limit_bytes=1)
    small.put(made_record(entry), SETTINGS)
    assert not list(small.folder.glob("*.result"))


def test_clearing_removes_all_and_a_folder_that_cannot_be_made_is_said(entry, cache, tmp_path):
    cache.put(made_record(entry), SETTINGS)
    cache.clear()
    assert cache.get(entry, MODEL, SETTINGS) is None
    (tmp_path / "file").write_text("")
    blocked = ResultCache(tmp_path / "file" / "results")
    assert blocked.get(entry, MODEL, SETTINGS) is None
    with pytest.raises(WriteError):
        blocked.put(made_record(entry), SETTINGS)
