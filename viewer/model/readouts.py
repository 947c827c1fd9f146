"""Which series speaks for each study of what is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.fitness import fitness_of_entry
from sadmil_core.readout import Candidate, StudyReadout, choose_readouts
from viewer.model.state import record_key

if TYPE_CHECKING:
    from viewer.model.state import ViewState


def readouts_of(state: ViewState) -> tuple[StudyReadout, ...]:
    """The choice among all series, by the chosen model: as read, or else by their headers."""
    sha256 = state.model.header.model_sha256 if state.model else ""
    candidates = []
    for entry in state.entries:
        record = state.records.get(record_key(entry, sha256))
        fitness = fitness_of_entry(entry)
        unread = Candidate(entry=entry, fitness=fitness, scorable=not fitness.is_unfit)
        candidates.append(record.candidate if record else unread)
    return choose_readouts(candidates)
