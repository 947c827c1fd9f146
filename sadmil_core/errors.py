"""Errors that a user can do something about.

Every message names the thing (file, value), what is wrong with it and what to do. Programmer
faults stay ``ValueError`` and friends, so that they are not dressed up as user errors.
"""

from __future__ import annotations


class SadmilError(Exception):
    """A failure the user can act on.

    Attributes:
        remedy: What to do about it, one sentence; may be empty where the message says it all.
        detail: Technical text for a bug report (a traceback, a cause); may be empty.
    """

    def __init__(self, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        self.detail = detail

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.remedy}" if self.remedy else message


class InputError(SadmilError):
    """The given path holds nothing that can be read as CT."""


class DecodeError(SadmilError):
    """The pixel data of a file, or of a whole series, could not be decoded."""


class UnscorableError(SadmilError):
    """A stack that the model must not be asked about (for example a single slice)."""


class ManifestError(SadmilError):
    """A table that is to name scans, series or labels, and cannot be used.

    Attributes:
        problems: Everything that is wrong with single rows, each with its line; the message may
            list the first of them only.
    """

    def __init__(self, message: str, *, remedy: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems


class LabelError(SadmilError):
    """Labels that contradict each other, or a database of labels that cannot be used."""


class ConfigError(SadmilError):
    """A config file that cannot be read, or says something that is not understood."""


class TrainingError(SadmilError):
    """Training that cannot begin or go on: data, a run's folder, numbers that are none."""


class BatchError(SadmilError):
    """A folder of results that belongs to another reading, or is damaged."""


class StoreError(SadmilError):
    """A store of prepared scans that is none, is damaged, lacks a scan or has another grid."""


class ReformatError(SadmilError):
    """A stack of which no honest reformat can be made (for example without positions)."""


class CheckpointError(SadmilError):
    """A file that is not a checkpoint of this program, or is a damaged one."""


class CheckpointVersionError(CheckpointError):
    """A checkpoint written in a newer format than this program reads."""


class ModelError(SadmilError):
    """A network that cannot be built here, or cannot read what it is given."""


class WeightsError(SadmilError):
    """Published weights could not be read, fetched or converted."""


class DeviceError(SadmilError):
    """The requested device is not on this machine or cannot do what was asked."""


class EvaluationError(SadmilError):
    """Predictions or labels that cannot be evaluated: bad rows, or nothing in common."""


class WriteError(SadmilError):
    """A file could not be written; nothing of it is left behind."""


class ExperimentError(SadmilError):
    """An experiment that is not finished, or whose folder cannot be used."""
