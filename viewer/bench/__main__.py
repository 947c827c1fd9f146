"""``python -m viewer.bench [PART...]``: all parts, or those named, as JSON on standard output.

Parts that look at memory or at a start run in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")
os.environ.pop("QT_SCALE_FACTOR", None)

from viewer.bench import cached, drawing, memory, planes, stalls, starting

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "drawing": lambda size: drawing.measure(size.slices, size.pixels, size.changes),
    "stalls": lambda size: stalls.measure(size.slices, size.pixels),
    "planes": lambda size: planes.measure(size.slices, size.pixels),
    "cached": lambda _size: cached.measure(),
    "memory": lambda size: memory.measure(size.slices, size.pixels),
    "starting": lambda size: starting.measure(size.starts),
}
"""Each in a process of its own: what one has loaded must not be the other's."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m viewer.bench")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--slices", type=int, default=512)
    parser.add_argument("--pixels", type=int, default=512)
    parser.add_argument("--changes", type=int, default=400)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        (part,) = chosen.parts
        print(json.dumps(PARTS[part](chosen)))
        return
    sizes = ["--slices", str(chosen.slices), "--pixels", str(chosen.pixels)]
    sizes += ["--starts", str(chosen.starts), "--changes", str(chosen.changes)]
    found = {}
    for part in chosen.parts or PARTS:
        print(f"window: {part} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "viewer.bench", part, "--inside", *sizes]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[part] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
