"""The read-out of a study: the series a manifest names, else the fittest; never a maximum."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sadmil_core.dicom import StackEntry, index_folder
from sadmil_core.errors import ManifestError
from sadmil_core.fitness import Fitness, FitnessCode, FitnessLevel, FitnessReason
from sadmil_core.named_series import NamedSeries, read_manifest
from sadmil_core.readout import Candidate, ReadoutReason, StudyReadout, choose_readouts
from tests.synthetic import ROOT, STUDY, only_entry, set_to, write_series

DOUBT = FitnessReason(FitnessCode.CONTRAST, FitnessLevel.CAUTION, "contrast")
OTHER_DOUBT = FitnessReason(FitnessCode.TILT, FitnessLevel.CAUTION, "leans")
END = FitnessReason(FitnessCode.NOT_AXIAL, FitnessLevel.UNFIT, "coronal")


@pytest.fixture
def entry(tmp_path: Path) -> StackEntry:
    write_series(tmp_path / "scan")
    return only_entry(index_folder(tmp_path / "scan"))


def _other(entry: StackEntry, uid: str, study: str = STUDY, **changes: Any) -> StackEntry:
    slices = tuple(
        replace(h, series_instance_uid=uid, study_instance_uid=study, **changes)
        for h in entry.slices
    )
    return replace(entry, slices=slices)


def _spaced(entry: StackEntry, uid: str, spacing_mm: float) -> StackEntry:
    origins = tuple((0.0, 0.0, z * spacing_mm) for z in range(len(entry.slices)))
    return replace(_other(entry, uid), geometry=replace(entry.geometry, origins_mm=origins))


def _candidate(
    entry: StackEntry, *reasons: FitnessReason, brain: int | None = None, scorable: bool = True
) -> Candidate:
    fitness = Fitness(reasons=reasons, brain_slices=brain)
    return Candidate(entry=entry, fitness=fitness, scorable=scorable)


def _choose(*candidates: Candidate, named: dict[str, NamedSeries] | None = None) -> StudyReadout:
    """The one study's choice, the same in whatever order the series come."""
    choices = {choose_readouts(order, named) for order in itertools.permutations(candidates)}
    ((choice,),) = choices
    return choice


def test_an_only_series_is_the_readout(entry: StackEntry) -> None:
    choice = _choose(_candidate(entry, DOUBT))
    assert (choice.reason, choice.series_count) == (ReadoutReason.ONLY_SERIES, 1)
    assert choice.is_of(entry)
    assert choice.has_answer


def test_each_rung_of_the_order_decides_where_those_above_are_even(entry: StackEntry) -> None:
    a, b = _other(entry, "1.2.1"), _other(entry, "1.2.2")
    # The winner has the UID that sorts last, so that no rung can win by the tiebreak.
    rungs = {
        ReadoutReason.FITTER: (_candidate(a, DOUBT, brain=30), _candidate(b, brain=1)),
        ReadoutReason.FEWER_REASONS: (
            _candidate(a, DOUBT, OTHER_DOUBT, brain=30),
            _candidate(b, DOUBT, brain=1),
        ),
        ReadoutReason.PROTOCOL: (
            _candidate(_spaced(entry, "1.2.1", 0.6), brain=90),
            _candidate(_spaced(entry, "1.2.2", 5.0), brain=20),
        ),
        ReadoutReason.MORE_BRAIN: (_candidate(a, brain=12), _candidate(b, brain=20)),
    }
    for reason, (loser, winner) in rungs.items():
        choice = _choose(loser, winner)
        assert choice.reason is reason
        assert choice.is_of(winner.entry)
        assert not choice.is_of(loser.entry)


def test_insisting_on_an_unfit_series_does_not_make_it_speak_before_a_fit_one(
    entry: StackEntry,
) -> None:
    choice = _choose(
        _candidate(_other(entry, "1.2.1"), END), _candidate(_other(entry, "1.2.2"), DOUBT)
    )
    assert (choice.series_instance_uid, choice.reason) == ("1.2.2", ReadoutReason.FITTER)


def test_even_candidates_are_told_apart_by_uid_and_stack(entry: StackEntry) -> None:
    stacks = [replace(_other(entry, "1.2.7"), stack_index=index) for index in (2, 0, 1)]
    choice = _choose(*map(_candidate, stacks))
    assert (choice.stack_index, choice.reason) == (0, ReadoutReason.UID_ORDER)
    choice = _choose(*(_candidate(_other(entry, uid)) for uid in ("1.2.9", "1.2.8")))
    assert choice.series_instance_uid == "1.2.8"


@pytest.mark.parametrize(
    ("near", "far"),
    [((5.0, 5.0), (2.5, 2.5)), ((5.0, 5.0), (10.0, 10.0)), ((5.0, None), (0.6, 0.6))],
    ids=str,
)
def test_ordinary_slices_come_before_thin_and_thick_ones(
    entry: StackEntry, near: tuple[float, float], far: tuple[float, float]
) -> None:
    made = []
    for uid, (spacing_mm, thickness_mm) in (("1.2.1", far), ("1.2.2", near)):
        spaced = _spaced(entry, uid, spacing_mm)
        slices = tuple(replace(h, slice_thickness_mm=thickness_mm) for h in spaced.slices)
        made.append(_candidate(replace(spaced, slices=slices)))
    choice = _choose(*made)
    assert (choice.series_instance_uid, choice.reason) == ("1.2.2", ReadoutReason.PROTOCOL)


def test_what_cannot_be_scored_does_not_speak(entry: StackEntry) -> None:
    lost = _candidate(_other(entry, "1.2.1"), scorable=False)
    left = _candidate(_other(entry, "1.2.2"), DOUBT)
    choice = _choose(lost, left)
    assert (choice.series_instance_uid, choice.reason) == ("1.2.2", ReadoutReason.ONLY_SCORABLE)
    assert "only one of 2" in choice.message
    none = _choose(lost)
    assert none.reason is ReadoutReason.NONE_SCORABLE
    assert none.series_instance_uid is None
    assert not none.has_answer
    assert not none.is_of(lost.entry)


def test_studies_choose_apart(entry: StackEntry) -> None:
    studies = ("1.2.50", "1.2.40")
    choices = choose_readouts(_candidate(_other(entry, "1.2.1", study)) for study in studies)
    assert [choice.scan_id for choice in choices] == ["1.2.40", "1.2.50"]
    assert not choices[0].is_of(_other(entry, "1.2.1", "1.2.50"))


def test_a_named_series_is_taken_before_a_fitter_one(entry: StackEntry) -> None:
    fit, doubted = _candidate(_other(entry, "1.2.1")), _candidate(_other(entry, "1.2.2"), DOUBT)
    named = {STUDY: NamedSeries(line=2, series_instance_uid="1.2.2")}
    choice = _choose(fit, doubted, named=named)
    assert (choice.series_instance_uid, choice.reason) == ("1.2.2", ReadoutReason.NAMED)


def test_a_named_series_that_was_not_scored_is_not_replaced(entry: StackEntry) -> None:
    fit = _candidate(_other(entry, "1.2.1"))
    unfit = _candidate(_other(entry, "1.2.2"), END, scorable=False)
    named = {STUDY: NamedSeries(line=2, series_instance_uid="1.2.2")}
    choice = _choose(fit, unfit, named=named)
    assert choice.is_of(unfit.entry)
    assert choice.reason is ReadoutReason.NAMED_NOT_SCORED
    assert not choice.has_answer


def test_a_named_series_that_is_absent_is_not_replaced(entry: StackEntry) -> None:
    named = {STUDY: NamedSeries(line=7, series_instance_uid="1.2.9")}
    choice = _choose(_candidate(entry), named=named)
    assert choice.reason is ReadoutReason.NAMED_ABSENT
    assert choice.series_instance_uid is None
    assert "1.2.9 (line 7)" in choice.message


def test_a_manifest_may_name_a_stack_of_a_series(entry: StackEntry) -> None:
    stacks = [
        _candidate(replace(entry, stack_index=0), DOUBT),
        _candidate(replace(entry, stack_index=1)),
        _candidate(replace(entry, stack_index=2)),
    ]
    uid = entry.series_instance_uid
    whole = NamedSeries(line=2, series_instance_uid=uid)
    assert _choose(*stacks, named={STUDY: whole}).stack_index == 1
    assert _choose(*stacks, named={STUDY: replace(whole, stack_index=2)}).stack_index == 2
    absent = _choose(*stacks, named={STUDY: replace(whole, stack_index=5)})
    assert absent.reason is ReadoutReason.NAMED_ABSENT
    assert "#5" in absent.message


# -- the manifest -----------------------------------------------------------------------------


def test_a_manifest_is_read_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(
        b"\xef\xbb\xbflabel, scan_id,series_instance_uid ,stack_index\r\n"
        b"1,1.2.3, 1.2.3.4,\r\n"
        b'0,1.2.5,"1.2.5.1",02\r\n'
    )
    assert read_manifest(path) == {
        "1.2.3": NamedSeries(line=2, series_instance_uid="1.2.3.4"),
        "1.2.5": NamedSeries(line=3, series_instance_uid="1.2.5.1", stack_index=2),
    }


HEADER = b"scan_id,series_instance_uid,stack_index\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "first line is ''"),
        (b"study,series\n1,2\n", "no column scan_id or series_instance_uid"),
        (b"scan_id;series_instance_uid\n1;2\n", "first line is 'scan_id;series_instance_uid'"),
        (HEADER, "names no series"),
        (HEADER + b"1.2,1.2.3\n,1.2.4\n", "line 3: scan_id is empty"),
        (HEADER + b"1.2\n", "line 2: series_instance_uid is empty"),
        (HEADER + b"1.2,1.2.3,first\n", "line 2: stack_index is 'first'"),
        (HEADER + b"1.2,1.2.3,-1\n", "line 2: stack_index is '-1'"),
        (HEADER + b"1.2,1.2.3," + b"9" * 5000, "line 2: stack_index is '99"),
        (HEADER + b"1.2,1.2.3\n\n1.2,1.2.4\n", "line 4: the study 1.2 is named in line 2"),
        (HEADER + b"caf\xe9,1.2.3\n", "not a CSV file in UTF-8"),
        (HEADER + b'"1.2,1.2.3\n', "not a CSV file"),
        (b"\x00" * 60, "m.csv"),
    ],
)
def test_a_bad_manifest_says_what_and_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.csv") as caught:
        read_manifest(path)
    assert message in str(caught.value)


def test_a_manifest_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="directory"):
        read_manifest(tmp_path)


def test_thickness_that_no_file_gives_does_not_count(tmp_path: Path) -> None:
    candidates = []
    for index, change in enumerate((None, set_to(SliceThickness="3"))):
        write_series(tmp_path / str(index), series_uid=f"{ROOT}.1.{index}", change=change)
        candidates.append(_candidate(only_entry(index_folder(tmp_path / str(index)))))
    assert _choose(*candidates).reason is ReadoutReason.UID_ORDER
