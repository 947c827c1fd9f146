"""Reading whole archives: by many processes, safe to kill, finished by running it again.

No process talks to another. What they share lies in the folder of results (see
:mod:`sadmil_core.batch.folder`): an index of the archive, which one of them brings up to date
while the others wait; the studies' records, to which each process adds its own; and the
reports, which the last to finish writes. docs/batch.md says it to users.
"""

from sadmil_core.batch.folder import BatchFolder
from sadmil_core.batch.merge import MergedReport
from sadmil_core.batch.ranks import Shard, default_threads, shard_of
from sadmil_core.batch.run import BatchOutcome, BatchRequest, read_archive
from sadmil_core.batch.settings import BatchSettings

__all__ = [
    "BatchFolder",
    "BatchOutcome",
    "BatchRequest",
    "BatchSettings",
    "MergedReport",
    "Shard",
    "default_threads",
    "read_archive",
    "shard_of",
]
