"""Sorted string tables, the container of TensorFlow's .index files.

Layout: data blocks, an index block that points at them, and a footer of 48 bytes with two
block handles (of a metaindex, not used here, and of the index block) and a magic number. A
block is followed by a byte for its compression and a masked CRC-32C of both. Within a block
keys share prefixes with their predecessor; an array of restart offsets closes it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sadmil_core.published.crc32c import crc32c, unmask
from sadmil_core.published.wire import Cursor, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_MAGIC = 0xDB4775248B80FB57
_COMPRESSIONS = {1: "snappy"}


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Reads a whole table.

    Args:
        data: The file's bytes.

    Returns:
        Values by key, in the file's (sorted) order.

    Raises:
        MalformedError: Saying what is wrong; every block's checksum is checked.
    """
    if len(data) < _FOOTER_BYTES:
        raise MalformedError(
            f"it has {len(data)} bytes, fewer than the {_FOOTER_BYTES} of a table's footer"
        )
    footer = data[-_FOOTER_BYTES:]
    magic = struct.unpack("<Q", footer[-8:])[0]
    if magic != _MAGIC:
        raise MalformedError(f"it ends in {magic:#018x}, not in a table's magic {_MAGIC:#018x}")
    handles = Cursor(footer[:-8])
    _handle(handles)  # The metaindex.
    entries: dict[bytes, bytes] = {}
    for _, value in _entries(_block(data, *_handle(handles))):
        cursor = Cursor(value)
        offset, size = _handle(cursor)
        if not cursor.at_end:
            raise MalformedError("its index block holds something else than block handles")
        for key, entry in _entries(_block(data, offset, size)):
            # Strict order also means that no block can be listed twice, so the work and the
            # memory stay within the size of the file.
            if entries and key <= next(reversed(entries)):
                raise MalformedError("its keys are not in order")
            entries[key] = entry
    return entries


def _handle(cursor: Cursor) -> tuple[int, int]:
    return cursor.varint(), cursor.varint()


def _block(data: bytes, offset: int, size: int) -> bytes:
    """The contents of a block, its checksum checked."""
    end = offset + size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise MalformedError(
            f"a block of {size} bytes at {offset} reaches past the end of {len(data)} bytes"
        )
    stored = struct.unpack("<I", data[end + 1 : end + _TRAILER_BYTES])[0]
    if crc32c(data[offset : end + 1]) != unmask(stored):
        raise MalformedError(f"the checksum of the block at byte {offset} does not match")
    compression = data[end]
    if compression:
        name = _COMPRESSIONS.get(compression, f"type {compression}")
        raise MalformedError(f"it is compressed ({name}), which this program does not read")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block; the restart array is only needed for searching."""
    if len(block) < 4:
        raise MalformedError("a block without its restart count")
    restarts = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise MalformedError(f"a block of {len(block)} bytes announces {restarts} restarts")
    cursor = Cursor(block[:end])
    key = b""
    while not cursor.at_end:
        shared, unshared, length = cursor.varint(), cursor.varint(), cursor.varint()
        if shared > len(key):
            raise MalformedError(f"a key shares {shared} bytes with one of {len(key)}")
        key = key[:shared] + cursor.take(unshared)
        yield key, cursor.take(length)
