"""Files that are written otherwise than they say, or than the standard wants: read, and said."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sadmil_core.dicom import SkipReason, WarningCode, index_folder
from tests.fuzzing.layout import Document, element, take_apart
from tests.synthetic import encoded_hu, load, only_entry, set_to, write_series

if TYPE_CHECKING:
    from collections.abc import Callable

HU = encoded_hu(6)
PLAIN = ("explicit", "implicit", "big endian")
STATED = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
}


def _rewrite(folder: Path, change: Callable[[Document], bytes | None], **options: object) -> None:
    """Writes a series and changes the bytes of each file; None for the document's own."""
    for path in write_series(folder, **options):  # type: ignore[arg-type]
        document = take_apart(path.read_bytes())
        assert document is not None
        changed = change(document)
        path.write_bytes(document.joined() if changed is None else changed)


def _meta(syntax: UID | None) -> bytes:
    """Preamble and file meta information that state this syntax, or none."""
    elements = element(0x00020002, b"UI", CTImageStorage.encode() + b"\0")
    if syntax is not None:
        value = syntax.encode()
        elements += element(0x00020010, b"UI", value + b"\0" * (len(value) % 2))
    length = element(0x00020000, b"UL", struct.pack("<L", len(elements)))
    return bytes(128) + b"DICM" + length + elements


def _check(folder: Path, *codes: WarningCode) -> None:
    volume = load(folder)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.entry.warning_codes == tuple(sorted(codes))


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("real", PLAIN)
def test_a_data_set_is_read_as_it_is_whatever_syntax_is_stated(
    tmp_path: Path, real: str, stated: str
) -> None:
    _rewrite(tmp_path, lambda d: _meta(STATED[stated]) + d.body, syntax=real)
    _check(tmp_path, *([] if real == stated else [WarningCode.WRONG_SYNTAX]))


@pytest.mark.parametrize("real", PLAIN)
def test_a_file_that_states_no_syntax_is_read_as_it_looks(tmp_path: Path, real: str) -> None:
    _rewrite(tmp_path, lambda d: _meta(None) + d.body, syntax=real)
    _check(tmp_path, WarningCode.WRONG_SYNTAX)


@pytest.mark.parametrize("real", PLAIN)
def test_a_bare_data_set_is_read(tmp_path: Path, real: str) -> None:
    _rewrite(tmp_path, lambda d: d.body, syntax=real)
    _check(tmp_path, WarningCode.NO_PREAMBLE)


@pytest.mark.parametrize("real", PLAIN)
def test_meta_information_without_a_preamble_is_read(tmp_path: Path, real: str) -> None:
    _rewrite(tmp_path, lambda d: d.joined()[132:], syntax=real)
    _check(tmp_path, WarningCode.NO_PREAMBLE)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "rle"])
def test_a_preamble_without_meta_information(tmp_path: Path, syntax: str) -> None:
    """Native pixels can be read as they look; of compressed ones nothing says how."""
    _rewrite(tmp_path, lambda d: d.head[:132] + d.body, syntax=syntax)
    if syntax != "rle":
        _check(tmp_path, WarningCode.WRONG_SYNTAX)
        return
    index = index_folder(tmp_path)
    assert {file.reason for file in index.skipped} == {SkipReason.UNSUPPORTED_SYNTAX}
    assert index.skipped[0].message == "compressed, and does not say how"


@pytest.mark.parametrize("length", [0, 1 << 31, 4])
def test_the_stated_length_of_the_meta_information_is_not_trusted(
    tmp_path: Path, length: int
) -> None:
    def change(document: Document) -> bytes:
        head = document.head
        at = head.index(b"\x02\x00\x00\x00UL\x04\x00") + 8
        return head[:at] + struct.pack("<L", length) + head[at + 4 :] + document.body

    _rewrite(tmp_path, change)
    _check(tmp_path)


def test_meta_information_that_is_cut_off_is_damage_not_another_file(tmp_path: Path) -> None:
    _rewrite(tmp_path, lambda d: d.head[:-9] + d.body)
    index = index_folder(tmp_path)
    assert index.entries == ()
    assert len(index.failures) == 6


def test_a_private_encoding_of_big_endian_words_is_read(tmp_path: Path) -> None:
    _rewrite(tmp_path, lambda d: None, syntax="ge private")
    _check(tmp_path)


WRONG_VRS: dict[str, tuple[int, bytes, Callable[[str, int], bytes]]] = {
    "Rows as IS": (0x00280010, b"IS", lambda order, z: b"6 "),
    "Rows as UL": (0x00280010, b"UL", lambda order, z: struct.pack(order + "L", 6)),
    "Rows as DS": (0x00280010, b"DS", lambda order, z: b"6.0 "),
    "Columns as SL": (0x00280011, b"SL", lambda order, z: struct.pack(order + "l", 8)),
    "Columns as FD": (0x00280011, b"FD", lambda order, z: struct.pack(order + "d", 8)),
    "BitsStored as LO": (0x00280101, b"LO", lambda order, z: b"16"),
    "position as FD": (
        0x00200032,
        b"FD",
        lambda order, z: struct.pack(order + "3d", -120, -118, 40 + 5 * z),
    ),
    "position as FL": (
        0x00200032,
        b"FL",
        lambda order, z: struct.pack(order + "3f", -120, -118, 40 + 5 * z),
    ),
    "position as LO": (0x00200032, b"LO", lambda order, z: f"-120\\-118\\{40 + 5 * z}".encode()),
    "position as UN": (0x00200032, b"UN", lambda order, z: f"-120\\-118\\{40 + 5 * z}".encode()),
    "orientation as FD": (
        0x00200037,
        b"FD",
        lambda order, z: struct.pack(order + "6d", 1, 0, 0, 0, 1, 0),
    ),
    "spacing as FL": (0x00280030, b"FL", lambda order, z: struct.pack(order + "2f", 0.5, 0.75)),
    "intercept as FD": (0x00281052, b"FD", lambda order, z: struct.pack(order + "d", 0)),
    "intercept as IS": (0x00281052, b"IS", lambda order, z: b"0 "),
    "intercept of digits as SS": (0x00281052, b"SS", lambda order, z: b"0 "),
    "slope of digits as FL": (0x00281053, b"FL", lambda order, z: b"1.00"),
    "slope as US": (0x00281053, b"US", lambda order, z: struct.pack(order + "H", 1)),
    "number as US": (0x00200013, b"US", lambda order, z: struct.pack(order + "H", z)),
    "modality as LO": (0x00080060, b"LO", lambda order, z: b"CT"),
    "a series UID padded with blanks": (0x0020000E, b"UI", lambda order, z: b"1.2.3 "),
    "a representation of no standard": (0x00181030, b"ZZ", lambda order, z: b"protocol"),
    "a sequence as UN": (0x00081140, b"UN", lambda order, z: b""),
}


@pytest.mark.parametrize("syntax", ["explicit", "big endian"])
@pytest.mark.parametrize("name", WRONG_VRS)
def test_a_value_in_another_representation_means_the_same(
    tmp_path: Path, name: str, syntax: str
) -> None:
    tag, vr, value = WRONG_VRS[name]
    positions = iter(range(6))

    def change(document: Document) -> None:
        document.put(tag, vr, value(document.order, next(positions)))

    _rewrite(tmp_path, change, syntax=syntax)
    _check(tmp_path)
    geometry = only_entry(index_folder(tmp_path)).geometry
    assert geometry.row_spacing_mm == 0.5
    assert geometry.position_mm == tuple(range(40, 70, 5))


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big endian", "rle"])
def test_a_huge_private_element_is_stepped_over(tmp_path: Path, syntax: str) -> None:
    """Longer than all that is read of a header at first, before and after what is wanted."""

    def change(document: Document) -> None:
        document.put(0x00091001, b"OB", b"\x5a" * 300_000)
        again = take_apart(document.joined())
        assert again is not None
        again.put(0x50001001, b"UN", bytes(range(256)) * 500)
        document.body = again.body

    options = {"hu": encoded_hu(3, 32, 32), "syntax": syntax}
    _rewrite(tmp_path, change, **options)
    np.testing.assert_array_equal(load(tmp_path).hu, encoded_hu(3, 32, 32))


def _opened(document: Document, tag: int, vr: bytes) -> bytes:
    """The head of an element of undefined length."""
    head = struct.pack(document.order + "HH", tag >> 16, tag & 0xFFFF)
    return head + (vr + b"\0\0" if document.explicit else b"") + b"\xff" * 4


def _nested(document: Document, vr: bytes, depth: int) -> bytes:
    """Sequences in sequences of undefined length, and in the innermost a modality of another."""
    order = document.order
    item = struct.pack(order + "HH", 0xFFFE, 0xE000) + b"\xff" * 4
    ends = struct.pack(order + "HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    # In an UN of undefined length all is implicit (PS3.5 section 6.2.2, note 2).
    explicit = document.explicit and vr != b"UN"
    inner = element(0x00080060, b"CS", b"MR", explicit=explicit, order=order)
    bare = Document(b"", b"", explicit=explicit, little=document.little)
    opened = _opened(document, 0x00091010, vr) + item
    return opened + (_opened(bare, 0x00091010, b"SQ") + item) * (depth - 1) + inner + ends * depth


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
@pytest.mark.parametrize("depth", [1, 3, 20])
def test_nested_sequences_of_undefined_length_are_followed(
    tmp_path: Path, depth: int, vr: bytes, syntax: str
) -> None:
    """And what stands in them is not taken for the image's own."""

    def change(document: Document) -> None:
        at = next(span.start for span in document.top if span.tag > 0x00091010)
        new = _nested(document, vr, depth)
        document.body = document.body[:at] + new + document.body[at:]

    _rewrite(tmp_path, change, syntax=syntax)
    _check(tmp_path)


def test_sequences_nested_without_end_are_damage_and_trap_nobody(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document.body = _nested(document, b"SQ", 5000) + document.body

    _rewrite(tmp_path, change, slices=1)
    (skipped,) = index_folder(tmp_path).skipped
    assert skipped.reason is SkipReason.DAMAGED
    assert skipped.message == "damaged header (sequences nested too deep)"


def test_implicit_elements_in_the_midst_of_an_explicit_file_are_read_and_said(
    tmp_path: Path,
) -> None:
    def change(document: Document) -> None:
        spans = [s for s in document.top if s.tag >> 16 == 0x0020]
        parts = [element(s.tag, b"", document.value_of(s), explicit=False) for s in spans]
        start, stop = spans[0].start, spans[-1].end
        document.body = document.body[:start] + b"".join(parts) + document.body[stop:]

    _rewrite(tmp_path, change)
    _check(tmp_path, WarningCode.WRONG_SYNTAX)


def test_elements_behind_the_pixels_do_not_matter_but_bytes_do(tmp_path: Path) -> None:
    trailer = element(0xFFFCFFFC, b"OB", bytes(30))
    _rewrite(tmp_path / "a", lambda d: d.joined() + trailer)
    _check(tmp_path / "a")
    _rewrite(tmp_path / "b", lambda d: d.joined() + b"\x11" * 30)
    _check(tmp_path / "b", WarningCode.EXTRA_BYTES)


def test_more_pixel_bytes_than_the_image_has_are_said(tmp_path: Path) -> None:
    def double(dataset: object, z: int) -> None:
        dataset.PixelData += bytes(96)  # type: ignore[attr-defined]

    write_series(tmp_path, change=double)
    _check(tmp_path, WarningCode.EXTRA_BYTES)


def test_each_warning_of_an_odd_file_is_a_sentence_with_its_share(tmp_path: Path) -> None:
    write_series(tmp_path)
    for name in ("slice-001.dcm", "slice-004.dcm"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[132:])
    (warning,) = only_entry(index_folder(tmp_path)).warnings
    assert warning.message == "2 slice(s): files without DICOM's preamble"
    write_series(tmp_path / "all", change=set_to(RescaleType="US"))
    (warning,) = only_entry(index_folder(tmp_path / "all")).warnings
    assert warning.message == "RescaleType is not HU: values may not be Hounsfield units"
