"""The bytes of TensorFlow's index files: varints and protocol-buffer fields, bounds checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MalformedError(ValueError):
    """The bytes are not what the format says; callers add the file's name."""


@dataclass(slots=True)
class Cursor:
    """A place in some bytes that only moves forward, and never past their end."""

    data: bytes
    position: int = 0

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        return self.position >= len(self.data)

    def take(self, count: int) -> bytes:
        """Reads ``count`` bytes.

        Raises:
            MalformedError: There are fewer left.
        """
        left = len(self.data) - self.position
        if count > left:
            raise MalformedError(f"{count} bytes announced where {left} are left")
        start, self.position = self.position, self.position + count
        return self.data[start : self.position]

    def varint(self) -> int:
        """Reads an unsigned integer of up to 64 bits, seven bits a byte, the lowest first.

        Raises:
            MalformedError: It does not end, or has more than 64 bits.
        """
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value
        raise MalformedError("a number of more than 64 bits")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol-buffer message in order, unknown ones included.

    Args:
        message: The encoded message.

    Yields:
        Field number and value: an unsigned integer (a varint or a fixed one), or bytes (a
        string or an inner message).

    Raises:
        MalformedError: The message is cut off or uses a wire type of no meaning.
    """
    cursor = Cursor(message)
    while not cursor.at_end:
        tag = cursor.varint()
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("a field of number 0")
        if wire_type == _VARINT:
            yield number, cursor.varint()
        elif wire_type == _FIXED64:
            yield number, int(struct.unpack("<Q", cursor.take(8))[0])
        elif wire_type == _BYTES:
            yield number, cursor.take(cursor.varint())
        elif wire_type == _FIXED32:
            yield number, int(struct.unpack("<I", cursor.take(4))[0])
        else:
            raise MalformedError(f"wire type {wire_type}")


def as_int(value: int | bytes, what: str) -> int:
    """A field's value where the format has a number.

    Raises:
        MalformedError: It is bytes.
    """
    if isinstance(value, bytes):
        raise MalformedError(f"{what} is not a number")
    return value


def as_bytes(value: int | bytes, what: str) -> bytes:
    """A field's value where the format has a string or an inner message.

    Raises:
        MalformedError: It is a number.
    """
    if isinstance(value, int):
        raise MalformedError(f"{what} is not a message")
    return value
