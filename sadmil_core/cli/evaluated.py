"""The scans of a manifest read by models, each answer kept so that a killed run goes on.

An answer is one file, written whole or not at all. It is used again if nothing it depends on
has changed: the weights, the scan's files, which series is meant, and how it was read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import __version__
from sadmil_core.atomic import make_folder, replacing
from sadmil_core.errors import SadmilError, UnscorableError
from sadmil_core.evaluation.noise import ScanNoise
from sadmil_core.evaluation.predictions import predictions_of
from sadmil_core.evaluation.tables import parse_csv

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sadmil_core.data.manifest import ManifestScan
    from sadmil_core.dicom import CTVolume, SeriesIndex, StackEntry
    from sadmil_core.evaluation.values import ScanPrediction
    from sadmil_core.predict import Predictor
    from sadmil_core.progress import Progress
    from sadmil_core.report import ScanRecord

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How scans are read.

    Attributes:
        noise_hu: Standard deviation of noise to add for the count of flips; 0 for none.
        repeats: How often a scan is read with noise.
        seed: Of the noise.
        score_unfit: Score what is unfit, too.
        precision: Of the models' encoders.
    """

    noise_hu: float = 0.0
    repeats: int = 1
    seed: int = 0
    score_unfit: bool = False
    precision: str = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one scan with one model.

    Attributes:
        csv: Its slice report; empty where there is none.
        thickness_mm: Slice thickness; None where unknown.
        problem: Why the scan has no number; empty where it has one.
        noise: What noise changed; None where it was not asked.
    """

    csv: str = ""
    thickness_mm: float | None = None
    problem: str = ""
    noise: ScanNoise | None = None

    def prediction(self, path: Path) -> ScanPrediction | None:
        """The answer as a prediction; None where there is no number."""
        if self.problem:
            return None
        (scan,) = predictions_of(parse_csv(io.StringIO(self.csv, newline=""), path)).scans
        return replace(scan, thickness_mm=self.thickness_mm)


class ScanReader:
    """Reads scans with several models, one volume at a time.

    Args:
        predictors: The models.
        folder: Where answers are kept.
        how: How scans are read.
    """

    def __init__(self, predictors: Sequence[Predictor], folder: Path, how: Reading) -> None:
        self._predictors = tuple(predictors)
        self._folder = folder
        self._how = how
        self._index = lru_cache(maxsize=1)(_index)
        self._state = lru_cache(maxsize=1)(_state_of_files)

    def read(self, scan: ManifestScan, progress: Progress) -> tuple[Answer, ...]:
        """The answers of all models to one scan, kept or new, in the order of the models.

        Raises:
            WriteError: An answer cannot be kept.
            Cancelled: From ``progress``.
        """
        keys = [self._key(scan, predictor) for predictor in self._predictors]
        kept = [
            _kept(self.place(scan, predictor), key)
            for predictor, key in zip(self._predictors, keys, strict=True)
        ]
        volume: CTVolume | None = None
        problem = ""
        if any(each is None for each in kept):
            try:
                volume = self._volume(scan, progress)
            except SadmilError as error:
                problem = str(error)
        answers = []
        for predictor, key, old in zip(self._predictors, keys, kept, strict=True):
            answer = old
            if answer is None:
                answer = Answer(problem=problem)
                if volume is not None:
                    answer = self._ask(volume, predictor, scan, progress)
                _keep(self.place(scan, predictor), key, scan, answer)
            answers.append(answer)
        return tuple(answers)

    def place(self, scan: ManifestScan, predictor: Predictor) -> Path:
        """Where an answer is kept."""
        name = hashlib.sha256(scan.scan_id.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / predictor.model.header.model_sha256[:16] / f"{name}.json"

    def _key(self, scan: ManifestScan, predictor: Predictor) -> str:
        """A hash of all an answer depends on."""
        how = self._how
        parts = [
            _SCHEMA,
            __version__,
            predictor.model.header.model_sha256,
            how.precision,
            "" if scan.path is None else self._state(scan.path),
            scan.series_instance_uid,
            scan.stack_index,
            sorted(each.sop_instance_uid or "" for each in scan.slices),
            how.score_unfit,
            [how.noise_hu, how.repeats, how.seed] if how.noise_hu else None,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _volume(self, scan: ManifestScan, progress: Progress) -> CTVolume:
        from sadmil_core.dicom import load_volume

        if scan.path is None:
            raise UnscorableError(f"The manifest names no path for the scan {scan.scan_id}.")
        return load_volume(choose_entry(self._index(scan.path), scan), progress)

    def _ask(
        self, volume: CTVolume, predictor: Predictor, scan: ManifestScan, progress: Progress
    ) -> Answer:
        from sadmil_core.reading import score_volume
        from sadmil_core.report import csv_text

        record = score_volume(volume, predictor, progress, score_unfit=self._how.score_unfit)
        if record.result is None:
            return Answer(problem=record.failure.message if record.failure else "not scored")
        noise = None
        if self._how.noise_hu:
            noise = self._noise(volume, predictor, record, scan, progress)
        return Answer(
            csv=csv_text([record]),
            thickness_mm=volume.entry.slices[0].slice_thickness_mm,
            noise=noise,
        )

    def _noise(
        self,
        volume: CTVolume,
        predictor: Predictor,
        record: ScanRecord,
        scan: ManifestScan,
        progress: Progress,
    ) -> ScanNoise:
        assert record.result is not None  # the caller has looked
        name = hashlib.sha256(scan.scan_id.encode("utf-8", "surrogateescape")).digest()[:8]
        # The same noise for every model, whatever else is read.
        generator = np.random.default_rng([self._how.seed, int.from_bytes(name, "big")])
        slice_flips = scan_flips = 0
        for _ in range(self._how.repeats):
            noise = generator.normal(0, self._how.noise_hu, volume.hu.shape)
            noisy = (volume.hu + noise).astype(np.float32)
            result = predictor.run(replace(volume, hu=noisy), progress)
            slice_flips += int((result.slice_positive != record.result.slice_positive).sum())
            scan_flips += result.scan_positive != record.result.scan_positive
        return ScanNoise(
            slices=len(volume.hu) * self._how.repeats,
            slice_flips=slice_flips,
            repeats=self._how.repeats,
            scan_flips=scan_flips,
        )


def _index(path: Path) -> SeriesIndex:
    from sadmil_core.dicom import index_folder, require_entries

    return require_entries(index_folder(path))


def choose_entry(index: SeriesIndex, scan: ManifestScan) -> StackEntry:
    """The stack a manifest means: by series, else by its slices, else by study, else the fittest.

    Raises:
        UnscorableError: It is not there, or cannot be told from others.
    """
    from sadmil_core.fitness import fitness_of_entry
    from sadmil_core.readout import Candidate, choose_readouts
    from sadmil_core.result import MIN_SLICES

    meant = {each.sop_instance_uid for each in scan.slices if each.sop_instance_uid}
    pool = [
        entry
        for entry in index.entries
        if scan.series_instance_uid in ("", entry.series_instance_uid)
        and scan.stack_index in (None, entry.stack_index)
        and (not meant or any(header.sop_instance_uid in meant for header in entry.slices))
    ]
    if len({entry.study_instance_uid for entry in pool}) > 1:
        pool = [entry for entry in pool if entry.study_instance_uid == scan.scan_id]
    if not pool:
        raise UnscorableError(
            f"The scan {scan.scan_id} is not to be found in {scan.path}, or not to be told from "
            "the others there.",
            remedy="Name its series_instance_uid in the manifest.",
        )
    candidates = [
        Candidate(
            entry=entry,
            fitness=fitness_of_entry(entry),
            scorable=len(entry.slices) >= MIN_SLICES,
        )
        for entry in pool
    ]
    (readout,) = choose_readouts(candidates)
    # A stack that cannot be scored is handed on all the same: scoring says why.
    return next((entry for entry in pool if readout.is_of(entry)), pool[0])


def _state_of_files(path: Path) -> str:
    """A hash of names, sizes and times of a file, or of all files below a folder."""
    digest = hashlib.sha256()
    if path.is_dir():
        files = sorted(
            os.path.join(folder, name)
            for folder, _, names in os.walk(path, followlinks=True)
            for name in names
        )
    else:
        files = [str(path)]
    for file in files:
        try:
            about = os.stat(file)
        except OSError:
            continue  # what is not there is said when the scan is read
        line = f"{os.path.relpath(file, path)}:{about.st_size}:{about.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _kept(place: Path, key: str) -> Answer | None:
    """A kept answer; None where there is none, or it is of something else."""
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if found.get("key") != key:
        return None
    noise = found["noise"]
    return Answer(
        csv=found["csv"],
        thickness_mm=found["thickness_mm"],
        problem=found["problem"],
        noise=None if noise is None else ScanNoise(**noise),
    )


def _keep(place: Path, key: str, scan: ManifestScan, answer: Answer) -> None:
    make_folder(place.parent)
    noise = answer.noise
    document = {
        "key": key,
        "scan_id": scan.scan_id,
        "csv": answer.csv,
        "thickness_mm": answer.thickness_mm,
        "problem": answer.problem,
        "noise": None
        if noise is None
        else {name: getattr(noise, name) for name in ScanNoise.__dataclass_fields__},
    }
    with replacing(place) as stream:
        stream.write(json.dumps(document).encode())
