"""Writes TensorBundles for the tests, on purpose by other means than the reader.

The checksum goes byte by byte through a table, messages are put together by hand.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
DTYPE_NUMBERS = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int64": 9,
    "bool": 10,
    "float16": 19,
}
STRING = 7


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        register = byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
        table.append(register)
    return table


_TABLE = _crc_table()


def crc32c_bytewise(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register = (register >> 8) ^ _TABLE[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32_field(number: int, value: int) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<I", value)


def header_message(shards: int = 1, endianness: int = 0) -> bytes:
    version = bytes_field(3, number_field(1, 1))
    order = number_field(2, endianness) if endianness else b""
    return number_field(1, shards) + order + version


def entry_message(
    dtype: int, shape: tuple[int, ...], shard: int, offset: int, data: bytes, **changed: int
) -> bytes:
    """A BundleEntryProto; zeros are left out, as protocol buffers do."""
    size = changed.get("size", len(data))
    crc = changed.get("crc", masked(crc32c_bytewise(data)))
    dims = b"".join(bytes_field(2, number_field(1, n) if n else b"") for n in shape)
    message = number_field(1, dtype) + bytes_field(2, dims)
    for number, value in ((3, shard), (4, changed.get("offset", offset)), (5, size)):
        message += number_field(number, value) if value else b""
    return message + fixed32_field(6, crc)


def block_bytes(entries: list[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    """A block's contents: prefix-compressed keys, then the restart array."""
    out, restarts, previous = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % restart_interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        previous = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table_bytes(
    entries: list[tuple[bytes, bytes]], *, per_block: int = 64, compression: int = 0
) -> bytes:
    """A whole table of ``per_block`` entries to a data block."""
    blocks = [entries[i : i + per_block] for i in range(0, len(entries), per_block)]
    return raw_table_bytes(
        [(group[-1][0] + b"p", block_bytes(group)) for group in blocks], compression=compression
    )


def raw_table_bytes(blocks: list[tuple[bytes, bytes]], *, compression: int = 0) -> bytes:
    """A table of ready-made data blocks by their index keys; checksums are right."""
    out = bytearray()

    def put(contents: bytes, kind: int = 0) -> bytes:
        handle = varint(len(out)) + varint(len(contents))
        body = contents + bytes([kind])
        out.extend(body + struct.pack("<I", masked(crc32c_bytewise(body))))
        return handle

    index = [(key, put(contents, compression)) for key, contents in blocks]
    metaindex = put(block_bytes([]))
    handles = metaindex + put(block_bytes(index, restart_interval=1))
    return bytes(out) + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def write_bundle(
    prefix: Path,
    tensors: dict[str, NDArray[Any] | bytes],
    *,
    per_block: int = 64,
    shards: int = 1,
    big_endian: bool = False,
) -> None:
    """Writes a bundle; ``bytes`` become a text entry. Tensors go to the shards in turn."""
    contents = [bytearray() for _ in range(shards)]
    entries = [(b"", header_message(shards, int(big_endian)))]
    for i, name in enumerate(sorted(tensors)):
        tensor, shard = tensors[name], contents[i % shards]
        if isinstance(tensor, bytes):
            dtype, shape, data = STRING, (), varint(len(tensor)) + b"\0" * 4 + tensor
        else:
            dtype, shape = DTYPE_NUMBERS[tensor.dtype.name], tensor.shape
            data = tensor.astype(tensor.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
        entries.append((name.encode(), entry_message(dtype, shape, i % shards, len(shard), data)))
        shard += data
    for i, shard in enumerate(contents):
        prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{shards:05d}").write_bytes(shard)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table_bytes(entries, per_block=per_block))


def network_variables(seed: int = 0, *, classes: int = 1) -> dict[str, NDArray[Any] | bytes]:
    """Random variables under the names of the authors' model, and what lies beside them."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any] | bytes] = {}

    def put(layer: int, name: str, *shape: int, positive: bool = False) -> None:
        values = rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[:-1])))
        values = np.abs(values) + 0.5 if positive else values
        tensors[f"layer_with_weights-{layer}/{name}{SUFFIX}"] = values.astype(np.float32)

    inputs = 3
    for block, (outputs, kernel) in enumerate([(16, 5)] + [(32, 3)] * 5):
        put(2 * block, "kernel", kernel, kernel, inputs, outputs)
        put(2 * block, "bias", outputs)
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            put(2 * block + 1, name, outputs, positive=name in ("gamma", "moving_variance"))
        inputs = outputs
    put(12, "u", 1152, 64)
    put(12, "v", 1152, 64)
    put(12, "w", 64, 1)
    put(13, "kernel", 1152, 128)
    put(13, "bias", 128)
    put(14, "kernel", 128, classes)
    put(14, "bias", classes)
    slot = f"layer_with_weights-0/bias/.OPTIMIZER_SLOT/optimizer/optimizer/m{SUFFIX}"
    tensors[slot] = np.ones(16, dtype=np.float32)
    tensors[f"optimizer/global_step{SUFFIX}"] = np.array(7, dtype=np.int64)
    tensors["_CHECKPOINTABLE_OBJECT_GRAPH"] = b"a graph nobody reads"
    return tensors
