"""Where each element of a valid DICOM file stands, to know what a mutation hits.

Written apart from the reader under test, strict where that is tolerant.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

ITEM, ITEM_END, SEQUENCE_END, PIXEL_DATA = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010
UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = LONG_VRS | frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
_SYNTAX = 0x00020010
_IMPLICIT = (b"1.2.840.10008.1.2", b"1.2.840.113619.5.2")
_BIG, _DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
_IMPLICIT_SEQUENCES = frozenset({0x00081140, 0x00400275, 0x52009229, 0x52009230})


@dataclass(frozen=True, slots=True)
class Span:
    """One element or item: head from ``start``, its length field, value up to ``end``."""

    tag: int
    vr: bytes
    start: int
    length_at: int
    length_width: int
    value: int
    end: int
    depth: int


@dataclass(slots=True)
class Document:
    """A file in parts.

    Attributes:
        head: Preamble and file meta information.
        body: The data set, inflated.
        spans: Of the body: elements and items, the outer before the inner.
    """

    head: bytes
    body: bytes
    explicit: bool = True
    little: bool = True
    deflated: bool = False
    head_spans: list[Span] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    @property
    def top(self) -> list[Span]:
        """The elements of the data set itself."""
        return [span for span in self.spans if span.depth == 0]

    @property
    def order(self) -> str:
        """Byte order, for struct."""
        return "<" if self.little else ">"

    def value_of(self, span: Span) -> bytes:
        """The value of an element of the body."""
        return self.body[span.value : span.end]

    def put(self, tag: int, vr: bytes, value: bytes) -> None:
        """Sets an element of the data set, whether or not it is there; places are then void."""
        there = next((span for span in self.top if span.tag >= tag), None)
        start = there.start if there else len(self.body)
        stop = there.end if there and there.tag == tag else start
        new = element(tag, vr, value, explicit=self.explicit, order=self.order)
        self.body = self.body[:start] + new + self.body[stop:]

    def joined(self) -> bytes:
        """The file again."""
        return self.head + (deflated(self.body) if self.deflated else self.body)


def deflated(body: bytes) -> bytes:
    """A data set as a deflated file has it (PS3.5 section A.5)."""
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = engine.compress(body) + engine.flush()
    return packed + b"\0" * (len(packed) % 2)


def element(tag: int, vr: bytes, value: bytes, *, explicit: bool = True, order: str = "<") -> bytes:
    """One element, encoded."""
    numbers = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return numbers + struct.pack(order + "L", len(value)) + value
    if vr in LONG_VRS:
        return numbers + vr + b"\0\0" + struct.pack(order + "L", len(value)) + value
    return numbers + vr + struct.pack(order + "H", len(value) & 0xFFFF) + value


def take_apart(content: bytes) -> Document | None:
    """A file in parts, or None where it is not an ordinary one."""
    try:
        if content[128:132] != b"DICM":
            return None
        end, meta = 132, []
        while content[end : end + 2] == b"\x02\x00":
            span = _head(content, end, True, "<", 0)
            meta.append(span)
            end = span.end
        syntax = next(content[s.value : s.end].strip(b"\0 ") for s in meta if s.tag == _SYNTAX)
        document = Document(content[:end], content[end:], head_spans=meta)
        document.explicit, document.little = syntax not in _IMPLICIT, syntax != _BIG
        if syntax == _DEFLATED:
            document.deflated = True
            document.body = zlib.decompress(document.body, -zlib.MAX_WBITS)
        position = 0
        while position < len(document.body):
            position = _walk(document, position, 0)
    except (struct.error, StopIteration, zlib.error, ValueError, RecursionError):
        return None
    return document if document.spans else None


def _head(data: bytes, position: int, explicit: bool, order: str, depth: int) -> Span:
    group, number = struct.unpack_from(order + "HH", data, position)
    tag, vr, width, at = group << 16 | number, b"", 4, position + 4
    if explicit and group != 0xFFFE:
        vr = data[position + 4 : position + 6]
        if vr not in _VRS:
            raise ValueError("no such value representation")
        width, at = (4, position + 8) if vr in LONG_VRS else (2, position + 6)
    (length,) = struct.unpack_from(order + ("L" if width == 4 else "H"), data, at)
    end = -1 if length == UNDEFINED else at + width + length
    if end > len(data):
        raise ValueError("beyond the end")
    return Span(tag, vr, position, at, width, at + width, end, depth)


def _walk(document: Document, position: int, depth: int) -> int:
    """Notes the element at a place, and all inside it; returns its end."""
    span = _head(document.body, position, document.explicit, document.order, depth)
    holds_items = span.vr == b"SQ" or (
        not document.explicit and (span.end < 0 or span.tag in _IMPLICIT_SEQUENCES)
    )
    place = len(document.spans)
    document.spans.append(span)
    if span.end >= 0 and not holds_items:
        return span.end
    end = span.value
    while span.end < 0 or end < span.end:
        item = _head(document.body, end, False, document.order, depth + 1)
        end = item.value
        if item.tag == SEQUENCE_END:
            break
        if item.tag != ITEM:
            raise ValueError("no item")
        at = len(document.spans)
        document.spans.append(item)
        end = _inside(document, item, depth, holds_items)
        document.spans[at] = _ended(item, end)
    document.spans[place] = _ended(span, end)
    return end


def _inside(document: Document, item: Span, depth: int, holds_items: bool) -> int:
    """The end of an item; of its elements, where it has some, all are noted."""
    if not holds_items or span_is_fragment(document, item):
        return item.end
    position = item.value
    while item.end < 0 or position < item.end:
        if item.end < 0:
            group, number = struct.unpack_from(document.order + "HH", document.body, position)
            if group << 16 | number == ITEM_END:
                return position + 8
        position = _walk(document, position, depth + 2)
    return position


def span_is_fragment(document: Document, item: Span) -> bool:
    """Whether an item holds compressed pixels, not elements."""
    outer = next(span for span in reversed(document.spans) if span.depth == item.depth - 1)
    return outer.tag == PIXEL_DATA


def _ended(span: Span, end: int) -> Span:
    return Span(
        span.tag,
        span.vr,
        span.start,
        span.length_at,
        span.length_width,
        span.value,
        end,
        span.depth,
    )
