"""Batches made ready while the network is busy, and how long it had to wait for them.

Threads, not processes: windowing, resampling and decompression let go of the interpreter, nothing
has to be copied between processes, and a worker cannot be killed alone.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sadmil_core.data.bags import Batch, collate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from sadmil_core.data.bags import BagSource

_AHEAD = 2  # steps that are made ready before they are asked for


class Feed:
    """The batches of the steps to come, in order.

    Args:
        bags: Where scans come from.
        steps: Of each step the batches, of each batch the indices of its scans.
        workers: Threads; 0 loads when asked.

    Attributes:
        waited_s: How long it took, altogether, until a batch that was asked for was there.
    """

    def __init__(
        self, bags: BagSource, steps: Sequence[Sequence[Sequence[int]]], workers: int
    ) -> None:
        self._bags, self._steps, self._workers = bags, steps, workers
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[list[Batch]]:
        if self._workers == 0:
            for step in self._steps:
                start = time.perf_counter()
                batches = [self._make(indices) for indices in step]
                self.waited_s += time.perf_counter() - start
                yield batches
            return
        with ThreadPoolExecutor(self._workers, thread_name_prefix="feed") as pool:
            ahead: deque[list[Future[Batch]]] = deque()
            try:
                for step in self._steps:
                    ahead.append([pool.submit(self._make, indices) for indices in step])
                    if len(ahead) > _AHEAD:
                        yield self._wait(ahead.popleft())
                while ahead:
                    yield self._wait(ahead.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, indices: Sequence[int]) -> Batch:
        return collate([self._bags[i] for i in indices])

    def _wait(self, futures: list[Future[Batch]]) -> list[Batch]:
        start = time.perf_counter()
        batches = [future.result() for future in futures]
        self.waited_s += time.perf_counter() - start
        return batches
