"""The labels of one scan as a value, and the rules by which they never contradict.

A subtype makes its slice bleed, and no slice bleeds in a scan that does not. Whoever wants to say
the opposite of the whole must first take back what was said of its parts: nothing that a reader
has marked slice by slice goes unnoticed. A scan of which only slices were marked is not marked
itself: in read-first mode the model stays hidden until the reader has come to a decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sadmil_core.data.scans import SUBTYPES
from sadmil_core.errors import LabelError
from sadmil_core.result import slice_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sadmil_core.labels.names import SliceName

FactKey = tuple[str, int, str]
"""Instance ("" for the scan), frame, and what is said: a field of the marks, or a subtype."""
_NAMED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceMarks:
    """What a reader says of a slice; None is unknown.

    Attributes:
        label: Whether it shows hemorrhage.
        agrees: Whether the reader agreed with the model's mark.
        subtypes: By :data:`~sadmil_core.data.scans.SUBTYPES`; those that are known.
    """

    label: bool | None = None
    agrees: bool | None = None
    subtypes: Mapping[str, bool] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is said."""
        return self.label is None and self.agrees is None and not self.subtypes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanMarks:
    """What a reader says of a scan; None is unknown.

    Attributes:
        label: Whether it shows hemorrhage.
        agrees: Whether the reader agreed with the model's decision.
        note: In the reader's words.
        slices: By place in the stack, 0 at the foot end; those of which something is said.
    """

    label: bool | None = None
    agrees: bool | None = None
    note: str = ""
    slices: Mapping[int, SliceMarks] = field(default_factory=dict)

    def of(self, index: int) -> SliceMarks:
        """What is said of a slice."""
        return self.slices.get(index, SliceMarks())

    @property
    def bleeding(self) -> tuple[int, ...]:
        """The slices that are said to bleed, in order."""
        return tuple(sorted(i for i, marks in self.slices.items() if marks.label))

    def mark_scan(self, label: bool | None) -> ScanMarks:
        """The same, with another label of the scan.

        Raises:
            LabelError: It is said not to bleed, while slices of it are said to.
        """
        if label is False and self.bleeding:
            numbers = [str(slice_number(index)) for index in self.bleeding]
            shown = ", ".join(numbers[:_NAMED]) + (" ..." if len(numbers) > _NAMED else "")
            raise LabelError(
                f"The scan cannot be marked free of blood: slices {shown} are marked as bleeding.",
                remedy="Take the marks of these slices away first.",
            )
        return self if label is self.label else replace(self, label=label, agrees=None)

    def mark_slice(self, index: int, label: bool | None) -> ScanMarks:
        """The same, with another label of a slice; one that bleeds is in no scan free of blood."""
        before = self.of(index)
        if label is before.label:
            return self
        kinds = {} if label is None else dict(before.subtypes)
        if label is False:
            kinds = {name: known for name, known in kinds.items() if not known}
        return self._with(index, SliceMarks(label=label, subtypes=kinds))

    def mark_subtype(self, index: int, subtype: str, present: bool | None) -> ScanMarks:
        """The same, with another word on a subtype in a slice; one that is there makes it bleed.

        Raises:
            ValueError: There is no such subtype.
        """
        if subtype not in SUBTYPES:
            raise ValueError(f"{subtype} is no subtype")
        before = self.of(index)
        kinds = {name: known for name, known in before.subtypes.items() if name != subtype}
        if present is not None:
            kinds[subtype] = present
        after = replace(before, subtypes=kinds)
        if present and before.label is not True:
            after = replace(after, label=True, agrees=None)
        return self._with(index, after)

    def judge_scan(self, agrees: bool, *, is_positive: bool) -> ScanMarks:
        """The same, with the model's decision taken over, or the opposite.

        Args:
            agrees: Whether the reader agrees.
            is_positive: What the model has decided.

        Raises:
            LabelError: As :meth:`mark_scan`.
        """
        return replace(self.mark_scan(is_positive is agrees), agrees=agrees)

    def judge_slice(self, index: int, agrees: bool, *, is_marked: bool) -> ScanMarks:
        """The same, with the model's mark of a slice taken over, or the opposite."""
        marked = self.mark_slice(index, is_marked is agrees)
        return marked._with(index, replace(marked.of(index), agrees=agrees))

    def annotate(self, note: str) -> ScanMarks:
        """The same, with another note."""
        return replace(self, note=note.strip())

    def _with(self, index: int, marks: SliceMarks) -> ScanMarks:
        slices = {i: said for i, said in self.slices.items() if i != index}
        if not marks.is_blank:
            slices[index] = marks
        changed = replace(self, slices=slices)
        return changed.mark_scan(True) if marks.label and self.label is False else changed


def facts_of(marks: ScanMarks, names: tuple[SliceName, ...]) -> dict[FactKey, str]:
    """Marks as texts to keep: ``1``, ``0`` or words; what is unknown is left out.

    Args:
        marks: Of a stack.
        names: Of its slices, foot to head.
    """
    facts = {
        ("", 0, "label"): _text(marks.label),
        ("", 0, "agrees"): _text(marks.agrees),
        ("", 0, "note"): marks.note,
    }
    for index, said in marks.slices.items():
        name = names[index]
        values = {"label": said.label, "agrees": said.agrees, **said.subtypes}
        facts |= {(name.instance, name.frame, what): _text(v) for what, v in values.items()}
    return {key: text for key, text in facts.items() if text}


def marks_from(facts: Mapping[FactKey, str], names: tuple[SliceName, ...]) -> ScanMarks:
    """The reverse of :func:`facts_of`; what is said of slices that are not there is left out."""
    slices = {}
    for index, name in enumerate(names):
        known = {
            what: facts[key] == "1"
            for what in ("label", "agrees", *SUBTYPES)
            if facts.get(key := (name.instance, name.frame, what))
        }
        if known:
            label, agrees = known.pop("label", None), known.pop("agrees", None)
            slices[index] = SliceMarks(label=label, agrees=agrees, subtypes=known)
    return ScanMarks(
        label=_value(facts.get(("", 0, "label"))),
        agrees=_value(facts.get(("", 0, "agrees"))),
        note=facts.get(("", 0, "note"), ""),
        slices=slices,
    )


def _text(value: bool | None) -> str:
    return "" if value is None else str(int(value))


def _value(text: str | None) -> bool | None:
    return text == "1" if text else None
