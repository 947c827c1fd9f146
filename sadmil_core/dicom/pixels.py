"""Where a file's pixel data stands: native bytes, or the fragments of each compressed frame."""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

from sadmil_core.dicom.elements import DamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence

Fragment = tuple[int, int]
"""Offset in the file and length, in bytes."""

_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


def find_fragments(stream: BinaryIO, start: int, size: int) -> tuple[list[Fragment], bytes] | None:
    """Walks the items of encapsulated pixel data (PS3.5 section A.4).

    Args:
        stream: The file.
        start: Where the value of the pixel data begins.
        size: Of the file in bytes.

    Returns:
        The fragments in order and the basic offset table; None where the file ends before
        the sequence does.
    """
    stream.seek(start)
    items: list[Fragment] = []
    table = b""
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return None
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _SEQUENCE_END:
            return items[1:], table
        offset = stream.tell()
        if (group, element) != _ITEM or offset + length > size:
            return None
        if items:
            stream.seek(length, os.SEEK_CUR)
        else:
            table = stream.read(length)
        items.append((offset, length))


def frames_of(
    fragments: Sequence[Fragment], table: bytes, extended: bytes, count: int
) -> list[tuple[Fragment, ...]]:
    """Deals fragments out to frames.

    By one fragment a frame where their numbers agree; else by the extended or the basic
    offset table (PS3.5 section A.4, PS3.3 C.7.6.3.1.8).

    Args:
        fragments: Of all frames, in order.
        table: The basic offset table.
        extended: The value of the Extended Offset Table element.
        count: How many frames there are.

    Raises:
        DamagedError: The frames cannot be told apart.
    """
    if not fragments:
        raise DamagedError("no compressed image in it")
    if count == 1 and len(table) <= 4:
        return [tuple(fragments)]
    if len(fragments) == count:
        return [(fragment,) for fragment in fragments]
    starts: tuple[int, ...]
    if extended:
        starts = struct.unpack(f"<{len(extended) // 8}Q", extended[: len(extended) // 8 * 8])
    else:
        starts = struct.unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4])
    first = fragments[0][0] - 8  # offsets count from the first item's tag
    at = {offset - 8 - first: index for index, (offset, _) in enumerate(fragments)}
    if len(starts) != count or any(start not in at for start in starts):
        raise DamagedError(f"{len(fragments)} fragment(s) cannot be dealt out to {count} frame(s)")
    bounds = [*(at[start] for start in starts), len(fragments)]
    frames = [tuple(fragments[a:b]) for a, b in pairwise(bounds)]
    if not all(frames):
        raise DamagedError("the offset table runs backwards")
    return frames
