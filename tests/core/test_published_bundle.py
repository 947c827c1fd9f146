from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadmil_core.errors import WeightsError
from sadmil_core.published.bundleindex import parse_index
from sadmil_core.published.crc32c import crc32c, unmask
from sadmil_core.published.sstable import read_table
from sadmil_core.published.tensorbundle import MAX_INDEX_BYTES, read_tensor_bundle
from sadmil_core.published.wire import MalformedError
from tests import tensorbundle_writer as writer
from tests.reference import published_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = "t.ckpt.data-00000-of-00001"


def _tensors() -> dict[str, NDArray[Any] | bytes]:
    rng = np.random.default_rng(1)
    return {
        "layer/a/kernel": rng.normal(size=(3, 5)).astype(np.float32),
        "layer/a/bias": rng.normal(size=4),
        "layer/b/kernel": rng.integers(-9, 9, size=(2, 1, 3)),
        "layer/b/half": rng.normal(size=3).astype(np.float16),
        "layer/b/mask": np.array([True, False]),
        "layer/empty": np.zeros((0, 3), dtype=np.float32),
        "step": np.array(41, dtype=np.int64),
        "text": b"not read",
    }


def _assert_same(found: dict[str, NDArray[Any]], expected: dict[str, Any]) -> None:
    wanted = {name: t for name, t in expected.items() if not isinstance(t, bytes)}
    assert sorted(found) == sorted(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        np.testing.assert_array_equal(found[name], tensor)


def _read_or_complaint(prefix: Path) -> dict[str, NDArray[Any]] | str:
    try:
        return read_tensor_bundle(prefix)
    except WeightsError as error:
        return str(error)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 3720, B.4; the last is the check value of the CRC catalogues.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc32c_vectors(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
    assert writer.crc32c_bytewise(data) == expected


def test_crc32c_of_every_length_agrees_with_the_bytewise_one() -> None:
    data = np.random.default_rng(0).bytes(300)
    assert all(crc32c(data[:n]) == writer.crc32c_bytewise(data[:n]) for n in range(300))


@given(st.integers(0, 0xFFFFFFFF))
def test_unmask_undoes_the_mask(crc: int) -> None:
    assert unmask(writer.masked(crc)) == crc


@pytest.mark.parametrize("per_block", [1, 3, 64])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("big_endian", [False, True])
def test_reads_what_was_written(
    tmp_path: Path, per_block: int, shards: int, big_endian: bool
) -> None:
    writer.write_bundle(
        tmp_path / "t.ckpt", _tensors(), per_block=per_block, shards=shards, big_endian=big_endian
    )
    _assert_same(read_tensor_bundle(tmp_path / "t.ckpt"), _tensors())
    _assert_same(read_tensor_bundle(tmp_path / "t.ckpt.index"), _tensors())


def test_prefix_compressed_keys_over_several_restarts(tmp_path: Path) -> None:
    tensors = {f"layer_with_weights-{i}/kernel": np.array(i) for i in range(100)}
    writer.write_bundle(tmp_path / "t.ckpt", tensors, per_block=40)
    _assert_same(read_tensor_bundle(tmp_path / "t.ckpt"), tensors)


def test_every_cut_and_flip_is_noticed(tmp_path: Path) -> None:
    """Either an error or the right tensors (a flip in padding or text changes nothing)."""
    prefix = tmp_path / "t.ckpt"
    writer.write_bundle(prefix, _tensors(), per_block=3)
    rng = np.random.default_rng(2)
    for path in (tmp_path / "t.ckpt.index", tmp_path / DATA):
        good = path.read_bytes()
        flips = [(i, 1 << int(rng.integers(8))) for i in range(len(good))]
        damaged = [good[:i] + bytes([good[i] ^ bit]) + good[i + 1 :] for i, bit in flips]
        damaged += [good[:n] for n in range(len(good))]
        noticed = 0
        for data in damaged:
            path.write_bytes(data)
            found = _read_or_complaint(prefix)
            if isinstance(found, str):
                assert str(path) in found
                noticed += 1
            else:
                _assert_same(found, _tensors())
        assert noticed > 0.9 * len(damaged)
        path.write_bytes(good)


def _bundle_of(tmp_path: Path, *entries: tuple[bytes, bytes]) -> Path:
    (tmp_path / DATA).write_bytes(bytes(64))
    (tmp_path / "t.ckpt.index").write_bytes(writer.table_bytes(list(entries)))
    return tmp_path / "t.ckpt"


HEADER = (b"", writer.header_message())
FLOATS = writer.entry_message(1, (16,), 0, 0, bytes(64))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (writer.entry_message(1, (16,), 0, 4, bytes(64)), "cut off"),
        (writer.entry_message(1, (16,), 0, 2**62, bytes(64)), "cut off"),
        (writer.entry_message(7, (), 0, 0, b"", size=65), "cut off"),
        (writer.entry_message(1, (16,), 0, 0, bytes(64), crc=0), "checksum of tensor t"),
        (writer.entry_message(1, (16,), 1, 0, bytes(64)), "data file 1 of 1"),
        (writer.entry_message(1, (15,), 0, 0, bytes(64)), "needs 60 bytes, not the 64"),
        (writer.entry_message(1, (2**40,), 0, 0, b"", size=2**42), "absurdly large"),
        (writer.entry_message(1, (0, 2**40), 0, 0, b""), "absurdly large"),
        (writer.entry_message(1, (2**63, 2), 0, 0, b""), "absurdly large"),
        (writer.entry_message(1, (1,) * 9, 0, 0, bytes(4)), "more than 8 dimensions"),
        (writer.entry_message(14, (16,), 0, 0, bytes(32)), "type has number 14"),
        (writer.number_field(1, 1) + writer.number_field(2, 3), "not a message"),
        (writer.bytes_field(1, b"x"), "not a number"),
        (FLOATS + writer.bytes_field(7, b""), "slices"),
        (writer.bytes_field(2, writer.number_field(3, 1)), "shape is unknown"),
        (b"\xff" * 11, "more than 64 bits"),
        (b"\x08", "1 bytes announced where 0 are left"),
        (b"\x12\x7f", "127 bytes announced"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x01", "field of number 0"),
    ],
)
def test_a_bad_entry_names_the_file_and_the_fault(
    tmp_path: Path, entry: bytes, message: str
) -> None:
    prefix = _bundle_of(tmp_path, HEADER, (b"t", entry))
    with pytest.raises(WeightsError, match=message) as caught:
        read_tensor_bundle(prefix)
    assert str(prefix) in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (writer.header_message(shards=0), "announces 0 data files"),
        (writer.header_message(shards=10**9), "announces 1000000000 data files"),
        (writer.header_message(endianness=2), "byte order is 2"),
        (writer.bytes_field(1, b"x"), "not a number"),
    ],
)
def test_a_bad_header_is_refused(tmp_path: Path, header: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_tensor_bundle(_bundle_of(tmp_path, (b"", header), (b"t", FLOATS)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "0 bytes, fewer"),
        (bytes(100), "magic"),
        (writer.table_bytes([(b"t", FLOATS)]), "no header entry"),
        (writer.table_bytes([HEADER], compression=1), "snappy"),
        (writer.table_bytes([HEADER], compression=9), "type 9"),
        (writer.table_bytes([HEADER, (b"t", FLOATS), (b"t", FLOATS)]), "not in order"),
        (writer.table_bytes([HEADER, (b"\xff", FLOATS)]), "cannot be a tensor's name"),
        (writer.raw_table_bytes([(b"p", b"")]), "without its restart count"),
        (writer.raw_table_bytes([(b"p", struct.pack("<I", 9))]), "announces 9 restarts"),
        (writer.raw_table_bytes([(b"p", b"\x05\x01\x00x" + bytes(4))]), "shares 5 bytes"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, table: bytes, message: str) -> None:
    (tmp_path / "t.ckpt.index").write_bytes(table)
    with pytest.raises(WeightsError, match=message) as caught:
        read_tensor_bundle(tmp_path / "t.ckpt")
    assert str(tmp_path / "t.ckpt.index") in str(caught.value)


def test_many_tensors_on_the_same_bytes_do_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / DATA).open("wb") as stream:
        stream.truncate(2**26)
    entry = writer.entry_message(4, (2**26,), 0, 0, b"", size=2**26)
    (tmp_path / "t.ckpt.index").write_bytes(
        writer.table_bytes([HEADER, *((f"{i}".encode(), entry) for i in range(9))])
    )
    with pytest.raises(WeightsError, match="at most"):
        read_tensor_bundle(tmp_path / "t.ckpt")


def test_a_huge_index_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "t.ckpt.index").open("wb") as stream:
        stream.truncate(2**33)
    with pytest.raises(WeightsError, match=f"larger than the {MAX_INDEX_BYTES}"):
        read_tensor_bundle(tmp_path / "t.ckpt")


def test_missing_files(tmp_path: Path) -> None:
    prefix = tmp_path / "t.ckpt"
    for place in (prefix, tmp_path, tmp_path / ("x" * 300), Path(), Path("/"), tmp_path / ".index"):
        with pytest.raises(WeightsError, match=r"does not exist|not the name"):
            read_tensor_bundle(place)
    writer.write_bundle(prefix, _tensors(), shards=2)
    (tmp_path / "t.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(WeightsError, match="data-00001-of-00002 does not exist"):
        read_tensor_bundle(prefix)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    writer.write_bundle(tmp_path / "t.ckpt", _tensors())
    (tmp_path / DATA).chmod(0)
    with pytest.raises(WeightsError, match="could not be read"):
        read_tensor_bundle(tmp_path / "t.ckpt")


def test_a_read_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write_bundle(tmp_path / "t.ckpt", _tensors())

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(WeightsError, match="could not be read: Input/output error"):
        read_tensor_bundle(tmp_path / "t.ckpt")


_pairs = st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=40)), max_size=6)


@settings(deadline=None, max_examples=200)
@given(_pairs)
def test_any_messages_parse_or_are_malformed(pairs: list[tuple[bytes, bytes]]) -> None:
    entries = sorted({HEADER[0]: HEADER[1], **dict(pairs)}.items())
    with suppress(MalformedError):
        index = parse_index(writer.table_bytes(entries, per_block=4))
        assert {name.encode() for name in index.entries} <= {key for key, _ in entries}


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_blocks_parse_or_are_malformed(blocks: list[bytes]) -> None:
    with suppress(MalformedError):
        table = read_table(writer.raw_table_bytes([(b"%d" % i, b) for i, b in enumerate(blocks)]))
        assert list(table) == sorted(table)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.booleans())
def test_no_made_up_file_gets_past_the_checksums(data: bytes, with_magic: bool) -> None:
    with pytest.raises(MalformedError):
        read_table(data + struct.pack("<Q", 0xDB4775248B80FB57) if with_magic else data)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["baseline", "att_0_5", "att_0_9"])
def test_the_authors_files_hold_108_tensors(name: str) -> None:
    tensors = read_tensor_bundle(published_data() / "models" / f"{name}.ckpt")
    assert len(tensors) == 108
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
