"""Freed memory is kept where the C library can, and its lack is no error."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from typing import Any

import pytest

from sadmil_core.allocator import keep_freed_memory

_PROGRAM = """
import resource
from sadmil_core.allocator import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
buffer = bytearray(1 << 26)
del buffer
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    buffer = bytearray(1 << 26)
    buffer[:] = b"1" * len(buffer)
    del buffer
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_not_fetched_again_and_again() -> None:
    """In a process of its own: the setting lasts to its end."""
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", _PROGRAM.format(kept=kept)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for kept in (False, True)
    ]
    assert faults[1] < 0.5 * faults[0]


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Musl())
    assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
