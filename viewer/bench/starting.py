"""From starting a process to a usable window, beside a bare window of PySide6 and pyqtgraph."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from sadmil_core.bench import compare
from viewer.bench import comparison_document

_LIMIT = 1.5
_BARE = """
import os
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["PYQTGRAPH_QT_LIB"] = "PySide6"
import pyqtgraph as pg
from PySide6.QtWidgets import QApplication, QMainWindow
app = QApplication([])
window = QMainWindow()
window.setCentralWidget(pg.ImageView())
window.resize(1280, 800)
window.show()
app.processEvents()
print("ready", flush=True)
os._exit(0)
"""
_OURS = """
import os
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from viewer.bench.windows import application, new_window, own_folders
with own_folders():
    application()
    window = new_window("default")
    print("ready", flush=True)
    os._exit(0)
"""


def measure(starts: int) -> dict[str, Any]:
    """Pairs of starts; modules lie in the page cache after the first of each.

    Args:
        starts: How many pairs.
    """
    comparison = compare(
        "start to a window that answers, with a model chosen",
        lambda: _start(_OURS),
        lambda: _start(_BARE),
        other="a bare window with pyqtgraph's ImageView",
        limit=_LIMIT,
        runs=starts,
    )
    return {"starting": [comparison_document(comparison)]}


def _start(program: str) -> float:
    """Runs a program until it says that it is ready."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        if said != "ready\n":
            raise RuntimeError("the window was never ready")
    return time.perf_counter() - start
