"""Where a volume file keeps its voxels, and whether all of them are there.

ITK's readers take what is missing at the end of a file for zeros, without a word; so the bytes are
counted, and inflated where they are deflated, before a file is believed.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.dicom.codes import SkipReason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_CHUNK = 1 << 20
_MAX_LINES, _MAX_LINE = 1000, 1 << 16
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_DRIVE = re.compile(r"[A-Za-z]:")


class UnusableVolumeError(Exception):
    """Why a volume file cannot be used.

    Attributes:
        reason: As a code.
    """

    def __init__(self, reason: SkipReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelData:
    """Where the voxels are.

    Attributes:
        path: The file they are in.
        offset: Where they start in it, before anything is inflated; -1 to end with it.
        deflated: Whether they are zlib or gzip data.
    """

    path: Path
    offset: int = 0
    deflated: bool = False


def read_fields(path: Path, separator: str) -> tuple[dict[str, str], int]:
    """The text fields at the head of a NRRD or MetaImage file, and where they end.

    Args:
        path: The file.
        separator: Between a field's name and its value.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        for _ in range(_MAX_LINES):
            line = stream.readline(_MAX_LINE)
            name, found, value = line.decode("latin-1").partition(separator)
            if found and not name.startswith("#"):
                fields.setdefault(name.strip().lower(), value.strip())
            # NRRD's fields end with a blank line, MetaImage's with the place of the voxels.
            if not line.strip() or "elementdatafile" in fields:
                break
        return fields, stream.tell()


def nifti_sizes(path: Path) -> tuple[float, ...]:
    """The pixdim of a NIfTI file as it stands there: its sign, then the voxel's three sizes.

    ITK hands out another where one is zero or no number.

    Raises:
        UnusableVolumeError: It does not begin as NIfTI-1 or NIfTI-2 does.
    """
    with path.open("rb") as stream:
        try:
            packed = path.suffix.lower() == ".gz"
            head = next(_inflated(stream) if packed else _chunks(stream), b"")
        except zlib.error as error:
            raise UnusableVolumeError(SkipReason.DAMAGED, "damaged: not a gzip file") from error
    for order in "<>":
        for size, place, kind in ((348, 76, "4f"), (540, 104, "4d")):
            if head[:4] == struct.pack(f"{order}i", size) and len(head) >= size:
                return struct.unpack_from(f"{order}{kind}", head, place)
    raise UnusableVolumeError(SkipReason.DAMAGED, "damaged, or not a NIfTI file")


def nrrd_data(path: Path, fields: dict[str, str], end: int) -> VoxelData:
    """Where a NRRD file's voxels are.

    Raises:
        UnusableVolumeError: Not in one file, or not raw or gzip.
    """
    encoding = fields.get("encoding", "").lower()
    skips = any(name in fields for name in ("line skip", "lineskip", "byte skip", "byteskip"))
    if encoding not in ("raw", "gzip", "gz") or skips:
        raise _unsupported(f"NRRD data encoded as {encoding[:16] or 'nothing'}, or with skips")
    name = fields.get("data file", fields.get("datafile", ""))
    deflated = encoding != "raw"
    if not name:
        return VoxelData(path=path, offset=end, deflated=deflated)
    return VoxelData(path=_detached(path, name), deflated=deflated)


def metaimage_data(path: Path, fields: dict[str, str], end: int) -> VoxelData:
    """Where a MetaImage file's voxels are.

    Raises:
        UnusableVolumeError: Not in one file, or as text.
    """
    if fields.get("binarydata", "true").lower() != "true":
        raise _unsupported("MetaImage data written as text")
    deflated = fields.get("compresseddata", "false").lower() == "true"
    name = fields.get("elementdatafile", "")
    if not name:
        raise UnusableVolumeError(SkipReason.DAMAGED, "damaged: it does not say where its data is")
    if name.upper() == "LOCAL":
        return VoxelData(path=path, offset=end, deflated=deflated)
    size = fields.get("headersize", "0")
    if not re.fullmatch(r"-1|\d{1,9}", size):
        raise UnusableVolumeError(SkipReason.DAMAGED, "damaged: its HeaderSize is no number")
    return VoxelData(path=_detached(path, name), offset=int(size), deflated=deflated)


def _unsupported(what: str) -> UnusableVolumeError:
    return UnusableVolumeError(SkipReason.UNSUPPORTED_SYNTAX, f"{what}, which is not read")


def _detached(path: Path, name: str) -> Path:
    """The data file that a header names: below the header's own folder alone."""
    parts = name.split("/")
    if name.upper().startswith("LIST") or "%" in name:
        raise _unsupported("a volume of several data files")
    if "\\" in name or _DRIVE.match(name) or not all(part.strip(". ") for part in parts):
        raise UnusableVolumeError(
            SkipReason.UNSAFE_NAME, "the header names a data file outside its own folder"
        )
    data = path.parent.joinpath(*parts)
    if not data.is_file():
        raise UnusableVolumeError(
            SkipReason.ABSENT, f"its data file {name[:64]} is not beside the header"
        )
    return data


def digest_voxels(data: VoxelData, needed: int, seed: str) -> bytes:
    """A fingerprint of the voxels, once all of them have been seen to be there.

    Args:
        data: Where they are.
        needed: How many bytes they have.
        seed: What else belongs into the fingerprint.

    Raises:
        UnusableVolumeError: There are fewer, or they cannot be inflated.
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256(seed.encode())
    count = 0
    size = data.path.stat().st_size
    with data.path.open("rb") as stream:
        stream.seek(data.offset if data.offset >= 0 else max(0, size - needed))
        try:
            for chunk in _inflated(stream) if data.deflated else _chunks(stream):
                part = chunk[: needed - count]
                digest.update(part)
                count += len(part)
                if len(part) < len(chunk):  # nobody asks for what comes behind
                    break
        except zlib.error as error:
            raise UnusableVolumeError(
                SkipReason.DAMAGED, f"damaged: its data cannot be inflated ({error})"
            ) from error
    if count < needed:
        raise UnusableVolumeError(
            SkipReason.TRUNCATED, f"truncated: {count} of {needed} bytes are there"
        )
    return digest.digest()


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _inflated(stream: BinaryIO) -> Iterator[bytes]:
    """Inflates one gzip or zlib stream after the other; never much at a time."""
    engine = zlib.decompressobj(_GZIP_OR_ZLIB)
    for packed in _chunks(stream):
        pending = packed
        while pending:
            if engine.eof:
                engine = zlib.decompressobj(_GZIP_OR_ZLIB)
            if chunk := engine.decompress(pending, _CHUNK):
                yield chunk
            pending = engine.unused_data if engine.eof else engine.unconsumed_tail
    if not engine.eof:
        raise UnusableVolumeError(SkipReason.TRUNCATED, "truncated: its compressed data ends early")
