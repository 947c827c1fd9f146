"""Which part of an archive is this process's, and how many cores."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One part of an archive.

    Attributes:
        index: Which, from 0.
        count: Of how many.
        local_index: Which of the processes on this machine reads it.
        local_count: How many processes are said to run on this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1

    def __post_init__(self) -> None:
        for index, count in ((self.index, self.count), (self.local_index, self.local_count)):
            if not 0 <= index < count:
                raise ValueError(f"{index} of {count} is no part: they are numbered from 0")

    @property
    def name(self) -> str:
        """As files are called: ``00003-of-00008``."""
        return f"{self.index:05d}-of-{self.count:05d}"


def shard_of(option: str | None, environment: Mapping[str, str]) -> Shard:
    """The shard that an option or, without one, torchrun's variables name.

    Args:
        option: ``I/N``, I from 0; None for RANK and WORLD_SIZE, or all of it without those.
        environment: LOCAL_RANK and LOCAL_WORLD_SIZE are looked at, too.

    Raises:
        ValueError: What they say is no part of a whole.
    """
    local = _pair(environment, "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if option is None:
        index, count = _pair(environment, "RANK", "WORLD_SIZE")
    else:
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", option)
        if match is None:
            raise ValueError(f"{option!r} is not I/N, such as 0/8")
        index, count = int(match[1]), int(match[2])
    return Shard(index=index, count=count, local_index=local[0], local_count=local[1])


def _pair(environment: Mapping[str, str], index: str, count: str) -> tuple[int, int]:
    texts = environment.get(index, ""), environment.get(count, "")
    if not all(texts):
        return 0, 1
    if not all(text.isdecimal() for text in texts):
        raise ValueError(f"{index}={texts[0]!r} and {count}={texts[1]!r} are not numbers")
    return int(texts[0]), int(texts[1])


def default_threads(shard: Shard, environment: Mapping[str, str]) -> int | None:
    """How many CPU threads a process should use; None for what torch does by itself.

    torchrun sets OMP_NUM_THREADS to 1 where it starts several processes and the user has not
    set it, which leaves most cores idle: they are shared out instead. One thread on purpose
    is had by asking for it by option.
    """
    if shard.local_count == 1 or environment.get("OMP_NUM_THREADS", "1") != "1":
        return None
    return max(1, _cores() // shard.local_count)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
