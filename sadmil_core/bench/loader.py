"""What the loader costs: a network that trains on a store, and how long it waits for scans."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sadmil_core.allocator import keep_freed_memory
from sadmil_core.data.scans import ManifestScan
from sadmil_core.data.store import StoredScan, StoreWriter
from sadmil_core.data.storebags import StoreBags
from sadmil_core.model.config import compact_config
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.training.config import DataConfig, LengthConfig, TrainingConfig
from sadmil_core.training.loop import Trainer
from sadmil_core.training.objective import ClassWeights
from sadmil_core.training.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAIT_LIMIT, _THREADS = 0.05, 2


def measure_loader() -> dict[str, Any]:
    """:func:`loader_share` in a process of its own, set up as `sadmil train` sets up its own."""
    command = [sys.executable, "-m", "sadmil_core.bench.loader"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def loader_share(
    scans: int = 64, slices: int = 32, size: int = 512, network: int = 256, epochs: int = 1
) -> dict[str, Any]:
    """How long the compact network waits for scans of a store, as a share of an epoch.

    The store holds random Hounsfield units in the scanner's matrix, which compress badly and
    are windowed and resized on the way: more work for the loader than a store at 256 x 256.

    Args:
        scans: In the store.
        slices: Of each.
        size: Rows and columns in the store.
        network: Rows and columns that the network reads.
        epochs: To train.
    """
    config = TrainingConfig(
        name="bench",
        data=DataConfig(manifest=""),
        model=replace(compact_config(), input_size=(network, network)),
        length=LengthConfig(epochs=epochs, patience=0),
    )
    preprocess = PreprocessConfig(size=(network, network))
    with tempfile.TemporaryDirectory(prefix="sadmil-bench-") as name:
        store = Path(name) / "store"
        listed = _write_store(store, preprocess, scans, slices, size)
        trainer = _trainer(config, listed, store, preprocess, Path(name))
        trainer.epochs(lambda _end: None)
        standing = trainer.standing
    return {
        "name": f"waiting for the loader, a store of {scans} scans of {slices} x {size} x {size}",
        "ratio": round(standing.waited_s / standing.seconds, 4),
        "limit": _WAIT_LIMIT,
        "waited_s": round(standing.waited_s, 3),
        "trained_s": round(standing.seconds, 3),
        "workers": config.data.workers,
    }


def _write_store(
    path: Path, preprocess: PreprocessConfig, scans: int, slices: int, size: int
) -> list[ManifestScan]:
    writer, rng = StoreWriter(path, preprocess.grid), np.random.default_rng(0)
    listed = [ManifestScan(scan_id=f"{i:03d}", label=i % 2 == 1) for i in range(scans)]
    for scan in listed:
        info = StoredScan(
            scan_id=scan.scan_id,
            sop_instance_uids=tuple(f"1.2.{i}" for i in range(slices)),
            frame_numbers=(None,) * slices,
            position_mm=tuple(5.0 * i for i in range(slices)),
            series_instance_uid="1.2",
            stack_index=0,
            source_sha256="",
        )
        writer.write(info, rng.integers(-1000, 1500, (slices, size, size), dtype=np.int16))
    return listed


def _trainer(
    config: TrainingConfig,
    scans: Sequence[ManifestScan],
    store: Path,
    preprocess: PreprocessConfig,
    folder: Path,
) -> Trainer:
    if config.model is None:
        raise ValueError("the benchmark trains a network of its own")
    return Trainer(
        config,
        config_sha256="",
        module=SaDmil(config.model),
        train=StoreBags(scans, store, preprocess),
        validation=StoreBags(scans[:2], store, preprocess),
        classes=ClassWeights(),
        ranks=Ranks(device=torch.device("cpu")),
        folder=folder,
    )


if __name__ == "__main__":
    torch.set_num_threads(_THREADS)
    keep_freed_memory()
    print(json.dumps(loader_share()))
