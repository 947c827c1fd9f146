"""The program of a decoding process: headers in, Hounsfield units out, over its own pipes.

Started by :mod:`sadmil_core.dicom.decode_pool` alone. A request is a length and a pickle of
(task, headers, mend_quirk), from the very program that started this one; each answer is a kind,
a length and that many bytes. A decoder that crashes or hangs takes this process with it, and
nothing else.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sadmil_core.dicom.decode import decode_hu, digest_stored
from sadmil_core.dicom.volumefile import forget_volume, read_volume_headers
from sadmil_core.errors import DecodeError

if TYPE_CHECKING:
    from sadmil_core.dicom.header import SliceHeader

HU, DIGEST, VOLUME = "hu", "digest", "volume"
"""Tasks: a slice's Hounsfield units; a fingerprint of its stored values; the headers of a volume
file, of which there is a path in place of a header."""
REQUEST, ANSWER = struct.Struct("<Q"), struct.Struct("<sQ")
DONE, FAILED = b"d", b"f"
TIME_LIMIT_S = 30.0
"""A slice that takes longer is given up: real ones take some hundredths of a second."""
_MEMORY_LIMIT = 6 << 30


def main() -> None:
    """Answers requests until the other end closes its pipe."""
    requests = sys.stdin.buffer
    # Decoders print to what they take for the terminal: the answers get a stream of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _limit_memory()
    while size := requests.read(REQUEST.size):
        task, headers, mend_quirk = pickle.loads(requests.read(*REQUEST.unpack(size)))
        for header in headers:
            faulthandler.dump_traceback_later(TIME_LIMIT_S, exit=True, file=sys.stderr)
            _answer(answers, task, header, mend_quirk)
            faulthandler.cancel_dump_traceback_later()
        forget_volume()


def _answer(answers: BinaryIO, task: str, header: SliceHeader | Path, mend_quirk: bool) -> None:
    kind: bytes
    try:
        if isinstance(header, Path):
            payload = memoryview(pickle.dumps(read_volume_headers(header)))
        elif task == HU:
            payload = decode_hu(header, mend_quirk=mend_quirk).data.cast("B")
        else:
            payload = memoryview(digest_stored(header))
        kind = DONE
    except DecodeError as error:
        text = json.dumps([Exception.__str__(error), error.remedy, error.detail])
        kind, payload = FAILED, memoryview(text.encode())
    answers.write(ANSWER.pack(kind, len(payload)))
    answers.write(payload)
    answers.flush()


def _limit_memory() -> None:
    """A damaged codestream may ask for any amount of memory; it must not get the machine's."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))


if __name__ == "__main__":
    main()
