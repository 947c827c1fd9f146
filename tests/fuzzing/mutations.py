"""Ways in which a file goes wrong, each drawn from a passed generator.

A mutation changes ``Case.content`` and notes which elements it touched, so that the oracle can
tell a change that the reader had no way to see from one it kept silent about.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID_dictionary

from tests.fuzzing.layout import (
    ITEM,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Document,
    Span,
    element,
    take_apart,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

ANY = -1
"""Stands for every element, where a mutation is too coarse to say."""
_SYNTAX = 0x00020010
_SYNTAXES = sorted(
    uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"
)
_TEXT_VRS = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_ALL_VRS = sorted(_TEXT_VRS | LONG_VRS | frozenset(b"AT FD FL SL SS UL US".split()))
_NUMBERS = (
    *("NaN", "inf", "-inf", "1e308", "-1e308", "1e-320", "1e30", "0", "-0", "-1", "0.5", "1e5"),
    *("99999999999999999999", "1_0", "0x10", "1,5", "--1", "+1", "2147483648", "1000000"),
    *(
        "1\\2",
        "5\\\\5",
        "1\\2\\3",
        "0\\0\\0",
        "1e308\\1e308\\1e308",
        "nan\\0\\0",
        "-99999\\0\\99999",
    ),
    *("1\\0\\0\\0\\1\\0", "1\\0\\0\\1\\0\\0", "0\\1\\0\\0\\0\\-1", "-1\\0\\0\\0\\-1\\0"),
)
_WORDS = (
    *_NUMBERS,
    *("", " ", "\\", "\0", "\x1b[31m", "A" * 300, "ORIGINAL\\PRIMARY\\LOCALIZER", "MR", "CT", "OT"),
    *("MONOCHROME1", "RGB", "PALETTE COLOR", "ISO 2022 IR 87", "NO SUCH SET", "YES", "1.2..3"),
    *("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "../../etc", "\xff\xfe\xfd"),
)
_SHORTS = (0, 1, 2, 3, 7, 8, 11, 12, 15, 16, 24, 31, 32, 64, 255, 4095, 32767, 32768, 65535)
_WANTED: tuple[tuple[int, bytes], ...] = (
    *((tag, b"US") for tag in (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101)),
    *((tag, b"US") for tag in (0x00280102, 0x00280103, 0x00280120, 0x00280121)),
    *((tag, b"DS") for tag in (0x00200032, 0x00200037, 0x00280030, 0x00281052, 0x00281053)),
    *((tag, b"DS") for tag in (0x00180050, 0x00281050, 0x00281051)),
    *((tag, b"IS") for tag in (0x00280008, 0x00200012, 0x00200013)),
    *((tag, b"CS") for tag in (0x00080005, 0x00080008, 0x00080060, 0x00280004)),
    *((tag, b"UI") for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)),
    *((tag, b"LO") for tag in (0x00281054, 0x00181210, 0x00180010)),
    *((tag, b"OV") for tag in (0x7FE00001, 0x7FE00002)),
)
"""What the reader looks at: these are hit more often than the rest."""


@dataclass(slots=True)
class Case:
    """A file on its way from clean to broken.

    Attributes:
        content: Its bytes now.
        siblings: The clean files of its series.
        steps: What was done, for people.
        tags: Elements whose values were changed; :data:`ANY` where it may be all.
        framed: Elements whose heads, lengths or places were changed, or that were lost.
    """

    content: bytes
    siblings: Sequence[bytes] = ()
    steps: list[str] = field(default_factory=list)
    tags: set[int] = field(default_factory=set)
    framed: set[int] = field(default_factory=set)

    def note(self, step: str, *tags: int, framing: bool = False) -> None:
        """Says what was done."""
        self.steps.append(step)
        (self.framed if framing else self.tags).update(tags)

    def put(self, document: Document, start: int, stop: int, new: bytes) -> None:
        """Replaces bytes of the data set."""
        document.body = document.body[:start] + new + document.body[stop:]
        self.content = document.joined()


def mutate(content: bytes, siblings: Sequence[bytes], rng: Random) -> Case:
    """Breaks a file in one way, or in a few."""
    case = Case(content, siblings)
    for _ in range(1 if rng.random() < 0.75 else rng.randint(2, 4)):
        document = take_apart(case.content)
        ways: Sequence[Callable[[Case, Document, Random], None]] = _OF_ELEMENTS
        if document is None or rng.random() < 0.3:
            rng.choice(_OF_BYTES)(case, document, rng)
            continue
        if _fragments(document) and rng.random() < 0.25:
            ways = _OF_FRAGMENTS
        rng.choice(ways)(case, document, rng)
    return case


# Bytes, whatever they mean


def _touch(case: Case, document: Document | None, start: int, stop: int, step: str) -> None:
    """Notes the elements that stand in a range of the file."""
    case.note(step)
    if document is None or document.deflated:
        case.tags.add(ANY)
        case.framed.add(ANY)
        return
    for base, spans in ((0, document.head_spans), (len(document.head), document.spans)):
        for span in spans:
            if span.start + base < stop and span.value + base > start:
                case.framed.add(span.tag)
            if span.value + base < stop and span.end + base > start:
                case.tags.add(span.tag)


def _all_framed(case: Case) -> None:
    """Takes back that values alone were changed: what is behind a loss is out of its place."""
    case.framed |= case.tags
    case.tags &= {ANY}


def _flip_bits(case: Case, document: Document | None, rng: Random) -> None:
    content = bytearray(case.content)
    limit = len(content)
    if document is not None and rng.random() < 0.8:
        pixels = [span.value for span in document.top if span.tag == PIXEL_DATA]
        limit = min(limit, len(document.head) + min(pixels, default=limit) + 64)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        place = rng.randrange(128 if limit > 128 else 0, limit) if limit else 0
        bit = 1 << rng.randrange(8)
        if place < len(content):
            content[place] ^= bit
            _touch(case, document, place, place + 1, f"bit {bit:#x} flipped at {place}")
    case.content = bytes(content)


def _overwrite(case: Case, document: Document | None, rng: Random) -> None:
    size = len(case.content)
    start, length = rng.randrange(size or 1), rng.choice((1, 2, 4, 16, 64, 512))
    stop = min(size, start + length)
    fill = rng.choice((b"\0", b"\xff", b" ", None))
    new = rng.randbytes(stop - start) if fill is None else fill * (stop - start)
    _touch(case, document, start, stop, f"bytes {start}:{stop} overwritten")
    case.content = case.content[:start] + new + case.content[stop:]


def _lose_block(case: Case, document: Document | None, rng: Random) -> None:
    size = len(case.content)
    start = rng.randrange(size or 1)
    stop = min(size, start + rng.choice((1, 2, 8, 100, 512)))
    repeat = rng.random() < 0.4
    step = f"bytes {start}:{stop} {'doubled' if repeat else 'lost'}"
    _touch(case, document, start, stop if document is None else size, step)
    _all_framed(case)
    kept = case.content[start:stop] * 2 if repeat else b""
    case.content = case.content[:start] + kept + case.content[stop:]


def _truncate(case: Case, document: Document | None, rng: Random) -> None:
    size = len(case.content)
    places = [0, 1, 127, 128, 131, 132, 133, 140, size - 1, size - 2, size - 8, size // 2]
    if document is not None:
        base = len(document.head)
        for span in rng.sample(document.spans, min(8, len(document.spans))):
            places += [span.start, span.start + 5, span.value, (span.value + span.end) // 2]
            places[-4:] = [place + base for place in places[-4:]]
    place = max(0, min(rng.choice([*places, rng.randrange(size or 1)]), size))
    _touch(case, document, place, size, f"cut at {place} of {size}")
    _all_framed(case)
    case.content = case.content[:place]


def _append(case: Case, document: Document | None, rng: Random) -> None:
    tail = rng.choice(
        (b"\0" * rng.choice((1, 8, 512)), rng.randbytes(rng.choice((1, 7, 100))), case.content)
    )
    case.note(f"{len(tail)} bytes appended")
    case.content += tail


def _change_start(case: Case, document: Document | None, rng: Random) -> None:
    way = rng.choice(("no preamble", "no preamble, no meta", "garbage preamble", "prefixed"))
    meta = len(document.head) if document else 132
    case.note(way, ANY if "meta" in way and document and document.deflated else _SYNTAX)
    if way == "prefixed":
        case.content = rng.randbytes(rng.choice((1, 2, 128))) + case.content
    elif way == "garbage preamble":
        case.content = rng.randbytes(128) + case.content[128:]
    else:
        case.content = case.content[132 if way == "no preamble" else meta :]


_OF_BYTES = (_flip_bits, _flip_bits, _overwrite, _lose_block, _truncate, _append, _change_start)


# Elements


def _some(document: Document, rng: Random, *, top: bool = False) -> Span:
    """An element, one that matters more often than another."""
    spans = document.top if top else document.spans
    known = {tag for tag, _ in _WANTED}
    telling = [span for span in spans if span.tag in known]
    return rng.choice(telling if telling and rng.random() < 0.6 else spans)


def _length(case: Case, document: Document, rng: Random) -> None:
    span = _some(document, rng)
    now = span.end - span.value
    kinds = (now - 1, now + 1, now - 2, now + 2, 0, 2 * now, 0xFFFF, 0xFFFE, 10_000, 1)
    wide = (UNDEFINED, UNDEFINED - 1, 0x7FFFFFFF, 0x80000000, 1 << 20)
    value = rng.choice((*kinds, *wide) if span.length_width == 4 else kinds)
    value = max(0, value) & (UNDEFINED if span.length_width == 4 else 0xFFFF)
    case.note(f"length of {span.tag:08X} {now} -> {value}", span.tag, framing=True)
    code = document.order + ("L" if span.length_width == 4 else "H")
    case.put(document, span.length_at, span.length_at + span.length_width, struct.pack(code, value))


def _vr(case: Case, document: Document, rng: Random) -> None:
    span = _some(document, rng)
    new = rng.choice((*_ALL_VRS, b"XX", b"us", b"\0\0", b"??", b"ZZ"))
    case.note(f"VR of {span.tag:08X} {span.vr!r} -> {new!r}", span.tag, framing=True)
    case.put(document, span.start + 4, span.start + 6, new)


def _tag(case: Case, document: Document, rng: Random) -> None:
    span = _some(document, rng)
    choices = (span.tag + 1, span.tag ^ 0x10000, 0, ITEM, SEQUENCE_END, PIXEL_DATA, UNDEFINED)
    new = rng.choice((*choices, rng.choice(_WANTED)[0], rng.getrandbits(32))) & UNDEFINED
    case.note(f"tag {span.tag:08X} -> {new:08X}", span.tag, new, framing=True)
    packed = struct.pack(document.order + "HH", new >> 16, new & 0xFFFF)
    case.put(document, span.start, span.start + 4, packed)


def _delete(case: Case, document: Document, rng: Random) -> None:
    span = _some(document, rng)
    case.note(f"{span.tag:08X} deleted", span.tag, framing=True)
    case.put(document, span.start, span.end, b"")


def _double(case: Case, document: Document, rng: Random) -> None:
    span, place = _some(document, rng, top=True), rng.choice(document.top).start
    case.note(f"{span.tag:08X} doubled at {place}", span.tag, framing=True)
    case.put(document, place, place, document.body[span.start : span.end])


def _reorder(case: Case, document: Document, rng: Random) -> None:
    spans = document.top[:-1] if document.top[-1].tag == PIXEL_DATA else document.top
    way = rng.choice(("swapped", "moved to the front", "moved behind the pixels", "reversed"))
    parts = [document.body[span.start : span.end] for span in spans]
    rest = document.body[spans[-1].end :] if spans else b""
    a, b = rng.randrange(len(parts) or 1), rng.randrange(len(parts) or 1)
    if way == "swapped":
        parts[a], parts[b] = parts[b], parts[a]
    elif way == "reversed":
        parts.reverse()
    elif way == "moved to the front":
        parts.insert(0, parts.pop(a))
    else:
        rest += parts.pop(a)
    step = f"elements {way} ({spans[a].tag:08X}, {spans[b].tag:08X})"
    case.note(step, spans[a].tag, spans[b].tag, framing=True)
    case.put(document, 0, len(document.body), b"".join(parts) + rest)


def _extreme(vr: bytes, order: str, rng: Random) -> bytes:
    """A value nobody expects, of a representation; sometimes of none."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.choice((0, 1, 3, 6, 200)))
    if vr in (b"FD", b"FL"):
        number = rng.choice((float("nan"), float("inf"), 1e30, -1.0, 0.0, 1e-30))
        return struct.pack(order + ("d" if vr == b"FD" else "f"), number) * rng.choice((1, 3, 6))
    if vr in (b"US", b"SS", b"AT"):
        return struct.pack(order + "H", rng.choice(_SHORTS)) * rng.choice((1, 1, 1, 2, 0))
    if vr in (b"UL", b"SL"):
        return struct.pack(order + "L", rng.choice((0, 1, 65536, UNDEFINED, 1 << 31)))
    if vr in (b"DS", b"IS"):
        return _padded(rng.choice(_NUMBERS))
    return _padded(rng.choice(_WORDS))


def _padded(text: str) -> bytes:
    value = text.encode("latin-1")
    return value + b" " * (len(value) % 2)


def _rewrite(document: Document, span: Span, value: bytes, vr: bytes | None = None) -> bytes:
    vr = span.vr if vr is None else vr
    return element(span.tag, vr, value, explicit=document.explicit, order=document.order)


def _misleads(document: Document, span: Span, value: bytes) -> bool:
    """Whether another value no longer fits a length that is stated around the element."""
    if len(value) == span.end - span.value:
        return False
    outer = [s for s in document.spans if s.start < span.start and s.end >= span.end]
    ends = (document.body[s.length_at : s.length_at + s.length_width] for s in outer)
    return any(length != b"\xff" * 4 for length in ends)


def _value(case: Case, document: Document, rng: Random) -> None:
    span = _some(document, rng)
    vr = span.vr or dict(_WANTED).get(span.tag, b"LO")
    value = _extreme(vr, document.order, rng)
    framing = _misleads(document, span, value)
    case.note(f"value of {span.tag:08X} -> {value[:40]!r}", span.tag, framing=framing)
    case.put(document, span.start, span.end, _rewrite(document, span, value))


def _wanted(case: Case, document: Document, rng: Random) -> None:
    """Sets an element that matters, whether or not it was there."""
    tag, vr = rng.choice(_WANTED)
    value = _extreme(vr, document.order, rng)
    case.note(f"{tag:08X} set to {value[:40]!r}", tag)
    document.put(tag, vr, value)
    case.content = document.joined()


def _swap_values(case: Case, document: Document, rng: Random) -> None:
    a, b = sorted(rng.choices(document.top, k=2), key=lambda span: span.start)
    if a is b or PIXEL_DATA in (a.tag, b.tag):
        return _value(case, document, rng)
    of_a, of_b = document.value_of(a), document.value_of(b)
    between = document.body[a.end : b.start]
    new = _rewrite(document, a, of_b) + between + _rewrite(document, b, of_a)
    case.note(f"values of {a.tag:08X} and {b.tag:08X} swapped", a.tag, b.tag)
    return case.put(document, a.start, b.end, new)


def _siblings_value(case: Case, document: Document, rng: Random) -> None:
    """What another file of the series says: a place, a number or a UID that is taken."""
    other = take_apart(rng.choice(case.siblings))
    assert other is not None
    known = {tag for tag, _ in _WANTED}
    span = rng.choice([s for s in document.spans if s.tag in known] or document.top)
    same = [s for s in other.spans if (s.tag, s.depth) == (span.tag, span.depth)]
    if not same or other.explicit != document.explicit or other.little != document.little:
        return _value(case, document, rng)
    value = other.value_of(rng.choice(same))
    framing = _misleads(document, span, value)
    case.note(f"{span.tag:08X} as in a sibling, {value[:40]!r}", span.tag, framing=framing)
    return case.put(document, span.start, span.end, _rewrite(document, span, value))


def _digit(case: Case, document: Document, rng: Random) -> None:
    """One digit of a number changed, as valid as before."""
    spans = [s for s in document.spans if s.vr in (b"DS", b"IS", b"UI") and s.end > s.value]
    if not spans:
        return _value(case, document, rng)
    span = rng.choice(spans)
    place = rng.randrange(span.value, span.end)
    new = str(rng.randrange(10)).encode()
    case.note(f"digit {place - span.value} of {span.tag:08X} -> {new.decode()}", span.tag)
    return case.put(document, place, place + 1, new)


def _other_vr(case: Case, document: Document, rng: Random) -> None:
    """The same value in another representation than the dictionary's."""
    span = rng.choice([s for s in document.top if s.vr in (b"US", b"DS", b"IS")] or document.top)
    order, value = document.order, document.value_of(span)
    try:
        if span.vr == b"US":
            number = struct.unpack(order + "H", value[:2])[0]
            text, long = _padded(str(number)), struct.pack(order + "L", number)
            vr, new = rng.choice(((b"IS", text), (b"DS", text), (b"UL", long), (b"SL", long)))
        else:
            numbers = [float(part) for part in value.decode("ascii").strip(" \0").split("\\")]
            vr = rng.choice((b"FD", b"FL", b"LO", b"UN"))
            new = value
            if vr in (b"FD", b"FL"):
                code = "d" if vr == b"FD" else "f"
                new = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
    except (ValueError, struct.error):
        return _value(case, document, rng)
    case.note(f"{span.tag:08X} as {vr.decode()}", span.tag)
    return case.put(document, span.start, span.end, _rewrite(document, span, new, vr))


def _insert(case: Case, document: Document, rng: Random) -> None:
    """An element that is strange but allowed, or nearly so."""
    order, explicit = document.order, document.explicit
    place = rng.choice(document.top).start
    ends = struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)
    item = struct.pack(order + "HHL", 0xFFFE, 0xE000, UNDEFINED)
    item_end = struct.pack(order + "HHL", 0xFFFE, 0xE00D, 0)
    opened = struct.pack(order + "HH", 0x0009, 0x1010)
    sequence = opened + (b"SQ\0\0" if explicit else b"") + b"\xff" * 4
    unknown = opened + (b"UN\0\0" if explicit else b"") + b"\xff" * 4
    inner = element(0x00080060, b"CS", b"MR", explicit=False)
    deep = rng.choice((1, 3, 40, 500, 5000))
    name, new = rng.choice(
        (
            (f"sequences nested {deep} deep", (sequence + item) * deep + (item_end + ends) * deep),
            ("UN of undefined length", unknown + item + inner + item_end + ends),
            ("a sequence without end", sequence + item),
            ("a private element of 1 MB", element(0x00091010, b"OB", bytes(1 << 20))),
            (
                "group length",
                element(rng.choice(document.top).tag & 0xFFFF0000, b"UL", b"\1\0\0\0"),
            ),
            ("trailing padding", element(0xFFFCFFFC, b"OB", bytes(64))),
            ("an item delimiter", item_end),
            ("eight zeros", bytes(8)),
        )
    )
    case.note(f"{name} inserted at {place}", framing=True)
    case.put(document, place, place, new)


def _syntax_lie(case: Case, document: Document, rng: Random) -> None:
    span = next(s for s in document.head_spans if s.tag == _SYNTAX)
    new = rng.choice((*_SYNTAXES, "1.2.840.113619.5.2", "", "1.2.3", "x" * 70)).encode()
    new += b"\0" * (len(new) % 2)
    case.note(f"transfer syntax said to be {new.decode()}", _SYNTAX)
    packed = element(_SYNTAX, b"UI", new)
    case.content = document.head[: span.start] + packed + case.content[span.end :]


def _encoding_lie(case: Case, document: Document, rng: Random) -> None:
    """The data set in another encoding than the file says."""
    try:
        dataset = dcmread(io.BytesIO(case.content), force=True)
        for data in dataset.iterall():
            data.value  # noqa: B018 - read before the encoding changes
        stream = DicomBytesIO()
        stream.is_implicit_VR = not document.explicit if rng.random() < 0.5 else document.explicit
        stream.is_little_endian = not document.little
        if stream.is_implicit_VR == document.explicit:
            stream.is_little_endian = document.little
        write_dataset(stream, dataset)
    # pydicom refuses some of what was mutated before; any refusal will do.
    except Exception:  # noqa: BLE001
        return _value(case, document, rng)
    kind = "implicit" if stream.is_implicit_VR else "explicit"
    case.note(f"encoded as {kind}, little endian {stream.is_little_endian}", PIXEL_DATA, _SYNTAX)
    document.body = stream.getvalue()
    case.content = document.joined()
    return None


_OF_ELEMENTS = (
    *(_length, _length, _vr, _tag, _delete, _delete, _double, _reorder, _value, _value, _value),
    *(_wanted, _wanted, _wanted, _swap_values, _other_vr, _insert, _syntax_lie, _encoding_lie),
    *(_siblings_value, _siblings_value, _digit),
)


# Compressed pixel data


def _fragments(document: Document) -> list[Span]:
    """The items of encapsulated pixel data, the offset table first."""
    pixels = next((span for span in document.top if span.tag == PIXEL_DATA), None)
    if pixels is None:
        return []
    return [s for s in document.spans if s.depth == 1 and pixels.start < s.start and s.tag == ITEM]


def _move_fragments(case: Case, document: Document, rng: Random) -> None:
    items = _fragments(document)
    parts = [document.body[item.start : item.end] for item in items]
    a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
    empty = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    way = rng.choice(("lost", "doubled", "swapped", "emptied", "added", "end lost", "split"))
    rest = document.body[items[-1].end :]
    if way == "lost":
        del parts[a]
    elif way == "doubled":
        parts.insert(b, parts[a])
    elif way == "swapped":
        parts[a], parts[b] = parts[b], parts[a]
    elif way == "emptied":
        parts[a] = empty
    elif way == "added":
        parts.insert(a, empty)
    elif way == "end lost":
        rest = rest[8:]
    else:
        value = parts[a][8:]
        middle = len(value) // 4 * 2
        parts[a] = b"".join(
            struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part
            for part in (value[:middle], value[middle:])
        )
    case.note(f"fragment {a} {way}", PIXEL_DATA, framing=way != "swapped")
    case.put(document, items[0].start, len(document.body), b"".join(parts) + rest)


def _offset_table(case: Case, document: Document, rng: Random) -> None:
    table = _fragments(document)[0]
    count = rng.choice((0, 1, 2, 3, 1000))
    offsets = [rng.choice((0, 0, 8, 100, UNDEFINED, rng.randrange(4000))) for _ in range(count)]
    new = struct.pack(f"<HHL{count}L", 0xFFFE, 0xE000, 4 * count, *offsets)
    case.note(f"offset table {offsets[:4]}", PIXEL_DATA)
    case.put(document, table.start, table.end, new)


def _codestream(case: Case, document: Document, rng: Random) -> None:
    items = [item for item in _fragments(document)[1:] if item.end > item.value]
    if not items:
        return _offset_table(case, document, rng)
    item = rng.choice(items)
    stream = bytearray(document.body[item.value : item.end])
    # Its beginning holds the tables and sizes that a decoder trusts.
    limit = len(stream) if rng.random() < 0.5 else min(len(stream), 96)
    way = rng.choice(("bytes", "bytes", "zeros", "marker", "cut", "noise"))
    start = rng.randrange(limit)
    if way == "bytes":
        for _ in range(rng.choice((1, 2, 16))):
            stream[rng.randrange(limit)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    elif way == "zeros":
        stop = min(len(stream), start + rng.choice((4, 32, 256)))
        stream[start:stop] = bytes(stop - start)
    elif way == "marker":
        stream[start : start + 2] = bytes((0xFF, rng.randrange(0x4F, 0x100)))
    elif way == "cut":
        stream[start:] = bytes(len(stream) - start)
    else:
        stream[:] = rng.randbytes(len(stream))
    case.note(f"codestream: {way} from {start}", PIXEL_DATA)
    return case.put(document, item.value, item.end, bytes(stream[: item.end - item.value]))


_OF_FRAGMENTS = (_move_fragments, _offset_table, _codestream, _codestream, _codestream)
