"""What opening a path comes to, away from the GUI thread: index, texts, verdicts, thumbnails."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sadmil_core.dicom import (
    Identity,
    SeriesIndex,
    SliceHeader,
    decode_slice,
    index_folder,
    merge_indexes,
    read_identity,
    require_entries,
)
from sadmil_core.display import PRESETS, to_gray
from sadmil_core.errors import DecodeError, InputError
from sadmil_core.fitness import Fitness, fitness_of_entry
from viewer.model.state import Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.dicom import StackEntry
    from viewer.model.jobs import JobContext

THUMBNAIL_PX = 48
"""Height and width of the square a thumbnail fits into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An index and what belongs to each of its entries.

    Attributes:
        index: What was found.
        identities: Texts for people.
        verdicts: The fitness of each, by its headers.
    """

    index: SeriesIndex
    identities: tuple[Identity, ...]
    verdicts: tuple[Fitness, ...]


def open_paths(paths: Sequence[Path], context: JobContext) -> Opened:
    """Indexes files and folders as one; publishes a first slice as a Preview on the way.

    Raises:
        InputError: None of them holds CT.
        Cancelled: From ``context``.
    """
    shown: list[SliceHeader] = []

    def show(header: SliceHeader) -> None:
        if not shown:
            shown.append(header)
            with suppress(DecodeError):  # the load will say what is wrong with the slice
                context.publish(Preview(header, decode_slice(header)))

    indexes, errors = [], []
    for path in paths:
        try:
            indexes.append(require_entries(index_folder(path, context, on_first=show)))
        except InputError as error:
            errors.append(error)
    if not indexes:
        raise errors[0]
    index = indexes[0] if len(indexes) == 1 else merge_indexes(indexes)
    return Opened(
        index=index,
        identities=tuple(read_identity(entry.slices[0].path) for entry in index.entries),
        verdicts=tuple(fitness_of_entry(entry) for entry in index.entries),
    )


def make_thumbnail(entry: StackEntry) -> NDArray[np.uint8] | None:
    """The middle slice of a stack in the brain window, small; None where it cannot be decoded.

    Returns:
        (rows, columns) uint8, the longer side ``THUMBNAIL_PX``, pixels as high as wide.
    """
    header = entry.slices[(len(entry.slices) - 1) // 2]
    try:
        gray = to_gray(decode_slice(header), PRESETS["Brain"], inverted=header.inverted)
    except DecodeError:
        return None
    geometry = entry.geometry
    height_mm = gray.shape[0] * geometry.row_spacing_mm
    width_mm = gray.shape[1] * geometry.column_spacing_mm
    scale = THUMBNAIL_PX / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    small = Image.fromarray(np.ascontiguousarray(gray)).resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def make_thumbnails(
    entries: Sequence[StackEntry], context: JobContext, wait: Callable[[], None]
) -> None:
    """Publishes ``(index, thumbnail)`` for each entry, in order.

    Args:
        entries: The stacks.
        context: Of the job.
        wait: Called before each; returns when nothing more urgent is being read.
    """
    for index, entry in enumerate(entries):
        wait()
        context(index, len(entries), "making thumbnails")
        thumbnail = make_thumbnail(entry)
        if thumbnail is not None:
            context.publish((index, thumbnail))


def publish_first(context: JobContext) -> Callable[[int], None]:
    """Publishes the arrival of the first slice; later ones are seen with the progress."""
    seen: list[int] = []

    def arrived(index: int) -> None:
        if not seen:
            seen.append(index)
            context.publish(index)

    return arrived
