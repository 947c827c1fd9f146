"""Pictures that are made on a worker while the reader moves on: always the newest one next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from sadmil_core.errors import SadmilError
    from viewer.model.jobs import JobContext, JobRunner


@dataclass(frozen=True, slots=True)
class _Wish:
    key: Hashable
    work: Callable[[JobContext], Any]
    on_done: Callable[[Any], None]
    on_failed: Callable[[SadmilError], None]
    on_cancelled: Callable[[], None]


class Latest:
    """One lane on which a picture under way is finished, and of those asked since, the last made.

    To stop it for each newer wish, as lanes do, would show nothing at all while a reader drags
    faster than pictures can be made.
    """

    def __init__(self, jobs: JobRunner, lane: str) -> None:
        self._jobs, self.lane = jobs, lane
        self._running: _Wish | None = None
        self._next: _Wish | None = None

    def ask(
        self,
        key: Hashable,
        work: Callable[[JobContext], Any],
        *,
        on_done: Callable[[Any], None],
        on_failed: Callable[[SadmilError], None],
        on_cancelled: Callable[[], None] = lambda: None,
    ) -> None:
        """Asks for a picture; one that is under way already is not made twice.

        Args:
            key: What tells pictures apart.
            work: Makes it, on a worker thread.
            on_done: Gets it, on the GUI thread, as those below.
            on_failed: Gets the error.
            on_cancelled: Called where it was stopped by the user.
        """
        wish = _Wish(key, work, on_done, on_failed, on_cancelled)
        if self._running is not None:
            self._next = None if self._running.key == key else wish
        else:
            self._start(wish)

    def drop(self) -> None:
        """Makes nothing any more of what was asked for."""
        self._running = self._next = None
        self._jobs.discard(self.lane)

    def _start(self, wish: _Wish) -> None:
        self._running = wish

        def end(answer: Callable[..., None], *values: Any) -> None:
            waiting, self._running, self._next = self._next, None, None
            if waiting is not None:
                self._start(waiting)
            answer(*values)

        def cancelled() -> None:
            self._next = None
            end(wish.on_cancelled)

        self._jobs.submit(
            self.lane,
            wish.work,
            on_done=lambda value: end(wish.on_done, value),
            on_failed=lambda error: end(wish.on_failed, error),
            on_cancelled=cancelled,
        )
