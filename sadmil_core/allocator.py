"""The C library's memory allocator, told to keep what training frees in every step.

glibc takes each large tensor fresh from the system and gives it back when it is freed; the pages
are then cleared and mapped again in each step, which on a CPU can cost more than the arithmetic.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LIMIT_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Has this process keep freed memory for its next allocations, to its end.

    For training: the process then stays as large as its largest step. Nothing but speed changes.

    Returns:
        Whether the C library took it; False on systems without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    # Both: a threshold for mapping alone would still have the end of the heap given back.
    return all(
        mallopt(parameter, _LIMIT_BYTES) == 1
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)
    )
