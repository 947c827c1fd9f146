"""Scans to train on: lesions in hosts and in whole phantoms, straight onto the network's grid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.atomic import make_folder, replacing
from sadmil_core.data.manifest import ManifestScan, SliceLabel
from sadmil_core.data.scans import SUBTYPES
from sadmil_core.data.store import StoredScan, StoreWriter, scan_key
from sadmil_core.dicom import index_folder, load_volume
from sadmil_core.errors import InputError, SadmilError
from sadmil_core.progress import Progress, no_progress
from sadmil_core.synth.gridhost import host_on_grid
from sadmil_core.synth.host import HostUnfit
from sadmil_core.synth.insert import insert_one
from sadmil_core.synth.phantom import BleedKind, PhantomConfig, make_phantom
from sadmil_core.synth.pool import run_jobs, stopped
from sadmil_core.training.order import seed_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.defaultmodel.recipe import Recipe
    from sadmil_core.pixelgrid import GridConfig
    from sadmil_core.synth.host import Host

STORE, _LABELS = "store", "labels"
PLAIN = "plain"
"""Ends the name of a host as it is: held out of training, to see what it reads as."""
_PROCESSES = 2
_TRIES = 8
_SLICES = (24, 42)  # of a phantom


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The heads that lesions are put into.

    Attributes:
        by_name: Hosts on the grid, by the name of their study.
        refused: Why others cannot be used, by name.
        sha256: Of their pixels.
    """

    by_name: Mapping[str, Host]
    refused: Mapping[str, str]
    sha256: str


def read_hosts(
    folders: Iterable[Path], grid: GridConfig, progress: Progress = no_progress
) -> Hosts:
    """Reads every series below some folders as a host; a study's first that can be used.

    Raises:
        InputError: None can be used.
    """
    entries = [entry for folder in folders for entry in index_folder(folder).entries]
    found: dict[str, Host] = {}
    refused: dict[str, str] = {}
    digest = hashlib.sha256()
    for number, entry in enumerate(
        sorted(entries, key=lambda e: (e.study_instance_uid, e.series_instance_uid, e.stack_index))
    ):
        name = entry.study_instance_uid
        progress(number, len(entries), "looking for hosts")
        if name in found:
            continue
        try:
            host = host_on_grid(load_volume(entry), grid)
        except SadmilError as error:
            refused[name] = str(error)
            continue
        found[name] = host
        refused.pop(name, None)
        digest.update(host.hu.tobytes())
    if not found:
        raise InputError(
            "No series can be a host: "
            + "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:5]),
            remedy="Hosts are head CT without hemorrhage.",
        )
    return Hosts(by_name=found, refused=refused, sha256=digest.hexdigest())


def write_cohort(
    hosts: Mapping[str, Host], folder: Path, recipe: Recipe, progress: Progress = no_progress
) -> list[ManifestScan]:
    """Puts lesions into hosts and writes ``store`` and ``labels``; scans that are there stay.

    Every second scan of a host bleeds; all get look-alikes and edits without blood. Two
    processes work at a time. The same for the same hosts and recipe.

    Returns:
        The scans, a patient to a host; ``site`` is ``host``, ``phantom``, or ``plain`` for a host
        into which nothing was put.
    """
    writer = StoreWriter(folder / STORE, recipe.preprocess.grid)
    writer.sweep()
    make_folder(folder / _LABELS)
    jobs: list[tuple[str, Host | None, int]] = [
        (f"{name}/{number}", host, number)
        for name, host in sorted(hosts.items())
        for number in range(recipe.scans_per_host)
    ]
    jobs += [(f"{name}/{PLAIN}", host, -1) for name, host in sorted(hosts.items())]
    jobs += [(f"phantom/{number}", None, number) for number in range(recipe.phantoms)]
    waiting = {job[0]: (folder, recipe, *job) for job in jobs if job[0] not in writer}
    done = 0

    def tell() -> None:
        progress(done, len(waiting), "inserting lesions")

    for _ in run_jobs(_write, waiting, _PROCESSES, tell):
        done += 1
    return [_described(folder, name) for name, _, _ in jobs]


def _write(folder: Path, recipe: Recipe, name: str, host: Host | None, number: int) -> None:
    if stopped():
        return
    rng = np.random.default_rng(seed_for("cohort", recipe.seed, name))
    positive = number % 2 == 1 and number >= 0
    grid = recipe.preprocess.grid
    kinds: Mapping[str, NDArray[np.bool_]]
    if host is None:
        hu, truth, kinds, position = _phantom(rng, grid, positive)
    elif number < 0:
        hu, truth, kinds = host.hu, np.zeros(host.hu.shape, np.bool_), {}
        position = host.position_mm
    else:
        hu, truth, kinds = _inserted(host, rng, positive)
        position = host.position_mm
    shown = np.zeros(len(hu), np.bool_)
    for flags in kinds.values():
        shown |= flags
    # First: a scan that is in the store has its labels.
    labels = {
        "slices": [int(flag) for flag in shown],
        "kinds": sorted(kind for kind, flags in kinds.items() if flags.any()),
    }
    with replacing(_labels_path(folder, name)) as stream:
        stream.write(json.dumps(labels).encode())
    info = StoredScan(
        scan_id=name,
        sop_instance_uids=tuple(f"{name}/{s}" for s in range(len(hu))),
        frame_numbers=(None,) * len(hu),
        position_mm=tuple(float(p) for p in position),
        series_instance_uid=name,
        stack_index=0,
        source_sha256=hashlib.sha256(f"{recipe.seed} {name}".encode() + hu.tobytes()).hexdigest(),
    )
    whole = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    StoreWriter(folder / STORE, grid).write(info, whole, truth.astype(np.uint8))


def _inserted(
    host: Host, rng: np.random.Generator, positive: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Mapping[str, NDArray[np.bool_]]]:
    for _ in range(_TRIES):
        try:
            made = insert_one(host, rng, positive=positive)
        except HostUnfit:
            continue
        if made.positive == positive:
            return made.hu, made.truth, made.kinds
    raise HostUnfit("no bleed finds a place in this host")


def _phantom(
    rng: np.random.Generator, grid: GridConfig, positive: bool
) -> tuple[
    NDArray[np.float32], NDArray[np.bool_], dict[str, NDArray[np.bool_]], NDArray[np.float64]
]:
    assert grid.size is not None
    assert grid.pixel_spacing_mm is not None
    spacing = float(rng.uniform(3.5, 5.5))
    size = max(grid.size)
    config = PhantomConfig(
        slices=int(rng.integers(*_SLICES)),
        size=size,
        pixel_mm=max(grid.pixel_spacing_mm, 180.0 / size),
        spacing_mm=spacing,
        supersampling=2,
        anatomy_mm=max(1.0, grid.pixel_spacing_mm),
    )
    kinds = list(BleedKind)
    kind = kinds[int(rng.integers(len(kinds)))] if positive else None
    for _ in range(_TRIES):
        phantom = make_phantom(rng, config, bleed=kind)
        if bool(phantom.slice_positive.any()) == positive:
            break
    cut = [(size - n) // 2 for n in grid.size]
    part = (slice(None), *(slice(c, c + n) for c, n in zip(cut, grid.size, strict=True)))
    shown = {kind.value: phantom.slice_positive} if kind else {}
    hu = phantom.hu[part].astype(np.float32)
    position: NDArray[np.float64] = np.arange(len(hu), dtype=np.float64) * spacing
    return hu, phantom.lesion[part], shown, position


def _labels_path(folder: Path, name: str) -> Path:
    return folder / _LABELS / f"{scan_key(name)}.json"


def _described(folder: Path, name: str) -> ManifestScan:
    labels = json.loads(_labels_path(folder, name).read_text(encoding="utf-8"))
    host, _, number = name.rpartition("/")
    return ManifestScan(
        scan_id=name,
        # Phantoms are dealt in pairs, so that each part of them has both classes.
        patient_id=f"phantom/{int(number) // 2}" if host == "phantom" else host,
        label=any(labels["slices"]),
        subtypes={kind: kind in labels["kinds"] for kind in SUBTYPES},
        slices=tuple(
            SliceLabel(slice_index=at, label=bool(flag)) for at, flag in enumerate(labels["slices"])
        ),
        site=PLAIN if name.endswith(f"/{PLAIN}") else "phantom" if host == "phantom" else "host",
    )


def split_hosts(names: Sequence[str], folds: int, seed: int) -> list[tuple[str, ...]]:
    """Hosts dealt into folds, in an order drawn by the seed."""
    order = np.random.default_rng(seed_for("folds", seed)).permutation(sorted(names))
    return [tuple(str(name) for name in order[k::folds]) for k in range(folds)]
