"""A folder to its stacks: headers only, each file once, nothing dropped in silence."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.dicom.archive import (
    ExtractedArchive,
    extract_archive,
    is_archive,
    shown_path,
)
from sadmil_core.dicom.codes import SkippedFile, SkipReason
from sadmil_core.dicom.decode_pool import digest_slice, read_volume_file
from sadmil_core.dicom.dicomdir import is_dicomdir, read_dicomdir
from sadmil_core.dicom.header import SliceHeader, read_headers
from sadmil_core.dicom.stacks import StackEntry, build_stacks
from sadmil_core.dicom.volumefile import volume_format
from sadmil_core.errors import InputError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence


_log = logging.getLogger(__name__)

_THREADS = 8
_BATCH = 16
_FOREIGN = (SkipReason.NOT_DICOM, SkipReason.DAMAGED)
_SLOW_S = 1.5e-3  # a file; several times what one takes that is at hand


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesIndex:
    """What a file or folder holds.

    Attributes:
        root: The path that was indexed.
        entries: Its CT stacks, by study, series and stack index.
        skipped: Every other file, with the reason.
        headers: All CT slices met, duplicates too, before they were grouped.
        archives: What was unpacked to read them.
    """

    root: Path
    entries: tuple[StackEntry, ...]
    skipped: tuple[SkippedFile, ...]
    headers: tuple[SliceHeader, ...] = ()
    archives: tuple[ExtractedArchive, ...] = field(default=(), repr=False, compare=False)

    @property
    def failures(self) -> tuple[SkippedFile, ...]:
        """The skipped files that may have held CT data."""
        return tuple(file for file in self.skipped if file.reason.is_failure)


def index_folder(
    path: Path | str,
    progress: Progress = no_progress,
    *,
    on_first: Callable[[SliceHeader], None] | None = None,
) -> SeriesIndex:
    """Reads the headers of all files below a folder, in a zip archive, or of one file.

    Args:
        path: A file, or a folder that may hold several studies in subfolders; or a DICOMDIR, for
            the files it lists; or a zip archive, which is unpacked for as long as the index or
            one of its entries is held.
        progress: Called with the number of headers read.
        on_first: Called once with the first CT slice met, before the rest is read. The middle
            of the sorted files is read first, so that a viewer can show something at once;
            its place in the stack is not yet known.

    Returns:
        The index; it may have no entries (see :func:`require_entries`).

    Raises:
        InputError: There is no such path, the folder cannot be listed, or the archive cannot be
            unpacked.
        Cancelled: From ``progress``.
    """
    root = Path(path)
    archives = (extract_archive(root, progress),) if _is_archive(root) else ()
    files, skipped = list_files(archives[0].folder if archives else root, progress)
    headers: list[SliceHeader] = []
    for found in read_files(_middle_first(files), progress):
        if isinstance(found, SkippedFile):
            skipped.append(found)
            continue
        if not headers and on_first is not None:
            on_first(found[len(found) // 2])
        headers += found
    skipped += absent_files(skipped)
    _log.info("%d CT slice(s) and %d other file(s) found", len(headers), len(skipped))
    skipped = [replace(file, path=shown_path(file.path, archives)) for file in skipped]
    skipped += [file for archive in archives for file in archive.skipped]
    return _grouped(root, headers, skipped, archives)


def iter_headers(
    path: Path, progress: Progress = no_progress
) -> Iterator[tuple[SliceHeader, ...] | SkippedFile]:
    """Reads the headers of all files below a folder one after another, and keeps none.

    For archives of so many files that their headers should not be in memory together; nothing
    is grouped, and zip archives are not unpacked.

    Args:
        path: A file or a folder.
        progress: Called with the number of headers read.

    Yields:
        Each file's headers, or why it is of no use, sorted by path.

    Raises:
        InputError: There is no such path, or the folder cannot be listed.
        Cancelled: From ``progress``.
    """
    files, skipped = list_files(path, progress)
    yield from skipped
    with closing(read_files(files, progress)) as found:
        yield from found


def absent_files(skipped: Iterable[SkippedFile]) -> list[SkippedFile]:
    """What the DICOMDIRs among the skipped files of a folder list, and is not there."""
    found = (file.path for file in skipped if file.reason is SkipReason.NOT_AN_IMAGE)
    return [file for path in found if is_dicomdir(path) for file in read_dicomdir(path).skipped]


def _is_archive(path: Path) -> bool:
    return path.is_file() and is_archive(path)


def _read_file(path: Path) -> tuple[SliceHeader, ...] | SkippedFile:
    found = read_volume_file(path) if volume_format(path) else read_headers(path)
    foreign = isinstance(found, SkippedFile) and found.reason in _FOREIGN
    if foreign and _is_archive(path):
        return SkippedFile(
            path, SkipReason.NESTED_ARCHIVE, "a zip archive among other files: open it by itself"
        )
    return found


def read_files(
    files: list[Path], progress: Progress = no_progress
) -> Generator[tuple[SliceHeader, ...] | SkippedFile]:
    """The headers of files in order, or why one is of no use; the first before all others.

    Threads only get in each other's way where the disk has the files at hand; on a slow disk
    or over a network each waits for its own answer, and they are worth having.
    """
    total = len(files)
    batches = deque([files[:1], *(files[k : k + _BATCH] for k in range(1, total, _BATCH))])
    done = 0
    while batches and (batch := batches.popleft()):
        progress(done, total, "reading headers")
        start = time.perf_counter()
        for file in batch:
            yield _read_file(file)
        done += len(batch)
        # The first file bears the cost of everything that is done once.
        if done > 1 and time.perf_counter() - start > _SLOW_S * len(batch):
            break
    with closing(_read_in_threads(batches)) as rest:
        for found in rest:
            yield from found
            done += len(found)
            progress(done, total, "reading headers")
    progress(total, total, "reading headers")


def _read_in_threads(
    batches: deque[list[Path]],
) -> Generator[list[tuple[SliceHeader, ...] | SkippedFile]]:
    """The same for what is left, batch by batch."""
    if not batches:
        return
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="headers")
    try:
        # Few at a time are handed out, so that a cancelled folder stops at once.
        first = range(min(len(batches), 2 * _THREADS))
        pending = deque(pool.submit(_read_batch, batches.popleft()) for _ in first)
        while pending:
            yield pending.popleft().result()
            if batches:
                pending.append(pool.submit(_read_batch, batches.popleft()))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_batch(files: list[Path]) -> list[tuple[SliceHeader, ...] | SkippedFile]:
    return [_read_file(file) for file in files]


def merge_indexes(indexes: Sequence[SeriesIndex]) -> SeriesIndex:
    """One index of several paths: a series spread over them is one, a file met twice counts once.

    Args:
        indexes: At least one.

    Returns:
        The index, with the root of the first.
    """
    archives = tuple(archive for index in indexes for archive in index.archives)
    # Not Path.resolve, which raises for a link to itself. An archive given twice is unpacked twice.
    headers = {
        (os.path.realpath(shown_path(h.path, archives)), h.frame_number): h
        for index in indexes
        for h in index.headers
    }
    skipped = {os.path.realpath(file.path): file for index in indexes for file in index.skipped}
    return _grouped(indexes[0].root, headers.values(), skipped.values(), archives)


def _grouped(
    root: Path,
    headers: Iterable[SliceHeader],
    skipped: Iterable[SkippedFile],
    archives: tuple[ExtractedArchive, ...],
) -> SeriesIndex:
    ordered = tuple(sorted(skipped, key=lambda file: file.path))
    found = tuple(sorted(headers, key=lambda header: (header.path, header.frame_number or 0)))
    entries = build_stacks(found, ordered, pixel_digest=digest_slice)
    if archives:
        entries = tuple(replace(entry, archives=_used_by(entry, archives)) for entry in entries)
    return SeriesIndex(
        root=root, entries=entries, skipped=ordered, headers=found, archives=archives
    )


def _used_by(
    entry: StackEntry, archives: tuple[ExtractedArchive, ...]
) -> tuple[ExtractedArchive, ...]:
    """The archives that a stack has slices from."""
    return tuple(a for a in archives if any(a.shown(h.path) != h.path for h in entry.slices))


def require_entries(index: SeriesIndex) -> SeriesIndex:
    """Returns the index, or says why there is nothing to read in it.

    Raises:
        InputError: The index has no entries.
    """
    if index.entries:
        return index
    if not index.skipped:
        raise InputError(
            f"{index.root} is an empty {'archive' if index.archives else 'folder'}.",
            remedy="Choose the folder or the archive of a CT series.",
        )
    counts: dict[str, int] = {}
    for file in index.skipped:
        counts[file.message] = counts.get(file.message, 0) + 1
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    reasons = "; ".join(f"{count} x {message}" for message, count in common[:4])
    first = index.skipped[0].path.name
    raise InputError(
        f"{index.root} holds no readable CT slice: {len(index.skipped)} file(s) passed over "
        f"({reasons}; the first is {first}).",
        remedy="Choose the folder or the archive of a CT series.",
    )


def list_files(
    root: Path, progress: Progress = no_progress
) -> tuple[list[Path], list[SkippedFile]]:
    """All files below ``root``, sorted, and the folders that could not be listed.

    Of a DICOMDIR those that it lists; where it is of no use, those of its folder.

    Raises:
        InputError: There is no such path, or it cannot be listed.
        Cancelled: From ``progress``.
    """
    if root.is_file():
        if not is_dicomdir(root):
            return [root], []
        listed = read_dicomdir(root)
        if listed.is_usable:
            return sorted(listed.files), list(listed.skipped)
        beside, closed = list_files(root.parent, progress)
        return [file for file in beside if file != root], [*closed, *listed.skipped]
    if not root.exists():
        raise InputError(f"{root} does not exist.", remedy="Check the path.")
    refused: list[SkippedFile] = []

    def note(error: OSError) -> None:
        if error.filename is None or Path(error.filename) == root:
            raise InputError(
                f"{root} cannot be listed: {error.strerror or error}.",
                remedy="Check that you may read the folder.",
            ) from error
        refused.append(
            SkippedFile(
                Path(error.filename),
                SkipReason.UNREADABLE,
                f"folder cannot be listed: {error.strerror or error}",
            )
        )

    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, onerror=note, followlinks=True):
        progress(0, 0, "listing files")
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen and status.st_ino:
            subfolders.clear()  # a link back: each folder is read once, and no loop traps us
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        files += [Path(folder, name) for name in names]
    return sorted(files), refused


def _middle_first(files: list[Path]) -> list[Path]:
    middle = len(files) // 2
    return files[middle : middle + 1] + files[:middle] + files[middle + 1 :]
