"""The verdict: ok, caution or unfit, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FitnessLevel(StrEnum):
    """How far the model's numbers may be trusted on a stack, before it is asked.

    What a wrong number would cost the reader decides. *Unfit*: the number would be about
    something else than a head's hemorrhage, and a calm "negative" could pass for an answer; it
    is not computed unless the user insists. *Caution*: the number means something, but less
    than on an ordinary head CT; it is computed, and the reader told why to doubt it.
    """

    OK = "ok"
    CAUTION = "caution"
    UNFIT = "unfit"

    @property
    def severity(self) -> int:
        """0 for ok, 1 for caution, 2 for unfit."""
        return list(FitnessLevel).index(self)


class FitnessCode(StrEnum):
    """What may be wrong; stable, for reports. Where a warning says the same, it has its name."""

    NOT_CT = "NOT_CT"
    NO_MODALITY = "NO_MODALITY"
    NOT_AXIAL = "NOT_AXIAL"
    NO_ORIENTATION = "NO_ORIENTATION"
    NO_POSITIONS = "NO_POSITIONS"
    TILT = "TILT"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    MISSING_SLICES = "MISSING_SLICES"
    SLICES_LOST = "SLICES_LOST"
    MIXED_STACKS = "MIXED_STACKS"
    UNEVEN_SPACING = "UNEVEN_SPACING"
    THICK_SLICES = "THICK_SLICES"
    FIELD_OF_VIEW = "FIELD_OF_VIEW"
    NO_PIXEL_SPACING = "NO_PIXEL_SPACING"
    UNCERTAIN_UNITS = "UNCERTAIN_UNITS"
    OTHER_BODY_PART = "OTHER_BODY_PART"
    CONTRAST = "CONTRAST"
    SHARP_KERNEL = "SHARP_KERNEL"
    # From the pixels.
    NOT_HU = "NOT_HU"
    NOT_A_HEAD = "NOT_A_HEAD"
    LITTLE_BRAIN = "LITTLE_BRAIN"
    TRUNCATED_HEAD = "TRUNCATED_HEAD"
    NOISY = "NOISY"


@dataclass(frozen=True, slots=True)
class FitnessReason:
    """One thing that speaks against the model's numbers.

    Attributes:
        code: What, as a code.
        level: How much; never ``OK``.
        message: A sentence for people, with the values that matter; it names nobody.
    """

    code: FitnessCode
    level: FitnessLevel
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """The verdict on one stack.

    Attributes:
        reasons: Everything that speaks against it, the worst first.
        brain_slices: How many slices show brain within a skull; None where the pixels have
            not been looked at.
    """

    reasons: tuple[FitnessReason, ...] = ()
    brain_slices: int | None = None

    def __post_init__(self) -> None:
        worst_first = sorted(self.reasons, key=lambda reason: -reason.level.severity)
        object.__setattr__(self, "reasons", tuple(worst_first))

    @property
    def level(self) -> FitnessLevel:
        """That of the worst reason."""
        return self.reasons[0].level if self.reasons else FitnessLevel.OK

    @property
    def is_unfit(self) -> bool:
        """Whether the stack must not be scored unless the user insists."""
        return self.level is FitnessLevel.UNFIT

    @property
    def codes(self) -> tuple[str, ...]:
        """The distinct codes, sorted."""
        return tuple(sorted({str(reason.code) for reason in self.reasons}))

    def messages(self, level: FitnessLevel) -> str:
        """The sentences of one level, as one text."""
        return "; ".join(reason.message for reason in self.reasons if reason.level is level)
