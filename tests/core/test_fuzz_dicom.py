"""The fuzzer's short form: some hundred mutants, each judged by what must hold."""

from __future__ import annotations

from tests.fuzz_dicom import fuzz, make_mutant


def test_some_hundred_mutants_are_read_or_refused_and_nothing_is_silent() -> None:
    summary = fuzz(400)
    assert summary.defects == {}
    assert summary.outcomes.total() == 400
    kinds = {name.split()[0] for name in summary.outcomes}
    assert {"loaded", "loaded,", "skipped"} <= kinds  # they are neither all harmless nor all dead


def test_a_mutation_depends_on_its_seed_and_number_alone() -> None:
    first, again, other = make_mutant(0, 7), make_mutant(0, 7), make_mutant(1, 7)
    assert (first.name, first.case) == (again.name, again.case)
    assert first.case.content != other.case.content
