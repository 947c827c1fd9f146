"""Resident memory beside the volume: before the model, after it, and while a reformat is open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadmil_core.modelstore import DEFAULT_MODEL
from viewer.bench import Figure
from viewer.bench.windows import application, close, new_window, own_folders, wait_until
from viewer.widgets.layouts import Layout

if TYPE_CHECKING:
    from viewer.widgets.main_window import MainWindow

_BEFORE_MB, _MODEL_MB = 200.0, 350.0
_VALUE_BYTES = 4  # fp32


def resident_mb() -> float:
    """What this process has in memory now.

    Raises:
        RuntimeError: The system does not tell.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError as error:
        raise RuntimeError("resident memory is only known on Linux") from error
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / 1024


def measure(slices: int, pixels: int) -> dict[str, Any]:
    """A tilted study is opened, read with the default model, and reformatted.

    Args:
        slices: Of the study.
        pixels: Rows and columns.
    """
    application()
    with own_folders() as folder:
        study = folder / "study"
        # What making it takes must not be counted.
        made = [sys.executable, "-m", "viewer.bench.tilted", str(study), str(slices), str(pixels)]
        subprocess.run(made, check=True)
        window = new_window(DEFAULT_MODEL)
        session = window.session
        session.reads_unasked = False
        session.open_path(study)
        _wait(window)
        volume = session.state.volume
        assert volume is not None
        own_mb = volume.hu.nbytes / (1 << 20)
        before = resident_mb() - own_mb
        session.run_model(asked=True, insist=True)
        _wait(window)
        result = session.state.result
        assert result is not None
        chunk_mb = _chunk_mb(window)
        after = resident_mb() - own_mb
        window.layouts.set_layout(Layout.REFORMATS)
        _wait(window)
        open_ = resident_mb() - 2 * own_mb
        close(window)
    with_model = _BEFORE_MB + _MODEL_MB + chunk_mb
    named = (
        ("before the model", before, _BEFORE_MB),
        (f"after it (one chunk is {chunk_mb:.0f} MB)", after, with_model),
        ("and with a tilted reformat open, less one more volume", open_, with_model),
    )
    return {
        "memory": [
            Figure(
                name=f"resident memory less the volume ({own_mb:.0f} MB), {name}",
                value=value,
                unit="MB",
                limit=limit,
            ).document()
            for name, value, limit in named
        ]
    }


def _chunk_mb(window: MainWindow) -> float:
    """One inference chunk: the slices that are encoded at once, as the network sees them."""
    from sadmil_core.predict import DEFAULT_CHUNK  # imports torch, which is there by now

    model = window.session.state.model
    assert model is not None
    rows, columns = model.header.preprocess.size
    return DEFAULT_CHUNK["cpu"] * 3 * rows * columns * _VALUE_BYTES / (1 << 20)


def _wait(window: MainWindow) -> None:
    wait_until(lambda: not window.session.jobs.is_any_busy())
