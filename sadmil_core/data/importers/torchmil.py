"""Bags of features as torchmil publishes them, its RSNA set above all.

F. M. Castro-Macías et al., "torchmil: A PyTorch-based library for deep Multiple Instance
Learning", arXiv:2509.08129.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.data.folder import ImportResult
from sadmil_core.data.importers.tables import name_some, read_rows, require_folder
from sadmil_core.data.scans import ManifestScan, SliceLabel
from sadmil_core.errors import ManifestError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_INSTANCE_LABELS = ("slice_labels", "inst_labels")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_PREFIX = "features_"
_STEP = 500


class _UnusableBagError(Exception):
    """Why a bag is left out."""


def import_torchmil(
    root: Path, features: str = "", progress: Progress = no_progress
) -> ImportResult:
    """The bags of a data set of torchmil.

    Args:
        root: The unpacked data set, with ``features_<name>`` (there, or in ``features``),
            ``labels``, ``slice_labels`` or ``inst_labels`` if need be, and ``splits.csv``.
        features: Which features to take; may be empty where there is one kind.
        progress: Called with the number of bags read.

    Returns:
        One scan a bag, its slices in the order of the features. A bag that the table has in
        several splits stays in ``test`` if that is one of them, so that what is trained on is
        not tested on.

    Raises:
        ManifestError: Something of this is missing, or ``features`` does not say which.
        Cancelled: From ``progress``.
    """
    require_folder(root)
    folder = _features_folder(root, features)
    splits, notes = _read_splits(root / "splits.csv")
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise ManifestError(f"{folder} holds no .npy file.", remedy="Unpack the features there.")
    scans, unusable = [], []
    for done, path in enumerate(paths):
        if done % _STEP == 0:
            progress(done, len(paths), "reading bags")
        try:
            scans.append(_scan(root, path, splits.get(path.stem, "")))
        except _UnusableBagError as why:
            unusable.append(f"{path.stem} ({why})")
    progress(len(paths), len(paths), "reading bags")
    names = {path.stem for path in paths}
    notes += name_some("bags are left out", unusable)
    notes += name_some("bags of splits.csv have no features", sorted(splits.keys() - names))
    notes += name_some("bags are in no split", sorted(names - splits.keys()))
    notes += name_some("bags have no label", [s.scan_id for s in scans if s.label is None])
    notes.append(
        "the data set names no patients: whether its splits share some cannot be seen; slices "
        "count in the order of the features"
    )
    return ImportResult(scans=tuple(scans), notes=tuple(notes))


def _features_folder(root: Path, wanted: str) -> Path:
    found = {
        path.name.removeprefix(_PREFIX): path
        for parent in (root, root / "features")
        for path in sorted(parent.glob(f"{_PREFIX}*"))
        if path.is_dir()
    }
    if not wanted and len(found) == 1:
        return next(iter(found.values()))
    chosen = found.get(wanted.removeprefix(_PREFIX))
    if chosen is None:
        raise ManifestError(
            f"{root} has the features {', '.join(sorted(found)) or '(none)'}"
            + (f", not {wanted}." if wanted else "."),
            remedy="Name one of them with --features." if found else "Unpack the features there.",
        )
    return chosen


def _read_splits(path: Path) -> tuple[dict[str, str], list[str]]:
    """The split of each bag, and notes on bags of several."""
    said: dict[str, set[str]] = {}
    unknown: list[str] = []
    for line, (name, cell) in read_rows(path, ("bag_name", "split")):
        split = _SPLITS.get(cell.lower())
        if split is None or not name:
            unknown.append(f"line {line} ({name}, {cell[:20]})")
            continue
        said.setdefault(name, set()).add(split)
    if unknown:
        raise ManifestError(
            f"{path}: " + name_some("rows name no bag, or no split that is known", unknown)[0],
            remedy="Splits are train, val and test.",
        )
    several = sorted(name for name, splits in said.items() if len(splits) > 1)
    order = ("test", "val", "train")
    splits = {name: next(s for s in order if s in each) for name, each in said.items()}
    return splits, name_some(
        "bags are in several splits, and kept in that furthest from training", several
    )


def _scan(root: Path, path: Path, split: str) -> ManifestScan:
    count = _slice_count(path)
    label = _one_label(root / "labels" / path.name)
    instance_paths = (root / folder / path.name for folder in _INSTANCE_LABELS)
    found = next((p for p in instance_paths if p.is_file()), None)
    labels = _labels(found) if found else []
    if labels and len(labels) != count:
        raise _UnusableBagError(f"{count} slices, but {len(labels)} labels of slices")
    if label is False and any(labels):
        raise _UnusableBagError("its label is 0, that of a slice 1")
    if label is None and labels:
        label = any(labels)
    return ManifestScan(
        scan_id=path.stem,
        split=split,
        label=label,
        slices=tuple(SliceLabel(slice_index=k, label=each) for k, each in enumerate(labels)),
        features_path=path,
    )


def _slice_count(path: Path) -> int:
    shape = _array(path).shape
    if len(shape) != 2 or not all(shape):
        raise _UnusableBagError(f"features of shape {shape}, not (slices, features)")
    return int(shape[0])


def _one_label(path: Path) -> bool | None:
    if not path.is_file():
        return None
    labels = _labels(path)
    if len(labels) != 1:
        raise _UnusableBagError(f"{len(labels)} labels of the bag")
    return labels[0]


def _labels(path: Path) -> list[bool]:
    values = _array(path).ravel()
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise _UnusableBagError(f"labels other than 0 and 1 in {path.parent.name}")
    return [bool(value) for value in values]


def _array(path: Path) -> NDArray[Any]:
    """An array, its values left on the disk; pickled objects, which could run code, are refused."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _UnusableBagError(f"{path.parent.name}/{path.name} is no readable array") from error
    return array
