"""A stack's pixels: Hounsfield units in one array, slices arriving centre first."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.courtesy import step_back
from sadmil_core.dicom.codes import (
    CodedWarning,
    SkippedFile,
    SkipReason,
    WarningCode,
    printable,
)
from sadmil_core.dicom.decode import needs_float
from sadmil_core.dicom.decode_pool import decode_slices, process_count
from sadmil_core.dicom.stacks import make_stack
from sadmil_core.dicom.volumefile import narrowed
from sadmil_core.errors import DecodeError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from sadmil_core.dicom.stacks import StackEntry

_log = logging.getLogger(__name__)

_BATCH = 8
_WORTH_THREADS_BYTES = 1 << 26
_Arrival = tuple[int, BaseException | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CTVolume:
    """One stack with its pixels.

    Attributes:
        entry: Headers, geometry and all warnings, slice by slice as in ``hu``.
        hu: (S, rows, columns) Hounsfield units, slice 0 at the foot end; int16, or float32
            where the rescale is fractional. Read-only. Padding is -1000.
    """

    entry: StackEntry
    hu: NDArray[np.int16] | NDArray[np.float32]


class VolumeLoad:
    """A volume on its way: geometry at once, slices as they are decoded.

    Attributes:
        entry: The stack being loaded.
        hu: The array being filled, (S, rows, columns); meaningless where nothing has arrived.
        arrived: (S,) bool, True for the slices that are in ``hu``.
    """

    def __init__(self, entry: StackEntry, *, mend_quirk: bool = True) -> None:
        self.entry = entry
        self._mend_quirk = mend_quirk
        fractional = any(needs_float(h, mend_quirk=mend_quirk) for h in entry.slices)
        try:
            # Zeros, because their pages cost nothing until a slice is written to them.
            self.hu: NDArray[np.int16] | NDArray[np.float32] = (
                np.zeros(entry.shape, np.float32) if fractional else np.zeros(entry.shape, np.int16)
            )
        except MemoryError as error:
            size = np.prod(entry.shape, dtype=float) * (4 if fractional else 2) / 2**30
            raise DecodeError(
                f"Series {entry.series_instance_uid} needs {size:.1f} GiB of memory.",
                remedy="Close other programs, or open fewer slices.",
            ) from error
        self.arrived: NDArray[np.bool_] = np.zeros(len(entry.slices), dtype=np.bool_)

    def run(
        self,
        progress: Progress = no_progress,
        *,
        on_slice: Callable[[int], None] | None = None,
    ) -> CTVolume:
        """Decodes all slices, from the middle outwards, on all cores.

        Args:
            progress: Called after each slice.
            on_slice: Called with the index of each slice as it arrives, on this thread.

        Returns:
            The volume. Slices that cannot be decoded are left out of it, and named in its
            entry's warnings and skipped files.

        Raises:
            DecodeError: No slice could be decoded.
            Cancelled: From ``progress``.
        """
        count = len(self.entry.slices)
        failures: dict[int, DecodeError] = {}
        progress(0, count, "loading slices")
        with closing(self._decoded(_centre_first(count))) as arrivals:
            for done, (index, error) in enumerate(arrivals, start=1):
                if isinstance(error, DecodeError):
                    failures[index] = error
                elif error is not None:
                    raise error
                elif on_slice is not None:
                    on_slice(index)
                progress(done, count, "loading slices")
        return self._finished(failures)

    def _decoded(self, order: list[int]) -> Generator[_Arrival]:
        """Decodes slices, in about this order, and yields each as it arrives."""
        if self.entry.slices[0].is_volume:
            # At once, and by one process: each that has a part of it would read the whole file.
            yield from self._decode_batch(order)
            return
        compressed = any(header.is_compressed for header in self.entry.slices)
        if not compressed and self.hu.nbytes < _WORTH_THREADS_BYTES:
            # Copying so little takes less time than handing it to threads.
            for index in order:
                yield from self._decode_batch([index])
            return
        arrivals: SimpleQueue[_Arrival] = SimpleQueue()
        stop = threading.Event()

        def work(batch: list[int]) -> None:
            if not stop.is_set():
                for arrival in self._decode_batch(batch):
                    arrivals.put(arrival)

        with ThreadPoolExecutor(process_count(), "slices", initializer=step_back) as pool:
            try:
                for batch in _batches(order):
                    pool.submit(work, batch)
                for _ in order:
                    yield arrivals.get()
            finally:
                stop.set()

    def _decode_batch(self, batch: list[int]) -> list[_Arrival]:
        try:
            outcomes: list[BaseException | None] = [
                *decode_slices(
                    [self.entry.slices[index] for index in batch],
                    [self.hu[index] for index in batch],
                    mend_quirk=self._mend_quirk,
                )
            ]
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            outcomes = [error] * len(batch)
        for index, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self.arrived[index] = True
        return list(zip(batch, outcomes, strict=True))

    def _finished(self, failures: dict[int, DecodeError]) -> CTVolume:
        entry, hu = self.entry, self.hu
        if failures:
            entry, hu = self._without(failures)
        if entry.slices[0].is_volume:
            hu = narrowed(hu)
        if not self._mend_quirk:
            entry = replace(entry, warnings=tuple(map(_unmended, entry.warnings)))
        # Codes alone: messages name files, which are often named after patients.
        _log.info("loaded with warnings: %s", ", ".join(entry.warning_codes) or "none")
        view = hu.view()
        view.flags.writeable = False
        return CTVolume(entry=entry, hu=view)

    def _without(
        self, failures: dict[int, DecodeError]
    ) -> tuple[StackEntry, NDArray[np.int16] | NDArray[np.float32]]:
        """The entry and the pixels of the slices that could be decoded."""
        first = failures[min(failures)]
        if len(failures) == len(self.entry.slices):
            raise DecodeError(
                f"None of the {len(failures)} slices of series {self.entry.series_instance_uid} "
                f"could be decoded. The first: {first}",
                detail=first.detail,
            )
        keep = [i for i in range(len(self.entry.slices)) if i not in failures]
        lost = tuple(
            SkippedFile(
                self.entry.shown(self.entry.slices[i].path),
                SkipReason.DAMAGED,
                Exception.__str__(failures[i]),
                self.entry.series_instance_uid,
            )
            for i in sorted(failures)
        )
        known = {warning.code for warning in _geometric(self.entry)}
        warnings = [w for w in self.entry.warnings if w.code not in known]
        warnings.append(
            CodedWarning(
                WarningCode.SLICES_UNDECODABLE,
                f"{len(lost)} slice(s) could not be decoded and are missing "
                f"({printable(', '.join(file.path.name for file in lost[:3]))}"
                f"{', ...' if len(lost) > 3 else ''})",
            )
        )
        entry = make_stack(
            [self.entry.slices[i] for i in keep],
            warnings,
            (*self.entry.skipped, *lost),
            self.entry.stack_index,
        )
        return replace(entry, archives=self.entry.archives), self.hu[keep]


def _unmended(warning: CodedWarning) -> CodedWarning:
    if warning.code is not WarningCode.RSNA_12BIT_QUIRK:
        return warning
    return CodedWarning(
        WarningCode.RSNA_12BIT_UNMENDED,
        "stored values show the RSNA 12-bit defect and are left as they are, as was asked: "
        "what lies below 0 HU looks like dense bone",
    )


def _geometric(entry: StackEntry) -> tuple[CodedWarning, ...]:
    """The warnings that :func:`make_stack` itself finds, and will find again."""
    return make_stack(entry.slices).warnings


def _batches(order: list[int]) -> list[list[int]]:
    """The first slice by itself, so that it is there at once; then several to a task.

    Handing single slices out costs time; large tasks at the end would keep all but one worker
    waiting. So the tasks shrink with what is left.
    """
    batches, done = [order[:1]], 1
    while done < len(order):
        size = max(1, min(_BATCH, (len(order) - done) // (2 * process_count())))
        batches.append(order[done : done + size])
        done += size
    return batches


def _centre_first(count: int) -> list[int]:
    middle = (count - 1) / 2
    return sorted(range(count), key=lambda index: abs(index - middle))


def open_volume(entry: StackEntry, *, mend_quirk: bool = True) -> VolumeLoad:
    """Prepares the loading of a stack; its geometry is known at once.

    Args:
        entry: From an index.
        mend_quirk: Undo the RSNA 12-bit defect where headers show it.

    Raises:
        DecodeError: There is not enough memory for the volume.
    """
    return VolumeLoad(entry, mend_quirk=mend_quirk)


def load_volume(
    entry: StackEntry, progress: Progress = no_progress, *, mend_quirk: bool = True
) -> CTVolume:
    """Loads a stack and waits for it.

    Raises:
        DecodeError: No slice could be decoded, or memory does not suffice.
        Cancelled: From ``progress``.
    """
    return open_volume(entry, mend_quirk=mend_quirk).run(progress)
