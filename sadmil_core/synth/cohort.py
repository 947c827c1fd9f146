"""A folder of synthetic scans: written scan by scan, gone on with after a kill, one manifest."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import __version__
from sadmil_core.atomic import explain_refusal, make_folder, replacing
from sadmil_core.data.manifest import write_manifest
from sadmil_core.data.scans import SUBTYPES, ManifestScan, SliceLabel
from sadmil_core.errors import SadmilError
from sadmil_core.filelock import lock_file
from sadmil_core.synth.series import (
    Frame,
    SeriesIdentity,
    write_bytes,
    write_mask,
    write_series,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 1
"""Of the folder; scans of another are not gone on with."""

_SETTINGS, _LOCK, _SCANS, _LABELS, _MASK = (
    "synth.json", ".synth.lock", "scans", "labels.json", "mask.nrrd",
)  # fmt: skip


class CohortError(SadmilError):
    """A folder that synthetic scans cannot be written to, or hosts that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticScan:
    """One scan, ready to be written.

    Attributes:
        hu: (S, R, C) float32, Hounsfield units.
        truth: (S, R, C) bool: blood.
        slices: (S,) bool: the slices that show any.
        kinds: By kind of bleed, (S,) bool.
        edits: The names of everything that was put in.
        frame: Where the slices lie.
        patient_id: Whose anatomy it is: splits keep it together.
        site: For the manifest.
        phantom: Whether there is no patient at all.
    """

    hu: NDArray[np.float32]
    truth: NDArray[np.bool_]
    slices: NDArray[np.bool_]
    kinds: Mapping[str, NDArray[np.bool_]]
    edits: tuple[str, ...]
    frame: Frame
    patient_id: str
    site: str = "synthetic"
    phantom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortReport:
    """What a run did.

    Attributes:
        manifest: The table of all scans.
        written: How many scans this run wrote.
        kept: How many were there already.
        skipped: Hosts and scans that could not be used or made, each with the reason.
    """

    manifest: Path
    written: int
    kept: int
    skipped: tuple[tuple[str, str], ...] = field(default=())


class Cohort:
    """A folder of synthetic scans.

    Args:
        out: The folder.
        settings: All that its scans depend on, but for their number; a second run must have the
            same. Simple values, as in JSON.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.out = out
        self._settings = {"format": FORMAT, "software_version": __version__, **settings}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Makes or takes up the folder, for one process at a time.

        Raises:
            CohortError: It holds something else or scans of other settings, or another process
                writes to it.
            WriteError: The system refused.
        """
        make_folder(self.out, "Choose another --out.")
        lock = self.out / _LOCK
        present = {path.name for path in self.out.iterdir()} - {_LOCK}
        if present and _SETTINGS not in present:
            raise CohortError(
                f"{self.out} is not empty, and nothing says that synthetic scans are in it.",
                remedy="Choose another --out, or empty it.",
            )
        try:
            with lock.open("ab") as stream:
                self._lock(stream)
                self._require_settings()
                make_folder(self.out / _SCANS)
                self._sweep()
                yield
        except OSError as error:
            raise explain_refusal(self.out, error) from error

    def _lock(self, stream: Any) -> None:
        try:
            lock_file(stream)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise CohortError(
                    f"Another process writes to {self.out} just now.",
                    remedy="Wait for it, or choose another --out.",
                ) from error
            raise

    def _require_settings(self) -> None:
        path = self.out / _SETTINGS
        mine = json.loads(json.dumps(self._settings))
        if not path.exists():
            with replacing(path) as stream:
                stream.write((json.dumps(mine, indent=1) + "\n").encode())
            return
        try:
            found = json.loads(path.read_text("utf-8"))
        except ValueError:
            found = {}
        keys = sorted(set(mine) | set(found))
        unlike = [key for key in keys if mine.get(key) != found.get(key)]
        if unlike:
            said = ", ".join(key.replace("_", " ") for key in unlike)
            raise CohortError(
                f"{self.out} was begun with other settings ({said}).",
                remedy="Choose another --out, or give the settings it was begun with.",
            )

    def _sweep(self) -> None:
        for left in (self.out / _SCANS).glob(".*.part"):
            shutil.rmtree(left, ignore_errors=True)

    def has(self, number: int) -> bool:
        """Whether a scan is written, whole."""
        return self._folder(number).is_dir()

    def _folder(self, number: int) -> Path:
        return self.out / _SCANS / f"scan-{number:05d}"

    def write(self, number: int, scan: SyntheticScan, key: str) -> None:
        """Writes one scan; it appears whole or not at all.

        Args:
            number: Of the scan, from 0.
            scan: What to write.
            key: What its UIDs depend on, beside its number.

        Raises:
            WriteError: The system refused.
        """
        final = self._folder(number)
        part = final.with_name(f".{final.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            identity = SeriesIdentity(
                key=f"{key}/{number}",
                patient_id=scan.patient_id,
                description="Synthetic hemorrhage study",
                phantom=scan.phantom,
            )
            uids = write_series(scan.hu, scan.frame, identity, part / "series")
            write_mask(scan.truth, scan.frame, part / _MASK)
            labels = {
                "study": identity.study_uid,
                "series": identity.series_uid,
                "instances": uids,
                "patient_id": scan.patient_id,
                "site": scan.site,
                "slices": scan.slices.astype(int).tolist(),
                "kinds": {k: v.astype(int).tolist() for k, v in sorted(scan.kinds.items())},
                "edits": list(scan.edits),
            }
            write_bytes(part / _LABELS, json.dumps(labels).encode())
            os.replace(part, final)
        except OSError as error:
            raise explain_refusal(final, error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def write_manifest(self, count: int) -> Path:
        """Writes the table of the first scans, of those that are there.

        Raises:
            WriteError: The system refused.
        """
        path = self.out / "manifest.csv"
        scans = [self._described(number) for number in range(count) if self.has(number)]
        write_manifest(scans, path)
        return path

    def _described(self, number: int) -> ManifestScan:
        folder = self._folder(number)
        labels = json.loads((folder / _LABELS).read_text("utf-8"))
        kinds = {name: np.asarray(v, bool) for name, v in labels["kinds"].items()}
        slices = tuple(
            SliceLabel(
                sop_instance_uid=uid,
                slice_index=index,
                label=bool(label),
                subtypes={k: bool(kinds[k][index]) if k in kinds else False for k in SUBTYPES},
            )
            for index, (uid, label) in enumerate(
                zip(labels["instances"], labels["slices"], strict=True)
            )
        )
        return ManifestScan(
            scan_id=labels["study"],
            patient_id=labels["patient_id"],
            path=folder / "series",
            series_instance_uid=labels["series"],
            label=any(labels["slices"]),
            slices=slices,
            subtypes={k: bool(kinds[k].any()) if k in kinds else False for k in SUBTYPES},
            mask_path=folder / _MASK,
            site=labels["site"],
        )
