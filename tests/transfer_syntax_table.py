"""The README's table of transfer syntaxes, from what reading one series of each gives.

``python -m tests.transfer_syntax_table --write`` puts it into the README; without the option it
is printed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.uid import UID

from sadmil_core.bench.codestreams import COMPRESSED
from sadmil_core.dicom import index_folder
from sadmil_core.dicom.decode import decoder_of
from tests.encoders import GE_PRIVATE, LOSSLESS, LOSSY, UNREADABLE, noisy_head
from tests.synthetic import load, write_series

if TYPE_CHECKING:
    from pydicom import Dataset

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- transfer syntaxes: begin -->", "<!-- transfer syntaxes: end -->"


def render_table() -> str:
    """Writes, reads and compares one series per syntax; the table as Markdown."""
    lines = [
        "| transfer syntax | UID | decoder | read | verified by |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, uid in LOSSLESS.items():
            read = _read(Path(folder) / name, name, 12)
            lines.append(f"| {_title(uid)} | {uid} | {decoder_of(uid)} | {read} |")
        for name, (uid, bits, _) in LOSSY.items():
            read = _read(Path(folder) / name, name, bits)
            lines.append(f"| {_title(uid)} | {uid} | {decoder_of(uid)} | {read} |")
        for name, uid in UNREADABLE.items():
            refusal = _refusal(Path(folder) / name, uid)
            lines.append(f"| {_title(uid)} | {uid} | - | {refusal} |")
    return "\n".join(lines)


def _title(uid: str) -> str:
    """The standard's name, without what the UID beside it says better."""
    if uid == GE_PRIVATE:
        return "GE private: implicit little endian, big endian pixels"
    name = UID(uid).name.partition(":")[0]
    return name if name != uid else "Encapsulated Uncompressed Explicit VR Little Endian"


def _read(folder: Path, name: str, bits: int) -> str:
    hu = (noisy_head(48, 61, (1 << bits) - 1) - 1024)[None]
    allocated = 8 if bits == 8 else 16
    options = {"signed": False, "intercept": -1024, "bits_stored": bits}
    write_series(folder, hu=hu, syntax=name, bits_allocated=allocated, **options)
    error = int(np.abs(load(folder).hu - hu).max())
    if name not in LOSSY:
        source = "encoded" if LOSSLESS[name] in COMPRESSED else "written"
        return f"yes | {source} by the tests, equal" if error == 0 else f"WRONG by {error} | "
    _, _, limit = LOSSY[name]
    kept = f"lossy, {bits} bits | encoded by the tests, within {limit} stored units"
    return kept if error <= limit else f"WRONG by {error} | "


def _refusal(folder: Path, uid: str) -> str:
    def relabel(dataset: Dataset, _z: int) -> None:
        dataset.file_meta.TransferSyntaxUID = uid

    write_series(folder, slices=1, syntax="rle", change=relabel)
    index = index_folder(folder)
    reasons = {file.reason.value for file in index.skipped}
    return "no | skipped as " + ", ".join(sorted(reasons))


def table_in(readme: str) -> str:
    """What stands between the two marks."""
    return readme.split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    """Prints the table, or writes it into the README."""
    table = render_table()
    if "--write" not in sys.argv:
        sys.stdout.write(f"{table}\n")
        return
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    README.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
