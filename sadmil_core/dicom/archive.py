"""Zip archives, unpacked into a temporary folder of their own that goes when nobody reads it.

Nothing in an archive is believed: names may lead out of the folder, sizes may be lies, and a few
kilobytes may inflate to all of a disk. A member that cannot be had safely is left out, and named.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import tempfile
import time
import unicodedata
import weakref
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sadmil_core.dicom.codes import SkippedFile, SkipReason, printable
from sadmil_core.errors import InputError
from sadmil_core.filelock import lock_file
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO, BinaryIO

_log = logging.getLogger(__name__)

MAX_MEMBERS = 100_000
MAX_TOTAL_BYTES = 32 << 30
MAX_MEMBER_BYTES = 4 << 30
MAX_RATIO = 200
"""Inflated to packed bytes, of a member and of the whole. CT deflates to a half or a third."""
RATIO_FREE_BYTES = 64 << 20
"""So much may inflate from however little: an empty slice does at 1000 to 1."""
SPARE_BYTES = 256 << 20
"""Left free on the disk, for everybody else."""
PREFIX = "sadmil-zip-"

_CHUNK = 1 << 20
_MAX_NAME_BYTES, _MAX_PATH_BYTES, _MAX_DEPTH = 255, 1024, 32
_LEFTOVER_AGE_S = 60.0
"""A younger folder may belong to a process that has not locked it yet."""
_LOCK = "in-use"
_ENCRYPTED = 0x1
# zipfile inflates bzip2 and LZMA without a bound: a kilobyte would become gigabytes of memory.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_DOCUMENTS = (b"[Content_Types].xml", b"mimetype", b"META-INF/", b"_rels/", b"docProps/")
"""First members of office documents and programs, which are zip files, too."""
_OF_ONE_MEMBER = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG})
"""Errors of the system that a member's name or place brings about; others end the unpacking."""
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])[ ]*(\..*)?", re.I)
_RESERVED = re.compile(r'[<>:"|?*]')


class ExtractedArchive:
    """An unpacked archive; its files are there as long as this object is.

    Attributes:
        folder: Where the members lie: ``<temporary folder>/<name of the archive>``.
        source: The archive.
        skipped: Members that were left out, under the paths to be shown.
    """

    def __init__(self, source: Path) -> None:
        """Makes the folder, still empty.

        Raises:
            OSError: It cannot be made.
        """
        root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.source = source
        self.folder = root / source.name
        self.skipped: tuple[SkippedFile, ...] = ()
        lock = (root / _LOCK).open("wb")
        # Bound to this process: a forked one inherits the object, but not the folder.
        self._finalizer = weakref.finalize(self, _remove, root, lock, os.getpid())
        _lock(lock)
        self.folder.mkdir()

    def shown(self, path: Path) -> Path:
        """A path for people: of a member as ``<archive>/<member>``; of another file itself."""
        inside = path.is_relative_to(self.folder)
        return self.source / path.relative_to(self.folder) if inside else path

    def close(self) -> None:
        """Removes the files now."""
        self._finalizer()


def shown_path(path: Path, archives: Iterable[ExtractedArchive]) -> Path:
    """A path for people, whichever of these archives the file was unpacked from, or none."""
    for archive in archives:
        shown = archive.shown(path)
        if shown != path:
            return shown
    return path


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive by its first bytes; office documents are not taken for one.

    A file that cannot be read is none.
    """
    try:
        with path.open("rb") as stream:
            return _looks_like_archive(stream.read(132))
    except OSError:
        return False


def _looks_like_archive(head: bytes) -> bool:
    return head.startswith(_MAGIC) and not head[30:].startswith(_DOCUMENTS)


def extract_archive(path: Path, progress: Progress = no_progress) -> ExtractedArchive:
    """Unpacks a zip archive.

    Args:
        path: The archive.
        progress: Called before each member and within large ones.

    Returns:
        The unpacked archive.

    Raises:
        InputError: It cannot be read as a whole, is too large, or the disk is too full.
        Cancelled: From ``progress``; nothing is left then, as after an error.
    """
    _sweep_leftovers()
    try:
        with zipfile.ZipFile(path) as archive:
            return _extract(path, archive, progress)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path} is a damaged or incomplete zip archive: {error}.",
            remedy="Copy it again from where it came from.",
        ) from error
    except (NotImplementedError, UnicodeDecodeError, OverflowError) as error:
        raise InputError(
            f"{path} is a zip archive that cannot be read: {error}.",
            remedy="Unpack it with another program, and open the folder.",
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be unpacked into {tempfile.gettempdir()}: {error.strerror or error}.",
            remedy="Check that you may read the one and write to the other.",
        ) from error


def _extract(path: Path, archive: zipfile.ZipFile, progress: Progress) -> ExtractedArchive:
    # Not ZipInfo.is_dir, which fails for a name that is empty up to its first NUL.
    members = [info for info in archive.infolist() if not info.orig_filename.endswith("/")]
    if len(members) > MAX_MEMBERS:
        raise _too_large(path, f"it has {len(members)} members, and {MAX_MEMBERS} are the limit")
    _require_space(path, min(sum(info.file_size for info in members), MAX_TOTAL_BYTES))
    extracted = ExtractedArchive(path)
    try:
        unpacking = _Unpacking(path, archive, extracted, progress)
        extracted.skipped = tuple(unpacking.run(members))
    except BaseException:
        extracted.close()
        raise
    return extracted


class _Refusal(Exception):  # noqa: N818 - a verdict on one member
    """Why a member is left out."""

    def __init__(self, reason: SkipReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Unpacking:
    """One archive on its way to the disk."""

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, extracted: ExtractedArchive, progress: Progress
    ) -> None:
        self._path, self._archive, self._progress = path, archive, progress
        self._folder = extracted.folder
        self._packed_bytes = path.stat().st_size
        self._total_bytes = 0
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()
        self._step = (0, 0)

    def run(self, members: list[zipfile.ZipInfo]) -> list[SkippedFile]:
        skipped = []
        for number, info in enumerate(members):
            self._step = (number, len(members))
            self._say()
            try:
                self._take(info)
            except _Refusal as refusal:
                shown = self._path / _printable(info.orig_filename)
                skipped.append(SkippedFile(shown, refusal.reason, str(refusal)))
        self._progress(len(members), len(members), "unpacking the archive")
        return skipped

    def _say(self) -> None:
        self._progress(*self._step, "unpacking the archive")

    def _take(self, info: zipfile.ZipInfo) -> None:
        _refuse_kind(info)
        parts = _safe_parts(info.orig_filename)
        self._refuse_collision(parts)
        target = self._folder.joinpath(*parts)
        try:
            with self._archive.open(info) as source:
                first = source.read(132)
                if _looks_like_archive(first):
                    raise _Refusal(
                        SkipReason.NESTED_ARCHIVE,
                        "an archive inside the archive: take it out, and open it by itself",
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:
                    self._copy(info, first, source, out)
        except _Refusal:
            target.unlink(missing_ok=True)
            raise
        except EOFError as error:
            target.unlink(missing_ok=True)
            raise _Refusal(SkipReason.TRUNCATED, "truncated: the archive ends inside it") from error
        except (zipfile.BadZipFile, zlib.error, ValueError) as error:
            target.unlink(missing_ok=True)
            raise _Refusal(SkipReason.DAMAGED, f"damaged in the archive: {error}") from error
        except NotImplementedError as error:
            raise _Refusal(
                SkipReason.UNSUPPORTED_COMPRESSION, f"packed in a way that is not read: {error}"
            ) from error
        except OSError as error:
            if error.errno not in _OF_ONE_MEMBER:
                raise
            with suppress(OSError):  # the name itself may be what the system refuses
                target.unlink()
            raise _Refusal(
                SkipReason.UNREADABLE, f"cannot be unpacked: {error.strerror or error}"
            ) from error

    def _copy(
        self,
        info: zipfile.ZipInfo,
        first: bytes,
        source: IO[bytes],
        out: BinaryIO,
    ) -> None:
        done, chunk = 0, first
        while chunk:
            done += len(chunk)
            self._total_bytes += len(chunk)
            if done > MAX_MEMBER_BYTES:
                raise _Refusal(
                    SkipReason.ARCHIVE_LIMIT,
                    f"it inflates to more than {MAX_MEMBER_BYTES >> 20} MiB",
                )
            if done > RATIO_FREE_BYTES and done > MAX_RATIO * info.compress_size:
                raise _Refusal(
                    SkipReason.ARCHIVE_LIMIT, f"it inflates to over {MAX_RATIO} times its size"
                )
            self._refuse_total()
            out.write(chunk)
            chunk = source.read(_CHUNK)
            if chunk:
                self._say()

    def _refuse_total(self) -> None:
        """What members are said to have packed may overlap; the archive has so many bytes."""
        if self._total_bytes > MAX_TOTAL_BYTES:
            raise _too_large(self._path, f"it inflates to more than {MAX_TOTAL_BYTES >> 30} GiB")
        over_ratio = self._total_bytes > MAX_RATIO * self._packed_bytes
        if self._total_bytes > RATIO_FREE_BYTES and over_ratio:
            raise _too_large(self._path, f"it inflates to over {MAX_RATIO} times its size")
        _require_space(self._path, 0)

    def _refuse_collision(self, parts: tuple[str, ...]) -> None:
        """One name, but for case and the like, would replace the other on some disks."""
        key = tuple(unicodedata.normalize("NFC", part).casefold().rstrip(". ") for part in parts)
        above = {key[:depth] for depth in range(1, len(key))}
        if key in self._files or key in self._folders or not self._files.isdisjoint(above):
            raise _Refusal(
                SkipReason.UNSAFE_NAME, "another member has the same name, but for case or so"
            )
        self._files.add(key)
        self._folders |= above


def _refuse_kind(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "no ordinary file"
        raise _Refusal(SkipReason.UNSAFE_NAME, f"{what}, which is not unpacked")
    if info.flag_bits & _ENCRYPTED:
        raise _Refusal(
            SkipReason.ENCRYPTED, "encrypted: unpack the archive with its password, and open that"
        )
    if info.compress_type not in _METHODS:
        raise _Refusal(
            SkipReason.UNSUPPORTED_COMPRESSION,
            f"packed by method {info.compress_type}, which is not read: unpack the archive with "
            "another program, and open the folder",
        )


def _safe_parts(name: str) -> tuple[str, ...]:
    """The parts of a member's path, if all of them lead downwards on every system.

    Raises:
        _Refusal: They do not.
    """
    parts = PurePosixPath(name).parts
    longest = max((len(os.fsencode(part)) for part in parts), default=0)
    flaws = {
        "has control characters": not name.isprintable(),
        "has backslashes": "\\" in name,
        "is an absolute path": name.startswith("/") or _DRIVE.match(name),
        "leads out of the archive": ".." in parts,
        "has an empty part": not parts or not all(part.strip(". ") for part in parts),
        "is that of a device": any(_DEVICE.fullmatch(part) for part in parts),
        "has characters that Windows does not allow": os.name == "nt" and _RESERVED.search(name),
        "is too long": longest > _MAX_NAME_BYTES or len(os.fsencode(name)) > _MAX_PATH_BYTES,
        "lies too deep": len(parts) > _MAX_DEPTH,
    }
    for flaw, found in flaws.items():
        if found:
            raise _Refusal(SkipReason.UNSAFE_NAME, f"its name {flaw}: not unpacked")
    return parts


def _printable(name: str) -> str:
    """A member's name as it may be shown, below the archive whatever it says."""
    return printable(name)[:_MAX_PATH_BYTES].lstrip("/")


def _require_space(path: Path, needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise InputError(
            f"{path} cannot be unpacked: {folder} has {free / 2**30:.1f} GiB free, and "
            f"{(needed + SPARE_BYTES) / 2**30:.1f} GiB are needed.",
            remedy="Free some space, or set TMPDIR to a folder on a larger disk.",
        )


def _too_large(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is not unpacked: {why}.",
        remedy="If you trust it, unpack it yourself and open the folder.",
    )


def _lock(stream: BinaryIO) -> bool:
    """Locks a file until it is closed, or its process ends; False where another holds it."""
    try:
        lock_file(stream)
    except OSError:
        return False
    return True


def _remove(root: Path, lock: BinaryIO, owner: int) -> None:
    lock.close()
    if os.getpid() == owner:
        shutil.rmtree(root, ignore_errors=True)


def _sweep_leftovers() -> None:
    """Removes the folders of processes that were killed; never a living one's."""
    for root in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = root.lstat()
            is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            old = time.time() - status.st_mtime > _LEFTOVER_AGE_S
            if stat.S_ISDIR(status.st_mode) and is_own and old and _is_abandoned(root):
                _log.info("removing what an ended program left in %s", root)
                shutil.rmtree(root, ignore_errors=True)


def _is_abandoned(root: Path) -> bool:
    try:
        with (root / _LOCK).open("r+b") as lock:
            return _lock(lock)
    except FileNotFoundError:
        return True  # ended before it locked the folder, or in the midst of removing it
