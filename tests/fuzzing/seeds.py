"""Valid input for the fuzzer to mutate: every encoding, every kind of file."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.enhanced import write_enhanced
from tests.synthetic import AXIAL, SERIES, SYNTAXES, encoded_hu, tilted, write_series

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FILES = 6
_FRAMES = 2
_SIDE = 32  # the smallest that all encoders take
_LARGEST = 300_000

OTHER_INPUTS: dict[str, Callable[[Path], None]] = {}
"""File name suffix to a writer of one valid file of another format than DICOM."""


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A clean series, and the file that is mutated where it is none of its own.

    Attributes:
        name: To be named in reports.
        files: The series, foot to head.
        hu: What its slices show; as many to a file as :attr:`frames`.
        foreign: A file that does not belong to the series, mutated in its stead.
        suffix: Of the name of the foreign file.
    """

    name: str
    files: tuple[bytes, ...]
    hu: NDArray[np.int16]
    foreign: bytes | None = None
    suffix: str = ".dcm"

    @property
    def frames(self) -> int:
        """Slices in each file."""
        return len(self.hu) // len(self.files)


@functools.lru_cache(maxsize=1)
def all_seeds() -> tuple[Seed, ...]:
    """All seeds there are, in an order that does not change."""
    with tempfile.TemporaryDirectory(prefix="sadmil-seeds-") as folder:
        return tuple(_written(Path(folder)))


def _written(root: Path) -> list[Seed]:
    seeds = []
    for number, syntax in enumerate(SYNTAXES):
        orientation = (AXIAL, tilted(18), (-1, 0, 0, 0, 1, 0))[number % 3]
        hu = encoded_hu(FILES, _SIDE, _SIDE)
        paths = write_series(
            root / syntax,
            hu=hu,
            syntax=syntax,
            orientation=orientation,
            change=functools.partial(_enrich, undefined=number % 2 == 0),
        )
        seeds.append(Seed(name=syntax, files=_contents(paths), hu=hu))
        hu = encoded_hu(FILES * _FRAMES, _SIDE, _SIDE)
        paths = [
            write_enhanced(
                root / f"enhanced {syntax}" / f"{k}.dcm",
                hu=hu,
                frames=range(k * _FRAMES, (k + 1) * _FRAMES),
                orientation=orientation,
                sop_uid=f"{SERIES}.{100 + k}",
                syntax=syntax,
                intercepts=[1.0 + k, 2.0 + k] if number % 2 else (),
                change=functools.partial(_enrich, undefined=number % 2 == 1),
            )
            for k in range(FILES)
        ]
        seeds.append(Seed(name=f"enhanced {syntax}", files=_contents(paths), hu=hu))
    clean = next(seed for seed in seeds if seed.name == "explicit")
    for suffix, write in OTHER_INPUTS.items():
        path = root / f"other{suffix}"
        write(path)
        seeds.append(_foreign(clean, path, suffix))
    return seeds + [_foreign(clean, path, path.suffix) for path in _of_pydicom()]


def _contents(paths: list[Path]) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


def _foreign(clean: Seed, path: Path, suffix: str) -> Seed:
    return Seed(
        name=path.name, files=clean.files, hu=clean.hu, foreign=path.read_bytes(), suffix=suffix
    )


def _of_pydicom() -> list[Path]:
    """The DICOM files that pydicom brings with it; none is fetched."""
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(path for path in folder.glob("*.dcm") if 0 < path.stat().st_size <= _LARGEST)


def _enrich(dataset: Dataset, z: int, *, undefined: bool) -> None:
    """What real headers have beside the necessary: sequences, private elements, windows."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.AcquisitionNumber, dataset.SeriesNumber = 1, 2
    dataset.SliceThickness, dataset.ConvolutionKernel = "5", "H30s"
    dataset.BodyPartExamined, dataset.RescaleType = "HEAD", "HU"
    dataset.WindowCenter, dataset.WindowWidth = ["40", "400"], ["80", "2000"]
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    block = dataset.private_block(0x0019, "SADMIL TEST", create=True)
    block.add_new(0x01, "LO", "a private text")
    block.add_new(0x02, "OB", bytes(range(64)))
    purpose = Dataset()
    purpose.CodeValue, purpose.CodeMeaning = "121311", "Localizer"
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = f"{SERIES}.900"
    reference.PurposeOfReferenceCodeSequence = Sequence([purpose])
    dataset.ReferencedImageSequence = Sequence([reference])
    if undefined:
        for data in dataset.iterall():
            if data.VR == "SQ":
                data.is_undefined_length = True
                for item in data.value:
                    item.is_undefined_length_sequence_item = True
