from __future__ import annotations

import gc
import threading

import pytest

from viewer.collecting import WindowThreadCollector


class Ring:
    """Garbage that only a collection finds, and that says where it ended."""

    ended: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        Ring.ended.append(threading.get_ident())


@pytest.fixture(autouse=True)
def collects_by_itself():
    """Here Python collects where it likes, as it does in a program, until it is told not to."""
    gc.collect()
    Ring.ended.clear()
    gc.enable()
    yield
    gc.disable()


def fill_memory_elsewhere() -> None:
    """Makes another thread want to collect many times."""

    def work() -> None:
        kept = [[k] for k in range(200_000)]
        kept.clear()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_python_would_end_it_on_the_workers_thread(qapp) -> None:
    Ring()
    fill_memory_elsewhere()
    assert Ring.ended
    assert threading.get_ident() not in Ring.ended


def test_garbage_ends_on_the_windows_thread_alone(qtbot) -> None:
    collector = WindowThreadCollector(lambda: False)
    collector.start()
    try:
        for _ in range(20):
            Ring()
        kept = [[k] for k in range(5_000)]
        fill_memory_elsewhere()
        assert not Ring.ended
        qtbot.waitUntil(lambda: len(Ring.ended) == 20, timeout=5_000)
        assert set(Ring.ended) == {threading.get_ident()}
        assert len(kept) == 5_000
    finally:
        collector.stop()


def test_old_garbage_waits_for_work_to_end(qapp) -> None:
    busy = True
    collector = WindowThreadCollector(lambda: busy)
    collector.start()
    try:
        ring = Ring()
        gc.collect()  # now it is old
        del ring
        kept = []

        def look() -> None:
            kept.append([[k] for k in range(2_000)])
            collector.collect()

        for _ in range(25):
            look()
        assert not Ring.ended
        busy = False
        look()
        assert len(Ring.ended) == 1
    finally:
        collector.stop()


def test_old_garbage_does_not_wait_for_work_without_end(qapp) -> None:
    collector = WindowThreadCollector(lambda: True)
    collector.start()
    try:
        ring = Ring()
        gc.collect()
        del ring
        kept = []
        for _ in range(600):
            assert not Ring.ended
            kept.append([[k] for k in range(800)])
            collector.collect()
        assert len(Ring.ended) == 1
    finally:
        collector.stop()


@pytest.mark.parametrize("enabled", [True, False])
def test_what_python_did_before_is_what_it_does_after(qapp, enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    collector = WindowThreadCollector(lambda: False)
    collector.start()
    assert not gc.isenabled()
    collector.stop()
    assert gc.isenabled() is enabled
    assert gc.get_freeze_count() == 0
