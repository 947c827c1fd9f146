"""Breaks DICOM files by the thousand and checks that the reader tells the truth about each.

``python -m tests.fuzz_dicom --mutations 20000 --seed 0 --seconds-per-file 5``

Mutations are numbered; each depends on the seed and its number alone, so that ``--replay N``
shows one again. They run in worker processes: a decoder that crashes or hangs costs a worker,
and is told apart from defects of the reader.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.fuzzing.mutations import Case, mutate
from tests.fuzzing.oracle import Verdict, judge
from tests.fuzzing.seeds import FILES, Seed, all_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ADDRESS_SPACE = 12 << 30
_BATCH = 50
_TELL_EVERY = 1000


@dataclass(slots=True)
class Summary:
    """What came of a run.

    Attributes:
        outcomes: How mutants ended, with numbers.
        defects: Number of the mutation to what must not be.
        seconds: How long it took.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    defects: dict[int, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{sum(self.outcomes.values())} mutations in {self.seconds:.0f} s"]
        lines += [f"{count:7d}  {name}" for name, count in self.outcomes.most_common()]
        lines.append(f"{len(self.defects)} with defects")
        lines += [f"  {n}: {'; '.join(texts)}" for n, texts in sorted(self.defects.items())]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutation, ready to be written."""

    seed: Seed
    target: int
    case: Case
    name: str


def make_mutant(seed: int, number: int) -> Mutant:
    """Mutation ``number`` of a run with this seed."""
    rng = Random(f"{seed}:{number}")
    seeds = all_seeds()
    own = [s for s in seeds if s.foreign is None]
    source = rng.choice(own if rng.random() < 0.85 else seeds)
    target = rng.randrange(FILES)
    case = mutate(source.foreign or source.files[target], source.files, rng)
    suffix = source.suffix if rng.random() < 0.8 else rng.choice(("", ".IMA", ".bin"))
    return Mutant(source, target, case, f"{rng.choice('0x')}{target}m{suffix}")


def write_mutant(mutant: Mutant, folder: Path) -> Path:
    """Writes a mutant beside its clean neighbours, and clears away any other file."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {f"{k}.dcm": mutant.seed.files[k] for k in range(FILES) if k != mutant.target}
    names[mutant.name] = mutant.case.content
    for path in folder.iterdir():
        path.unlink()
    for name, content in names.items():
        (folder / name).write_bytes(content)
    return folder / mutant.name


def run_one(
    seed: int, number: int, folder: Path, say: Connection | None = None, seconds: float = 0
) -> Verdict:
    """Makes, writes and judges one mutation."""
    mutant = make_mutant(seed, number)

    def phase(name: str) -> None:
        if say is not None:
            say.send(("phase", number, name))
            faulthandler.dump_traceback_later(max(seconds - 0.5, 0.5), file=_trace)

    path = write_mutant(mutant, folder)
    return judge(folder, path, mutant.seed, mutant.target, mutant.case, phase)


_trace = sys.stderr


def _work(pipe: Connection, seed: int, seconds: float, folder: str) -> None:
    """A worker: takes numbers, answers with verdicts."""
    global _trace
    os.setpgid(0, 0)  # so that what the worker starts ends with it
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    root = Path(folder)
    with (root / "trace").open("w") as _trace, (root / "noise").open("w") as noise:
        faulthandler.enable(_trace)
        os.dup2(noise.fileno(), 1)  # decoders write to both
        os.dup2(noise.fileno(), 2)
        all_seeds()
        while (numbers := pipe.recv()) is not None:
            for number in numbers:
                try:
                    verdict = run_one(seed, number, root / "case", pipe, seconds)
                except Exception:  # noqa: BLE001 - a fault of the fuzzer's own must be seen, too
                    verdict = Verdict("fuzzer", [f"fuzzer: {traceback.format_exc()}"])
                faulthandler.cancel_dump_traceback_later()
                pipe.send(("verdict", number, verdict))
            pipe.send(("idle", -1, None))


class _Worker:
    """The parent's side of a worker process."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sadmil-fuzz-"))
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, seed, seconds, str(self.folder)))
        self.process.start()
        other.close()
        self.numbers: deque[int] = deque()
        self.phase = "starting"
        self.since = time.monotonic() + 60  # imports and seeds

    def give(self, numbers: Iterable[int]) -> None:
        self.numbers.extend(numbers)
        self.pipe.send(list(self.numbers))

    def trace(self) -> str:
        """Where it was when it died: the reader's innermost lines."""
        with contextlib.suppress(OSError):
            lines = (self.folder / "trace").read_text().splitlines()
            inner = [line.strip() for line in lines if line.startswith("  File")]
            return " < ".join(line.rpartition("/")[2] for line in inner[:4])
        return ""

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError, TypeError):
            os.killpg(self.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        self.process.kill()
        self.process.join()
        self.pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Run:
    """Hands numbers out to workers and collects what comes back."""

    def __init__(
        self,
        numbers: Iterable[int],
        seed: int,
        seconds: float,
        workers: int,
        say: Callable[[str], object],
    ) -> None:
        self._todo = deque(numbers)
        self._total, self._say = len(self._todo), say
        self._seed, self._seconds = seed, seconds
        self._again: set[int] = set()
        self.summary = Summary()
        self._workers = [self._started() for _ in range(min(workers, len(self._todo) or 1))]

    def _started(self) -> _Worker:
        worker = _Worker(self._seed, self._seconds)
        self._refill(worker)
        return worker

    def _refill(self, worker: _Worker) -> None:
        worker.give([self._todo.popleft() for _ in range(min(_BATCH, len(self._todo)))])

    def finish(self) -> Summary:
        """Runs to the end."""
        start = time.monotonic()
        try:
            while self._todo or any(worker.numbers for worker in self._workers):
                ready = wait([worker.pipe for worker in self._workers], timeout=0.5)
                for worker in list(self._workers):
                    if worker.pipe in ready:
                        self._receive(worker)
                    elif time.monotonic() - worker.since > self._seconds and worker.numbers:
                        self._lost(worker, "hang")
        finally:
            for worker in self._workers:
                worker.end()
        self.summary.seconds = time.monotonic() - start
        return self.summary

    def _receive(self, worker: _Worker) -> None:
        try:
            kind, number, what = worker.pipe.recv()
        except (EOFError, OSError):
            self._lost(worker, "crash")
            return
        worker.since = time.monotonic()
        if kind == "idle":
            self._refill(worker)
        elif kind == "phase":
            worker.phase = what
        else:
            worker.numbers.popleft()
            self._note(number, what)
            if any(text.startswith("memory") for text in what.defects):
                self._replace(worker)  # its peak would hide the next one

    def _note(self, number: int, verdict: Verdict) -> None:
        self.summary.outcomes[verdict.outcome or "failed"] += 1
        if verdict.defects:
            self.summary.defects[number] = verdict.defects
            self._say(f"  {number}: {'; '.join(verdict.defects)}")
        done = self.summary.outcomes.total()
        if done % _TELL_EVERY == 0:
            self._say(f"{done} of {self._total} mutations")

    def _lost(self, worker: _Worker, how: str) -> None:
        """A worker that died or stands still; a hang must happen twice to be one."""
        number = worker.numbers[0]
        if number not in self._again:
            self._again.add(number)
        else:
            worker.process.join(timeout=1)
            where = f"{worker.phase}, exit code {worker.process.exitcode}: {worker.trace()}"
            kind = f"decoder {how}" if "decode" in worker.trace() else how
            self._note(number, Verdict(kind, [f"{kind}: {where}"]))
            worker.numbers.popleft()
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        self._todo.extendleft(reversed(worker.numbers))
        worker.end()
        self._workers[self._workers.index(worker)] = self._started()


def fuzz(
    mutations: int,
    *,
    seed: int = 0,
    seconds: float = 5,
    workers: int = 2,
    first: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> Summary:
    """Runs mutations ``first`` and on, in worker processes.

    Args:
        mutations: How many.
        seed: Of all randomness.
        seconds: What reading a mutant, alone or in its folder, may take.
        workers: Processes.
        first: Number of the first.
        say: Told each defect as it is found, and how far the run is.
    """
    return _Run(range(first, first + mutations), seed, seconds, workers, say).finish()


def _replay(seed: int, number: int, keep: Path) -> None:
    mutant = make_mutant(seed, number)
    path = write_mutant(mutant, keep)
    print(f"{mutant.seed.name}, file {mutant.target}: {'; '.join(mutant.case.steps)}")
    print(f"written to {path}")
    for name, tags in (("values", mutant.case.tags), ("frames", mutant.case.framed)):
        print(f"{name} touched: {' '.join(sorted(f'{tag:08X}' for tag in tags))}")
    print(run_one(seed, number, keep))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds-per-file", type=float, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--replay", type=int, help="run this mutation alone, in this process")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-case"), help="where to replay")
    options = parser.parse_args()
    if options.replay is not None:
        _replay(options.seed, options.replay, options.keep)
        return 0
    summary = fuzz(
        options.mutations,
        seed=options.seed,
        seconds=options.seconds_per_file,
        workers=options.workers,
        first=options.first,
        say=functools.partial(print, file=sys.stderr, flush=True),
    )
    print(summary)
    return 1 if summary.defects else 0


if __name__ == "__main__":
    sys.exit(main())
