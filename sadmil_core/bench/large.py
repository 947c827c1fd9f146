"""Large input: a folder of 10,000 files, and a study of 2,000 slices."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.bench.series import series_folder
from sadmil_core.dicom import decode_slice, index_folder, load_volume
from sadmil_core.synth.demo import write_phantom_study
from sadmil_core.synth.phantom import Phantom

if TYPE_CHECKING:
    from sadmil_core.dicom import SliceHeader

_SERIES, _SLICES, _SIZE = 100, 100, 32
_STUDY_SLICES = 2000


def index_rate(runs: int = 3) -> dict[str, Any]:
    """Files a second that ``sadmil index`` reads of 10,000 files in 100 series, warm.

    The images are small: headers are all that is read. The command's own start is included;
    beside it stands the rate of ``index_folder`` alone.
    """
    with tempfile.TemporaryDirectory(prefix="sadmil-bench-") as name:
        folder = Path(name)
        hu = np.zeros((_SLICES, _SIZE, _SIZE), np.int16)
        phantom = Phantom(hu=hu, lesion=hu > 0, spacing=(1.0, 7.0, 7.0))
        for seed in range(_SERIES):
            write_phantom_study(phantom, folder / f"{seed:03d}", seed=seed)
        count = _SERIES * _SLICES
        command = [sys.executable, "-m", "sadmil_core", "index", name]
        whole, alone = [], []
        for _ in range(runs + 1):  # the first warms the page cache
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            whole.append(time.perf_counter() - start)
            start = time.perf_counter()
            index_folder(folder)
            alone.append(time.perf_counter() - start)
    return {
        "name": f"sadmil index of {count} files in {_SERIES} series, files a second",
        "rate": round(count / sorted(whole[1:])[runs // 2]),
        "index_folder_alone": round(count / sorted(alone[1:])[runs // 2]),
        "limit": 1500,
    }


def large_study() -> dict[str, Any]:
    """A study of 2,000 slices in a process of its own: memory, and the first image.

    Returns:
        Peak resident memory above the start and the volume, in MB, and when the first image
        was decoded as a share of the whole way.
    """
    with series_folder(_STUDY_SLICES) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "sadmil_core.bench.large", str(folder)],
            capture_output=True,
            text=True,
            check=True,
        )
    return dict(json.loads(done.stdout))


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB (2^20 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # what resource says there counts the parent's memory, too
        lines = status.read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**10
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)


def _measure(folder: Path) -> dict[str, Any]:
    before, start = peak_mb(), time.perf_counter()
    first: list[float] = []

    def show(header: SliceHeader) -> None:
        decode_slice(header)
        first.append(time.perf_counter() - start)

    index = index_folder(folder, on_first=show)
    volume = load_volume(index.entries[0])
    whole = time.perf_counter() - start
    return {
        "name": f"a study of {_STUDY_SLICES} slices: memory beside the volume, first image",
        "volume_mb": round(volume.hu.nbytes / 2**20),
        "beside_it_mb": round(peak_mb() - before - volume.hu.nbytes / 2**20, 1),
        "first_image_share": round(first[0] / whole, 4),
        "limit_share": 0.1,
    }


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]))))
