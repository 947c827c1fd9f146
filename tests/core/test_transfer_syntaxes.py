"""Every transfer syntax, every layout of stored values: the same HU, or a coded no."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sadmil_core.bench.codestreams import COMPRESSED
from sadmil_core.dicom import SkipReason, index_folder
from sadmil_core.errors import DecodeError
from tests.encoders import (
    ENCAPSULATED_UNCOMPRESSED,
    LOSSLESS,
    LOSSY,
    UNREADABLE,
    WITH_SIGN,
    Encoding,
    noisy_head,
)
from tests.synthetic import load, set_to, write_series
from tests.transfer_syntax_table import README, render_table, table_in

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

ENCAPSULATED = [
    name for name, uid in LOSSLESS.items() if uid in {*COMPRESSED, ENCAPSULATED_UNCOMPRESSED}
]
FRAGMENTABLE = [name for name in ENCAPSULATED if name != "rle"]  # PS3.5 A.4.2: RLE has one each
SIGNED_STREAMS = [name for name, uid in LOSSLESS.items() if uid in WITH_SIGN]
# JPEG and JPEG-LS carry unsigned samples alone; RLE and native data are words.
WIDE_STREAMS = ["jpeg lossless", "jpeg lossless sv1", "jpeg-ls", "jpeg 2000", "htj2k", "rle"]


def _stored(bits: int, *, signed: bool, shape: tuple[int, int] = (33, 31)) -> NDArray[np.int64]:
    """(rows, columns) over all of the range, both of its ends in it, and a plain gradient."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = np.random.default_rng(bits).integers(low, high, shape, endpoint=True)
    values[0, :3] = low, high, 0
    values[1] = np.arange(shape[1])
    return values


def _written(
    folder: Path, stored: NDArray[np.int64], *, bits: int, signed: bool, **options: Any
) -> NDArray[np.int64]:
    """Writes one slice of these stored values at intercept -1024 HU; returns the HU it holds."""
    hu = np.clip(stored.astype(np.int64) - 1024, -32768, 32767)
    unclipped = (stored.astype(np.int64) - 1024)[None]
    write_series(folder, hu=unclipped, bits_stored=bits, signed=signed, intercept=-1024, **options)
    return hu


@pytest.mark.parametrize("shape", [(33, 31), (21, 40)], ids=str)
@pytest.mark.parametrize("bits", [8, 10, 12, 13, 15, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_encodings_keep_every_value(
    tmp_path: Path, syntax: str, signed: bool, bits: int, shape: tuple[int, int]
) -> None:
    stored = _stored(bits, signed=signed, shape=shape)
    hu = _written(tmp_path, stored, bits=bits, signed=signed, syntax=syntax)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu[0], hu)
    assert volume.hu.dtype == np.int16
    assert volume.entry.warnings == ()


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_eight_bit_words_are_read(tmp_path: Path, syntax: str, signed: bool) -> None:
    stored = _stored(8, signed=signed)
    options = {"bits": 8, "signed": signed, "bits_allocated": 8}
    hu = _written(tmp_path, stored, syntax=syntax, **options)
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("intercept", [-1024, -1000, 0, -1024.5])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_the_rescale_applies_to_what_was_decoded(
    tmp_path: Path, syntax: str, intercept: float
) -> None:
    hu = (noisy_head(20, 17, 2000) - 1000)[None] + intercept % 1
    write_series(tmp_path, hu=hu, syntax=syntax, intercept=intercept, bits_stored=13)
    np.testing.assert_array_equal(load(tmp_path).hu, hu)


@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_encodings_stay_within_their_error(tmp_path: Path, syntax: str) -> None:
    _, bits, limit = LOSSY[syntax]
    stored = noisy_head(48, 61, (1 << bits) - 1)
    options = {"bits": bits, "signed": False, "bits_allocated": 8 if bits == 8 else 16}
    hu = _written(tmp_path, stored, syntax=syntax, **options)
    error = load(tmp_path).hu[0].astype(int) - hu
    assert 0 < np.abs(error).max() <= limit
    assert abs(error.mean()) < 0.5


@pytest.mark.parametrize("syntax", ["jpeg-ls near-lossless", "jpeg 2000 lossy", "htj2k lossy"])
def test_lossy_encodings_keep_the_sign(tmp_path: Path, syntax: str) -> None:
    """JPEG-LS has no sign: -1 is its largest sample and must not come back as 0 or above."""
    _, bits, limit = LOSSY[syntax]
    stored = noisy_head(48, 61, 2000) - 1000
    stored[:4] = -1
    hu = _written(tmp_path, stored, bits=bits, signed=True, syntax=syntax)
    error = load(tmp_path).hu[0].astype(int) - hu
    assert np.abs(error).max() <= limit


@pytest.mark.parametrize("offsets", ["basic", "empty", "extended"])
@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_any_offset_table_will_do(tmp_path: Path, syntax: str, offsets: str) -> None:
    stored = _stored(12, signed=True)
    encoding = Encoding(offsets=offsets)
    hu = _written(tmp_path, stored, bits=12, signed=True, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("offsets", ["basic", "empty"])
@pytest.mark.parametrize("fragments", [2, 5])
@pytest.mark.parametrize("syntax", FRAGMENTABLE)
def test_a_frame_may_lie_in_several_fragments(
    tmp_path: Path, syntax: str, fragments: int, offsets: str
) -> None:
    stored = _stored(12, signed=True)
    encoding = Encoding(offsets=offsets, fragments=fragments)
    hu = _written(tmp_path, stored, bits=12, signed=True, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("stream_signed", [False, True], ids=["stream unsigned", "stream signed"])
@pytest.mark.parametrize("signed", [False, True], ids=["header unsigned", "header signed"])
@pytest.mark.parametrize("syntax", SIGNED_STREAMS)
def test_the_header_not_the_codestream_says_whether_values_are_signed(
    tmp_path: Path, syntax: str, signed: bool, stream_signed: bool, bits: int
) -> None:
    """Both ways round: archives have CT whose JPEG 2000 codestreams say the other sign."""
    stored = _stored(bits, signed=signed)
    encoding = Encoding(signed=stream_signed)
    hu = _written(tmp_path, stored, bits=bits, signed=signed, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("precision", [13, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", WIDE_STREAMS)
def test_a_codestream_may_state_more_bits_than_are_stored(
    tmp_path: Path, syntax: str, signed: bool, precision: int
) -> None:
    """Encoders that look at the words rather than at BitsStored write 16."""
    stored = _stored(12, signed=signed)
    encoding = Encoding(precision=precision)
    hu = _written(tmp_path, stored, bits=12, signed=signed, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", ["jpeg 2000", "jpeg-ls"])
def test_a_codestream_may_state_fewer_bits_than_are_stored(
    tmp_path: Path, syntax: str, signed: bool
) -> None:
    """The sign then stands at the codestream's highest bit, not at BitsStored's."""
    stored = _stored(12, signed=signed)
    encoding = Encoding(precision=12)
    hu = _written(tmp_path, stored, bits=16, signed=signed, syntax=syntax, encoding=encoding)
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", [*WIDE_STREAMS, "encapsulated uncompressed"])
def test_bits_above_the_stored_ones_are_ignored_in_compressed_words_too(
    tmp_path: Path, syntax: str, signed: bool
) -> None:
    """Retired overlays lie in the unused bits, and encoders of 16-bit words keep them."""
    stored = _stored(12, signed=signed)
    words = (stored & 0xFFF) | np.where(np.indices(stored.shape).sum(axis=0) % 3 == 0, 0xA000, 0)

    def with_overlay(dataset: Dataset, z: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelRepresentation = int(signed)

    _written(tmp_path, words, bits=16, signed=False, syntax=syntax, change=with_overlay)
    np.testing.assert_array_equal(load(tmp_path).hu[0], stored - 1024)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_padding_becomes_air(tmp_path: Path, syntax: str) -> None:
    stored = _stored(12, signed=True)
    stored[stored == -2000] = 0
    stored[10:20, 3:9] = -2000
    hu = _written(tmp_path, stored, bits=13, signed=True, syntax=syntax, padding=-2000)
    hu[10:20, 3:9] = -1000
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("syntax", [*WIDE_STREAMS, "explicit", "ge private"])
def test_padding_of_all_16_bits_is_found_in_compressed_words_too(
    tmp_path: Path, syntax: str
) -> None:
    """Some scanners pad 12-bit images with 63536: cut to 12 bits that would be dense bone."""
    stored = _stored(12, signed=False)
    stored[10:20, 3:9] = 63536
    change = set_to(BitsStored=12, HighBit=11)
    options = {"bits": 16, "signed": False, "padding": 63536, "change": change}
    hu = _written(tmp_path, stored, syntax=syntax, **options)
    hu[10:20, 3:9] = -1000
    np.testing.assert_array_equal(load(tmp_path).hu[0], hu)


@pytest.mark.parametrize("syntax", ["jpeg lossless sv1", "jpeg-ls", "jpeg 2000", "htj2k"])
def test_a_codestream_wider_than_the_words_is_an_error(tmp_path: Path, syntax: str) -> None:
    """16 bits cannot come out of 8: no decoder says so, and what they return is nonsense."""
    stored = _stored(8, signed=True)
    encoding = Encoding(precision=16)
    options = {"bits": 8, "signed": True, "bits_allocated": 8}
    hu = _written(tmp_path, stored, syntax=syntax, encoding=encoding, **options)
    try:
        volume = load(tmp_path)
    except DecodeError:
        return
    np.testing.assert_array_equal(volume.hu[0], hu)


@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_a_codestream_of_another_size_is_an_error(tmp_path: Path, syntax: str) -> None:
    stored = _stored(12, signed=False, shape=(16, 16))
    change = set_to(Rows=32, Columns=32)
    _written(tmp_path, stored, bits=12, signed=False, syntax=syntax, change=change)
    with pytest.raises(DecodeError, match="slice-000"):
        load(tmp_path)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_series_in_each_syntax_keeps_its_order(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, slices=7, rows=9, columns=11, syntax=syntax, shuffle_names=True)
    volume = load(tmp_path)
    expected = np.arange(7 * 9 * 11).reshape(7, 9, 11) - 1000
    np.testing.assert_array_equal(volume.hu, expected)


@pytest.mark.parametrize("syntax", ["jpeg extended", "jpeg lossless sv1", "jpeg-ls"])
def test_a_jpeg_codestream_without_its_end_is_an_error(tmp_path: Path, syntax: str) -> None:
    """Decoders fill in what is missing, and say nothing."""
    _written(tmp_path, noisy_head(48, 61, 4095), bits=12, signed=False, syntax=syntax)
    path = tmp_path / "slice-000.dcm"
    content = bytearray(path.read_bytes())
    end = content.rindex(b"\xff\xd9")
    content[end : end + 2] = b"\0\0"
    path.write_bytes(bytes(content))
    with pytest.raises(DecodeError, match="ends early"):
        load(tmp_path)


@pytest.mark.parametrize("syntax", UNREADABLE)
def test_other_syntaxes_are_skipped_with_a_code(tmp_path: Path, syntax: str) -> None:
    def relabel(dataset: Dataset, z: int) -> None:
        dataset.file_meta.TransferSyntaxUID = UNREADABLE[syntax]

    write_series(tmp_path, slices=2, syntax="rle", change=relabel)
    index = index_folder(tmp_path)
    assert index.entries == ()
    assert {file.reason for file in index.skipped} == {SkipReason.UNSUPPORTED_SYNTAX}


def test_the_readme_says_what_is_read() -> None:
    """`make syntax-table` writes it anew."""
    assert table_in(README.read_text(encoding="utf-8")) == render_table()
