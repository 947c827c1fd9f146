"""What the index of a TensorBundle says: which tensors there are, and where.

One message per tensor, after one for the whole bundle under the empty key; the layouts are
those of TensorFlow's tensor_bundle.proto, tensor_shape.proto and types.proto.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadmil_core.published.sstable import read_table
from sadmil_core.published.wire import MalformedError, as_bytes, as_int, fields

MAX_TENSOR_BYTES = 64 * 2**20
"""How much a bundle's tensors may have together; the published ones have 4 MB."""

_MAX_DIMENSIONS = 8
_MAX_SHARDS = 1000
_STRING = 7
_DTYPES = {
    1: "f4",
    2: "f8",
    3: "i4",
    4: "u1",
    5: "i2",
    6: "i1",
    9: "i8",
    10: "?",
    17: "u2",
    19: "f2",
    22: "u4",
    23: "u8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a tensor lies and how to read it.

    Attributes:
        dtype: Of its bytes as stored; None for text, which is not read.
        shape: Its dimensions; empty for a scalar.
        shard: Which data file, counted from 0.
        offset: Its first byte there.
        size: Its length in bytes.
        stored_crc: The masked CRC-32C of its bytes.
    """

    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    stored_crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleIndex:
    """A parsed index.

    Attributes:
        shards: How many data files there are.
        entries: Tensors by name, in the file's order.
    """

    shards: int
    entries: dict[str, Entry]


def parse_index(data: bytes) -> BundleIndex:
    """Parses the bytes of an .index file.

    Args:
        data: The whole file.

    Raises:
        MalformedError: They are damaged, or announce what is not read here: sliced tensors,
            unusual types, more than ``MAX_TENSOR_BYTES``.
    """
    table = read_table(data)
    if b"" not in table:
        raise MalformedError("it has no header entry")
    shards, big_endian = _parse_header(table.pop(b""))
    entries: dict[str, Entry] = {}
    for key, value in table.items():
        try:
            name = key.decode()
        except UnicodeDecodeError as error:
            raise MalformedError(f"{key!r} cannot be a tensor's name") from error
        try:
            entries[name] = _parse_entry(value, big_endian=big_endian)
            if entries[name].shard >= shards:
                raise MalformedError(f"it lies in data file {entries[name].shard} of {shards}")
        except MalformedError as error:
            raise MalformedError(f"tensor {name}: {error}") from error
    total = sum(entry.size for entry in entries.values() if entry.dtype is not None)
    if total > MAX_TENSOR_BYTES:
        raise MalformedError(f"it announces {total} bytes; at most {MAX_TENSOR_BYTES} are read")
    return BundleIndex(shards=shards, entries=entries)


def _parse_header(message: bytes) -> tuple[int, bool]:
    values = {n: as_int(v, "a header field") for n, v in fields(message) if n in (1, 2)}
    shards, endianness = values.get(1, 0), values.get(2, 0)
    if not 1 <= shards <= _MAX_SHARDS:
        raise MalformedError(f"it announces {shards} data files")
    if endianness not in (0, 1):
        raise MalformedError(f"its byte order is {endianness}, neither little (0) nor big (1)")
    return shards, bool(endianness)


def _parse_entry(message: bytes, *, big_endian: bool) -> Entry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    for number, value in fields(message):
        if number == 2:
            shape = _parse_shape(as_bytes(value, "the shape"))
        elif number == 7:
            raise MalformedError("it is stored in slices, which this program does not read")
        elif number in (1, 3, 4, 5, 6):
            numbers[number] = as_int(value, f"field {number}")
    size = numbers.get(5, 0)
    return Entry(
        dtype=_check_type(numbers.get(1, 0), shape, size, big_endian=big_endian),
        shape=shape,
        shard=numbers.get(3, 0),
        offset=numbers.get(4, 0),
        size=size,
        stored_crc=numbers.get(6, 0),
    )


def _parse_shape(message: bytes) -> tuple[int, ...]:
    shape = []
    for number, value in fields(message):
        if number == 2:
            sizes = [v for n, v in fields(as_bytes(value, "a dimension")) if n == 1]
            shape.append(as_int(sizes[-1], "a dimension") if sizes else 0)
        elif number == 3 and value:
            raise MalformedError("its shape is unknown")
        if len(shape) > _MAX_DIMENSIONS:
            raise MalformedError(f"it has more than {_MAX_DIMENSIONS} dimensions")
    return tuple(shape)


def _check_type(
    number: int, shape: tuple[int, ...], size: int, *, big_endian: bool
) -> np.dtype[Any] | None:
    """The NumPy type of TensorFlow's number for it, provided shape and size agree."""
    if number == _STRING:
        return None
    if number not in _DTYPES:
        raise MalformedError(f"its type has number {number}, which this program does not read")
    dtype = np.dtype(_DTYPES[number])
    # Empty dimensions count as 1 here: NumPy refuses a shape it could not address otherwise.
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise MalformedError(f"its shape {shape} is absurdly large")
    expected = math.prod(shape) * dtype.itemsize
    if size != expected:
        raise MalformedError(f"its shape {shape} needs {expected} bytes, not the {size} announced")
    return dtype.newbyteorder(">" if big_endian else "<")
