"""What a lesion is: one or more edits of a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of a head. Fields live on a box of the volume (slices) to save memory.

    Attributes:
        kind: "epidural", "subdural", "subarachnoid", "intraparenchymal", "intraventricular", or
            the name of a companion ("oedema") or a look-alike.
        bleed: Whether its occupancy counts as hemorrhage.
        box: Where in the volume the fields lie.
        occupancy: 0..1 share of each voxel that is replaced (partial volume included).
        target_hu: What stands there, before noise.
        shift_mm: (3, box) displacement of the host tissue (mass effect), applied before occupancy;
            mm along slice, row, column.
    """

    kind: str
    bleed: bool
    box: tuple[slice, slice, slice]
    occupancy: NDArray[np.float32]
    target_hu: NDArray[np.float32] | float
    shift_mm: NDArray[np.float32] | None = None
