"""How torch's OpenMP threads wait, settled before torch is loaded."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Lets idle OpenMP threads sleep instead of spinning; for the start of a program.

    On a machine that is busy otherwise (the window painting, a second program), spinning
    threads keep the working ones off the cores, and a prediction takes several times as long.
    A policy the user has set stays. Has no effect once torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
