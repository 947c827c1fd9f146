"""The main job in one place: stacks in, records out, one bad series never stopping the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.dicom import WarningCode, load_volume
from sadmil_core.errors import DecodeError, DeviceError, UnscorableError
from sadmil_core.fitness import FitnessLevel, fitness_of_entry, fitness_of_volume
from sadmil_core.progress import Progress, no_progress
from sadmil_core.report.record import ScanRecord, scored, unscored
from sadmil_core.result import MIN_SLICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sadmil_core.dicom import CTVolume, StackEntry
    from sadmil_core.predict import Predictor


def read_stack(
    entry: StackEntry,
    predictor: Predictor,
    progress: Progress = no_progress,
    *,
    mend_quirk: bool = True,
    score_unfit: bool = False,
    on_volume: Callable[[CTVolume], None] | None = None,
) -> ScanRecord:
    """Loads and scores one stack.

    Args:
        entry: From an index.
        predictor: The model on its device.
        progress: Called for each slice, loading and scoring.
        mend_quirk: Undo the RSNA 12-bit defect where headers show it.
        score_unfit: Score the stack even if it is unfit; the record then says so.
        on_volume: Called with the pixels once they are loaded, for they are not kept.

    Returns:
        Its record; a stack that cannot be read or must not be scored has no result, and says
        why.

    Raises:
        Cancelled: From ``progress``.
    """
    try:
        volume = load_volume(entry, progress, mend_quirk=mend_quirk)
    except DecodeError as error:
        identity, fitness = predictor.model.header.identity, fitness_of_entry(entry)
        return unscored(entry, identity, fitness, WarningCode.READ_FAILED, error)
    if on_volume is not None:
        on_volume(volume)
    return score_volume(volume, predictor, progress, score_unfit=score_unfit)


def score_volume(
    volume: CTVolume,
    predictor: Predictor,
    progress: Progress = no_progress,
    *,
    score_unfit: bool = False,
) -> ScanRecord:
    """Scores one loaded stack; as :func:`read_stack`."""
    entry, fitness = volume.entry, fitness_of_volume(volume)
    identity = predictor.model.header.identity
    few = len(entry.slices) < MIN_SLICES  # which the predictor refuses, whoever insists
    if fitness.is_unfit and not (score_unfit or few):
        error = UnscorableError(
            f"Unfit to be scored: {fitness.messages(FitnessLevel.UNFIT)}.",
            remedy="It is scored only if you insist.",
        )
        return unscored(entry, identity, fitness, WarningCode.UNFIT, error)
    try:
        return scored(predictor.run(volume, progress), fitness)
    except (UnscorableError, DeviceError) as refused:
        code = WarningCode.TOO_FEW_SLICES if few else WarningCode.NOT_SCORED
        return unscored(entry, identity, fitness, code, refused)
