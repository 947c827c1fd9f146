"""The raw elements of a file, up to its pixel data.

A walk over bytes that converts nothing: a header costs a tenth of what it costs to build a data
set, and odd values nobody uses cannot stop it. What may differ from the standard without doubt
about the meaning is accepted, and named: no preamble, no file meta information, another
encoding than the transfer syntax says, a value representation other than the dictionary's.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sadmil_core.dicom.codes import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

GE_PRIVATE_SYNTAX = "1.2.840.113619.5.2"
"""GE's implicit little endian data set whose pixel words are big endian."""
UNDEFINED_LENGTH = 0xFFFFFFFF

_META_SYNTAX, _META_CLASS = 0x00020010, 0x00020002
_DELIMITERS = 0xFFFE
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SEQUENCES = frozenset({0x00180012, 0x00283000, 0x52009229, 0x52009230})
"""Wanted sequences: that they are there, and not empty, is all that is kept of them."""
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_TEXT_NUMBERS = frozenset(b"DS IS LO SH ST LT UT CS".split())
_BINARY_NUMBERS = {
    b"FD": ("d", 8),
    b"FL": ("f", 4),
    b"SL": ("l", 4),
    b"SS": ("h", 2),
    b"UL": ("L", 4),
    b"US": ("H", 2),
}
_DECIMAL = re.compile(rb" *[-+]?\.?\d[-+.\dEe \\]*")
_FIRST_READ = 1 << 15  # the headers of most CT slices are smaller
_MAX_META = 1 << 20
_MAX_WINDOW = 1 << 28
_MAX_DEPTH = 64  # of sequences in sequences; real files stay under ten
_MAX_INFLATED = 1 << 30


class NotDicomError(ValueError):
    """The bytes are no DICOM data set."""


class DamagedError(ValueError):
    """A DICOM data set whose elements cannot be followed."""


class _MoreNeeded(Exception):  # noqa: N818 - not an error: the next read is larger
    """The walk came to the end of the bytes read so far."""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data stands.

    Attributes:
        tag: 7FE00010 for integer pixels; 7FE00008 and 7FE00009 are float ones.
        length: Of the value in bytes; ``UNDEFINED_LENGTH`` where it is encapsulated.
        offset: Of the value in the file; in the inflated data set where that is deflated.
        present: Bytes of the value that are there.
    """

    tag: int
    length: int
    offset: int
    present: int


@dataclass(slots=True)
class Elements:
    """Tolerant access to the wanted elements: what cannot be understood is None or empty.

    Attributes:
        transfer_syntax: As stated; as it looks, where nothing is stated.
        media_storage: MediaStorageSOPClassUID of the file meta information, or empty.
        has_preamble: Whether the file begins as PS3.10 section 7.1 wants it.
        has_stated_syntax: Whether the file says its transfer syntax.
        follows_syntax: False where the data set is encoded otherwise than stated.
        little_endian: Byte order of the elements.
        pixels: Where the pixel data stands, or None.
        count: How many elements the data set has before its pixels.
    """

    transfer_syntax: str = ""
    media_storage: str = ""
    has_preamble: bool = True
    has_stated_syntax: bool = True
    follows_syntax: bool = True
    little_endian: bool = True
    pixels: PixelElement | None = None
    count: int = 0
    _values: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)

    def __contains__(self, tag: int) -> bool:
        return tag in self._values

    def raw(self, tag: int) -> bytes:
        """The bytes of an element; empty where it is absent or a sequence."""
        return self._values.get(tag, (b"", b""))[0]

    def text(self, tag: int) -> str:
        """A text without its padding, fit to be shown: what is no ASCII letter is replaced."""
        return _text(self.raw(tag))

    def integer(self, tag: int, *, signed: bool = False) -> int | None:
        """The first value of a US or SS element, or of a number in another representation."""
        value, vr = self._values.get(tag, (b"", b""))
        if vr in _TEXT_NUMBERS or vr in (b"FD", b"FL"):
            return self.decimal_integer(tag)
        width = 4 if vr in (b"UL", b"SL") else 2
        if len(value) < width:
            return None
        order = "little" if self.little_endian else "big"
        return int.from_bytes(value[:width], order, signed=signed)  # type: ignore[arg-type]

    def decimal_integer(self, tag: int) -> int | None:
        """The value of an IS element, or of a number in another representation."""
        value = self.number(tag)
        return None if value is None else int(value)

    def number(self, tag: int) -> float | None:
        """The first value of a DS, IS or binary number element, where it is finite."""
        values = self._floats(tag, first=True)
        return values[0] if values else None

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """Exactly ``count`` finite values of a DS, FD or FL element."""
        values = self._floats(tag)
        return values if values is not None and len(values) == count else None

    def _floats(self, tag: int, *, first: bool = False) -> tuple[float, ...] | None:
        value, vr = self._values.get(tag, (b"", b""))
        values: Iterable[float | str]
        try:
            if vr in _BINARY_NUMBERS and not spells_number(value):
                kind, width = _BINARY_NUMBERS[vr]
                order = "<" if self.little_endian else ">"
                values = struct.unpack(f"{order}{len(value) // width}{kind}", value)
            else:
                # Python would take an underscore between digits for a part of a number.
                parts = value.decode("ascii", "replace").replace("_", "?").strip(" \0").split("\\")
                values = parts[:1] if first else parts
            found = tuple(map(float, values))
        except (ValueError, struct.error):
            return None
        return found if all(map(math.isfinite, found)) else None


def spells_number(value: bytes) -> bool:
    """Whether bytes are decimal digits, whatever representation is claimed for them.

    As a binary number they would be one that nobody means: 12 336 HU, or 1e-70 mm.
    """
    return _DECIMAL.fullmatch(value) is not None


class CutError(DamagedError):
    """The file ends inside an element before the pixel data.

    Attributes:
        elements: Those before the cut.
    """

    def __init__(self, message: str, elements: Elements) -> None:
        super().__init__(message)
        self.elements = elements


def read_elements(stream: BinaryIO, size: int, wanted: frozenset[int]) -> Elements:
    """Reads a file's elements up to its pixel data.

    Large elements nobody wants are stepped over, not read.

    Args:
        stream: At its beginning.
        size: Of the file in bytes.
        wanted: Tags whose values are kept.

    Raises:
        NotDicomError: It is another kind of file.
        CutError: It ends before its header does.
        DamagedError: Its elements cannot be followed.
    """
    walk = _Walk(stream, size)
    start, has_preamble = _find_start(walk.data)
    found = Elements(has_preamble=has_preamble)
    try:
        _read(found, walk, start, wanted)
    except _MoreNeeded as more:
        raise CutError("the file ends inside its header", found) from more
    return found


def _find_start(data: bytes) -> tuple[int, bool]:
    """Where the first element stands, and whether a preamble comes before it."""
    if data[128:132] == b"DICM":
        return 132, True
    group = int.from_bytes(data[:2], "little")
    if len(data) < 16 or group not in (0x0002, 0x0008, 0x0800):
        raise NotDicomError("not a DICOM file")
    if group == 0x0800 and not _is_vr(data[4:6]):  # big endian is always explicit
        raise NotDicomError("not a DICOM file")
    if not _is_vr(data[4:6]) and int.from_bytes(data[4:8], "little") > 256:
        raise NotDicomError("not a DICOM file")
    return 0, False


def _is_vr(code: bytes) -> bool:
    return code in _LONG_VRS or code in _SHORT_VRS


def _read(found: Elements, walk: _Walk, start: int, wanted: frozenset[int]) -> None:
    meta: dict[int, tuple[bytes, bytes]] = {}
    position = walk.group_2(start, meta)
    stated = _uid(meta, _META_SYNTAX)
    found.media_storage = _uid(meta, _META_CLASS)
    found.has_stated_syntax = bool(stated)
    if stated == DeflatedExplicitVRLittleEndian:
        walk.move(position, walk.size)  # its end is known only once all of it is inflated
        walk.data = _inflate(walk.data, found)
        walk.base, walk.size, position = 0, len(walk.data), 0
    _choose_encoding(walk, position, stated, found)
    end = walk.elements(position, found, wanted)
    found.follows_syntax &= not walk.is_mixed
    if end is not None:
        tag, length, offset = end
        found.pixels = PixelElement(tag, length, offset, min(length, max(walk.size - offset, 0)))


def _uid(meta: dict[int, tuple[bytes, bytes]], tag: int) -> str:
    return _text(meta.get(tag, (b"", b""))[0])


def _text(value: bytes) -> str:
    return printable(value.decode("ascii", "replace").strip(" \0"))


def _inflate(data: bytes, found: Elements) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = engine.decompress(data, _MAX_INFLATED)
    except zlib.error as error:
        raise DamagedError(f"the deflated data set is damaged: {error}") from error
    if not engine.eof:
        if engine.unconsumed_tail:
            raise DamagedError(f"the deflated data set has over {_MAX_INFLATED >> 20} MiB")
        raise CutError("the deflated data set ends early", found)
    return inflated


def _choose_encoding(walk: _Walk, position: int, stated: str, found: Elements) -> None:
    """Sets how the elements are encoded: as stated, unless the first of them shows otherwise."""
    head = walk.data[position : position + 8]
    if len(head) < 8:
        raise _MoreNeeded
    looks_big = head[0] == 0 and head[1] != 0
    looks_explicit = _is_vr(head[4:6])
    if stated:
        explicit = stated not in (ImplicitVRLittleEndian, GE_PRIVATE_SYNTAX)
        looks_explicit |= explicit and b"AA" <= head[4:6] <= b"ZZ"
        little = stated != ExplicitVRBigEndian
        found.follows_syntax = explicit == looks_explicit and little != looks_big
    walk.explicit, walk.little = looks_explicit, not (looks_big and looks_explicit)
    walk.use_order()
    found.little_endian = walk.little
    if stated:
        found.transfer_syntax = stated
    elif not walk.explicit:
        found.transfer_syntax = ImplicitVRLittleEndian
    else:
        found.transfer_syntax = ExplicitVRLittleEndian if walk.little else ExplicitVRBigEndian


class _Walk:
    """Steps from element to element of one encoding, in a window of the file that moves on.

    Attributes:
        size: Of the file, or of the inflated data set.
        data: The window.
        base: Where the window begins.
        is_mixed: Whether an explicit data set turned out to have implicit elements.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self.size = stream, size
        self.data, self.base = stream.read(min(_FIRST_READ, size)), 0
        self.explicit = self.little = True
        self.is_mixed = False
        self.use_order()

    def move(self, start: int, length: int) -> None:
        """Lets the window begin at a place of the file."""
        self._stream.seek(start)
        self.data, self.base = self._stream.read(min(length, self.size - start)), start

    def _reach(self, stop: int) -> None:
        """Lets the window, which begins with the file, reach as far as this."""
        if len(self.data) < min(stop, self.size):
            self.move(0, stop + _FIRST_READ)

    def use_order(self) -> None:
        order = "<" if self.little else ">"
        self._explicit_head = struct.Struct(f"{order}HH2sH").unpack_from
        self._implicit_head = struct.Struct(f"{order}HHL").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from

    def head(self, position: int, explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, value representation (empty if implicit), length, and where the value starts."""
        data = self.data
        try:
            if explicit:
                group, element, vr, length = self._explicit_head(data, position)
                if vr in _SHORT_VRS:
                    return group << 16 | element, vr, length, position + 8
                if vr in _LONG_VRS:
                    return (
                        group << 16 | element,
                        vr,
                        self._long(data, position + 8)[0],
                        position + 12,
                    )
                if b"AA" <= vr <= b"ZZ":  # one of a later standard, or a misspelt one
                    return group << 16 | element, vr, length, position + 8
                # Items have no VR; and some writers change to implicit elements in mid-file.
                self.is_mixed |= group != _DELIMITERS
            group, element, length = self._implicit_head(data, position)
        except struct.error as error:
            raise _MoreNeeded from error
        return group << 16 | element, b"", length, position + 8

    def group_2(self, position: int, into: dict[int, tuple[bytes, bytes]]) -> int:
        """Reads the file meta information, which is explicit little endian; returns its end."""
        while True:
            self._reach(position + 8)
            if position + 8 > len(self.data):
                raise _MoreNeeded
            if self.data[position : position + 2] != b"\x02\x00":
                return position
            tag, vr, length, start = self.head(position, True)
            if length > _MAX_META:
                raise DamagedError("damaged file meta information")
            position = start + length
            self._reach(position)
            into[tag] = (self.data[start:position], vr)

    def elements(
        self, position: int, into: Elements, wanted: frozenset[int]
    ) -> tuple[int, int, int] | None:
        """Reads elements up to the pixels.

        Returns:
            Tag, length and place of the pixels' value; None at the end of the file.
        """
        while True:
            position, end = self._in_window(position, into, wanted)
            if end is not None:
                return end
            place = self.base + position
            if place == self.size:
                return None
            ends_here = self.base + len(self.data) >= self.size
            if place > self.size or ends_here:
                raise _MoreNeeded
            if position >= len(self.data):  # stepped over
                self.move(place, _FIRST_READ)
            elif len(self.data) < _MAX_WINDOW:
                self.move(place, min(8 * len(self.data), _MAX_WINDOW))
            else:
                raise DamagedError(f"an element of over {_MAX_WINDOW >> 20} MiB in the header")
            position = 0

    def _in_window(
        self, position: int, into: Elements, wanted: frozenset[int]
    ) -> tuple[int, tuple[int, int, int] | None]:
        """Reads the elements that are wholly in the window.

        Returns:
            Where the next one begins, and the pixels' tag, length and place if they are that.
        """
        values, data, explicit = into._values, self.data, self.explicit
        size, head, begin = len(data), self.head, position
        try:
            while position < size:
                begin = position
                tag, vr, length, start = head(position, explicit)
                if tag in _PIXELS:
                    return begin, (tag, length, self.base + start)
                if length == UNDEFINED_LENGTH:
                    position = self._past_items(start, explicit and vr != b"UN", 0)
                    if tag in _SEQUENCES and position > start + 8:  # more than the delimiter
                        values[tag] = (b"", b"SQ")
                else:
                    position = start + length
                    if tag in _SEQUENCES:
                        if length:
                            values[tag] = (b"", b"SQ")
                    elif tag in wanted:
                        if position > size:
                            return begin, None
                        values[tag] = (data[start:position], vr)
                into.count += 1
        except _MoreNeeded:
            return begin, None
        return position, None

    def _past_items(self, position: int, explicit: bool, depth: int) -> int:
        """The place after a sequence of undefined length (PS3.5 section 7.5)."""
        if depth > _MAX_DEPTH:
            raise DamagedError("sequences nested too deep")
        while True:
            tag, _, length, position = self.head(position, False)
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM:
                raise DamagedError("a sequence without items")
            if length == UNDEFINED_LENGTH:
                position = self._past_elements(position, explicit, depth + 1)
            else:
                position += length

    def _past_elements(self, position: int, explicit: bool, depth: int) -> int:
        """The place after an item of undefined length."""
        while True:
            tag, vr, length, position = self.head(position, explicit)
            if tag == _ITEM_END:
                return position
            if length == UNDEFINED_LENGTH:
                position = self._past_items(position, explicit and vr != b"UN", depth)
            else:
                position += length
