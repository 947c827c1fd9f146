"""Decoding in processes of their own: the same pixels, and no damage spreads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sadmil_core.dicom import CTVolume, SliceHeader, WarningCode, decode_slice, read_headers
from sadmil_core.dicom import decode_pool as pool
from sadmil_core.dicom.decode import decode_hu
from sadmil_core.errors import DecodeError
from sadmil_core.progress import Cancelled
from tests.synthetic import encoded_hu, load, set_to, spoil, write_series


def _header(path: Path) -> SliceHeader:
    found = read_headers(path)
    assert isinstance(found, tuple)
    return found[0]


@pytest.fixture
def own_pool(monkeypatch: pytest.MonkeyPatch) -> pool._Pool:
    """A pool without processes yet, in place of the program's."""
    fresh = pool._Pool()
    monkeypatch.setattr(pool, "_POOL", fresh)
    return fresh


def _crash_in(monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """Lets the next processes do this in place of the first slice they are asked for."""
    command = (
        f"import sys; sys.path[:] = {sys.path!r}; import os, signal, time; "
        "from sadmil_core.dicom import decode_process as p; p.TIME_LIMIT_S = 0.5; "
        f"p.decode_hu = lambda *a, **k: {action}; p.main()"
    )
    started = subprocess.Popen

    def start(arguments: list[str], **options: object) -> object:
        monkeypatch.setattr(subprocess, "Popen", started)  # the next one is an honest one
        return started([arguments[0], "-c", command], **options)

    monkeypatch.setattr(subprocess, "Popen", start)


def test_compressed_slices_come_out_as_in_this_process(tmp_path: Path) -> None:
    paths = write_series(tmp_path, rows=40, columns=32, slices=3, syntax="rle")
    for z, path in enumerate(paths):
        header = _header(path)
        assert header.is_compressed
        np.testing.assert_array_equal(decode_slice(header), encoded_hu(3, 40, 32)[z])
        np.testing.assert_array_equal(decode_slice(header), decode_hu(header))


def test_a_fractional_rescale_of_some_slices_makes_the_volume_float(tmp_path: Path) -> None:
    intercepts = [-1024.0, -1000.5, -1024.0]
    change = set_to(RescaleIntercept=lambda z: intercepts[z])
    write_series(tmp_path, slices=3, rows=16, columns=16, syntax="rle", change=change)
    hu = load(tmp_path).hu
    assert hu.dtype == np.float32
    for z in range(3):
        expected = encoded_hu(3, 16, 16)[z] + np.float32(intercepts[z])
        np.testing.assert_array_equal(hu[z], expected)


@pytest.mark.parametrize("action", ["os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(60)"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_a_decoder_that_crashes_or_hangs_costs_one_slice(
    tmp_path: Path, own_pool: pool._Pool, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    assert signal.SIGSEGV  # what the first action sends
    monkeypatch.setattr(pool, "process_count", lambda: 1)
    paths = write_series(tmp_path, slices=6, rows=16, columns=16, syntax="rle")
    _crash_in(monkeypatch, action)
    volume = load(tmp_path)
    assert len(volume.entry.slices) == 5
    assert WarningCode.SLICES_UNDECODABLE in volume.entry.warning_codes
    (lost,) = volume.entry.skipped
    assert "crashed, or took longer" in lost.message
    kept = [paths.index(header.path) for header in volume.entry.slices]
    np.testing.assert_array_equal(volume.hu, encoded_hu(6, 16, 16)[kept])


def test_an_error_keeps_its_words_and_its_process(tmp_path: Path, own_pool: pool._Pool) -> None:
    (path,) = write_series(tmp_path, slices=1, rows=32, columns=32, syntax="jpeg 2000")
    spoil(path)
    with pytest.raises(DecodeError) as caught:
        decode_slice(_header(path))
    assert path.name in str(caught.value)
    assert caught.value.remedy
    assert caught.value.detail
    (process,) = own_pool._idle
    (good,) = write_series(tmp_path / "good", slices=1, rows=32, columns=32, syntax="jpeg 2000")
    decode_slice(_header(good))
    assert own_pool._idle == [process]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_a_process_that_was_ended_while_idle_costs_no_slice(
    tmp_path: Path, own_pool: pool._Pool
) -> None:
    write_series(tmp_path, slices=4, rows=16, columns=16, syntax="rle")
    load(tmp_path)
    for process in own_pool._idle:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(4, 16, 16))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_decoders_of_its_own(tmp_path: Path) -> None:
    """As the workers of a data loader are; two that shared a pipe would mix their slices up."""
    write_series(tmp_path, slices=4, rows=16, columns=16, syntax="rle")
    load(tmp_path)
    child = os.fork()
    if child == 0:
        right = np.array_equal(load(tmp_path).hu, encoded_hu(4, 16, 16))
        pool._POOL._end_idle()
        os._exit(0 if right and pool._POOL._of_parent else 1)
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(4, 16, 16))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(4, 16, 16))


def test_no_process_to_be_had_is_an_error_that_says_so(
    tmp_path: Path, own_pool: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_series(tmp_path, slices=1, rows=16, columns=16, syntax="rle")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(DecodeError, match="No process to decode"):
        decode_slice(_header(path))


def test_a_cancelled_load_leaves_its_processes_for_the_next(
    tmp_path: Path, own_pool: pool._Pool
) -> None:
    write_series(tmp_path, slices=20, rows=16, columns=16, syntax="rle")

    def stop(done: int, total: int, phase: str) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        load(tmp_path, progress=stop)
    assert own_pool._idle
    volume: CTVolume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, encoded_hu(20, 16, 16))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_processes_end_with_the_program_even_when_it_is_killed(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, slices=1, rows=16, columns=16, syntax="rle")
    script = (
        "import sys, os; from pathlib import Path\n"
        "from sadmil_core.dicom import decode_slice, read_headers\n"
        "from sadmil_core.dicom import decode_pool\n"
        "decode_slice(read_headers(Path(sys.argv[1]))[0])\n"
        "print(decode_pool._POOL._idle[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    pid, deadline = int(done.stdout), time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_users_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    """What ``multiprocessing`` would do with it."""
    write_series(tmp_path / "scan", slices=3, rows=16, columns=16, syntax="rle")
    script = tmp_path / "script.py"
    script.write_text(
        "print('started')\n"
        "from sadmil_core.dicom import index_folder, load_volume\n"
        f"print(load_volume(index_folder({str(tmp_path / 'scan')!r}).entries[0]).hu.shape)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["started", "(3, 16, 16)", ""]
    assert done.stderr == ""
