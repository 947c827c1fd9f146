"""Reads TensorFlow's TensorBundle checkpoints with NumPy alone.

A bundle is ``PREFIX.index``, a sorted table with one message per tensor (type, shape, place
and checksum), and shards ``PREFIX.data-00000-of-00001`` of raw tensor bytes. The layouts are
those of TensorFlow's tensor_bundle.proto, tensor_shape.proto and types.proto.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.errors import WeightsError
from sadmil_core.published.bundleindex import BundleIndex, Entry, parse_index
from sadmil_core.published.crc32c import crc32c, unmask
from sadmil_core.published.wire import MalformedError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Generous: the published one has 8 kB. It keeps a foreign file from filling the memory.
MAX_INDEX_BYTES = 4 * 2**20
_REMEDY = "Download it again, or export it again with TensorFlow."


def bundle_prefix(path: Path) -> Path:
    """The prefix a user means, who may have named the bundle by its .index file."""
    stem = path.name.removesuffix(".index")
    return path.with_name(stem) if stem else path


def index_path(prefix: Path) -> Path:
    """The index file of a bundle."""
    return prefix.with_name(prefix.name + ".index")


def shard_path(prefix: Path, shard: int, shards: int) -> Path:
    """One of a bundle's data files, ``shard`` counted from 0."""
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")


def read_tensor_bundle(prefix: Path) -> dict[str, NDArray[Any]]:
    """Reads the tensors of a bundle.

    Text entries, among them the object graph that TensorFlow stores beside its variables, are
    left out.

    Args:
        prefix: What the files' names begin with, with or without ``.index``.

    Returns:
        Tensors by name, in native byte order, of any type of fixed size but bfloat16, the
        complex and the quantised ones.

    Raises:
        WeightsError: A file is missing, unreadable, damaged, not of this kind, or holds more
            than ``MAX_TENSOR_BYTES``. Checksums are checked.
    """
    prefix = bundle_prefix(prefix)
    if not prefix.name:
        raise WeightsError(f"{prefix} is not the name of a checkpoint.", remedy=_REMEDY)
    index = index_path(prefix)
    try:
        contents = parse_index(_read_index(index))
    except MalformedError as error:
        raise WeightsError(
            f"{index} is not a TensorFlow checkpoint's index, or is damaged: {error}.",
            remedy=_REMEDY,
        ) from error
    return _read_tensors(prefix, contents)


def _read_index(path: Path) -> bytes:
    _require_file(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > MAX_INDEX_BYTES:
        raise MalformedError(f"it is larger than the {MAX_INDEX_BYTES} bytes allowed")
    return data


def _read_tensors(prefix: Path, index: BundleIndex) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {}
    for shard in range(index.shards):
        path = shard_path(prefix, shard, index.shards)
        inside = {name: entry for name, entry in index.entries.items() if entry.shard == shard}
        _require_file(path)
        try:
            with path.open("rb") as stream:
                length = os.fstat(stream.fileno()).st_size
                for name, entry in inside.items():
                    _check_bounds(path, name, entry, length)
                    if entry.dtype is None:
                        continue
                    stream.seek(entry.offset)
                    data = stream.read(entry.size)
                    tensors[name] = _tensor(path, name, entry.dtype, entry, data)
        except OSError as error:
            raise _unreadable(path, error) from error
    return {name: tensors[name] for name in index.entries if name in tensors}


def _check_bounds(path: Path, name: str, entry: Entry, length: int) -> None:
    if entry.offset + entry.size > length:
        raise WeightsError(
            f"{path} is cut off: tensor {name} ends at byte {entry.offset + entry.size}, "
            f"the file at {length}.",
            remedy=_REMEDY,
        )


def _tensor(path: Path, name: str, dtype: np.dtype[Any], entry: Entry, data: bytes) -> NDArray[Any]:
    if len(data) != entry.size or crc32c(data) != unmask(entry.stored_crc):
        raise WeightsError(
            f"{path} is damaged: the checksum of tensor {name} does not match.", remedy=_REMEDY
        )
    tensor = np.frombuffer(data, dtype=dtype).reshape(entry.shape)
    return tensor.astype(dtype.newbyteorder("="))


def _require_file(path: Path) -> None:
    if not os.path.isfile(path):  # Unlike Path.is_file, false for a path that cannot be looked at.
        raise WeightsError(
            f"{path} does not exist or is not a file.",
            remedy="A TensorFlow checkpoint is a .index file and, beside it, its .data files; "
            "give the name they share.",
        )


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(
        f"{path} could not be read: {error.strerror or error}.",
        remedy="Check that you may read it.",
        detail=str(error),
    )
