"""Threads that let whoever waits at the screen go first."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

_NICENESS = 10


def step_back() -> None:
    """Lowers the priority of the calling thread for good; call it on threads that do one job.

    Threads that fill memory keep every core busy, and on two cores the window would wait its turn
    for tens of milliseconds. Linux has a priority for each thread; elsewhere nothing is done.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
