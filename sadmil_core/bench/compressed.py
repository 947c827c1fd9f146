"""Compressed studies: loading against SimpleITK's GDCM, and what each decoder costs."""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1

from sadmil_core.bench import Comparison, compare
from sadmil_core.bench.codestreams import COMPRESSED, encode_frame
from sadmil_core.bench.loading import load_with_simpleitk, load_with_us
from sadmil_core.synth.demo import DEMO_CONFIG, DEMO_SEED, write_phantom_study
from sadmil_core.synth.phantom import Phantom, make_phantom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STACKED = 4
_FRAMES = 16
_BITS = 12


def _head() -> Phantom:
    return make_phantom(np.random.default_rng(DEMO_SEED), DEMO_CONFIG, bleed=None)


@contextmanager
def compressed_folder(syntax: str) -> Iterator[Path]:
    """A temporary folder with a study of a noisy head, one compressed image a file.

    The phantom's slices stand there four times over, one head above the other: a long scan of
    images that compress as real ones do, as random numbers would not.

    Args:
        syntax: UID of the transfer syntax.
    """
    with tempfile.TemporaryDirectory(prefix="sadmil-bench-") as name:
        folder = Path(name)
        paths = write_phantom_study(_head(), folder, seed=0)
        for path in paths:
            dataset = dcmread(path)
            frame = encode_frame(dataset.pixel_array, syntax, precision=dataset.BitsStored)
            dataset.PixelData = encapsulate([frame])
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = UID(syntax)
            uid, height = str(dataset.SOPInstanceUID), float(dataset.ImagePositionPatient[2])
            for copy in range(_STACKED):
                dataset.SOPInstanceUID = UID(f"{uid[:60]}.{copy}")
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
                dataset.ImagePositionPatient[2] = f"{height + 1000 * copy:g}"
                dataset.save_as(folder / f"{path.stem}-{copy}.dcm")
            path.unlink()
        yield folder


def compare_compressed(runs: int = 5) -> list[Comparison]:
    """Index and load a JPEG lossless and a JPEG 2000 study of 128 slices.

    The processes that decode are kept from series to series, and are there after the warm-up,
    as they are from the second series on in a window or an archive.
    """
    found = []
    for syntax in (JPEGLosslessSV1, JPEG2000Lossless):
        with compressed_folder(syntax) as folder:
            count = len(list(folder.iterdir()))
            found.append(
                compare(
                    f"index and load {count} x 512 x 512, {syntax.name}",
                    lambda folder=folder: load_with_us(folder),  # type: ignore[misc]
                    lambda folder=folder: load_with_simpleitk(folder),  # type: ignore[misc]
                    other="SimpleITK ImageSeriesReader (GDCM)",
                    limit=0.8,
                    runs=runs,
                )
            )
    return found


def decoder_table(runs: int = 5) -> list[dict[str, Any]]:
    """What each installed plugin of pydicom takes for a 512 x 512 image, and whether threads help.

    Returns:
        A row a transfer syntax and plugin: wall-clock and processor time in ms an image, and the
        wall-clock time with two threads over that with one (0.5 is the best, 1 no gain).
    """
    head = _head().hu
    middle = np.clip(head[len(head) // 2].astype(np.int32) + 1024, 0, (1 << _BITS) - 1)
    rows: list[dict[str, Any]] = []
    for syntax in COMPRESSED:
        bits = 8 if UID(syntax).name.startswith("JPEG Baseline") else _BITS
        image = (middle >> (_BITS - bits)).astype(np.uint8 if bits == 8 else np.uint16)
        data = encapsulate([encode_frame(image, syntax, precision=bits)], has_bot=False)
        for plugin in get_decoder(UID(syntax)).available_plugins:
            decode = _decoder(syntax, plugin, data, image)
            try:
                decode()
            except (RuntimeError, ValueError, NotImplementedError) as error:
                rows.append({"syntax": UID(syntax).name, "plugin": plugin, "error": str(error)})
                continue
            rows.append({"syntax": UID(syntax).name, "plugin": plugin, **_costs(decode, runs)})
    return rows


def _decoder(
    syntax: str, plugin: str, data: bytes, image: np.ndarray[Any, Any]
) -> Callable[[], object]:
    options: dict[str, Any] = {
        "rows": image.shape[0],
        "columns": image.shape[1],
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": 8 * image.itemsize,
        "bits_stored": 8 if image.itemsize == 1 else _BITS,
        "pixel_representation": 0,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(UID(syntax))
    return lambda: decoder.as_array(data, index=0, decoding_plugin=plugin, **options)


def _costs(decode: Callable[[], object], runs: int) -> dict[str, float]:
    walls, processor, shares = [], [], []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(runs):
            wall, busy = time.perf_counter(), time.process_time()
            for _ in range(_FRAMES):
                decode()
            walls.append((time.perf_counter() - wall) / _FRAMES)
            processor.append((time.process_time() - busy) / _FRAMES)
            wall = time.perf_counter()
            list(pool.map(lambda _: decode(), range(_FRAMES)))
            shares.append((time.perf_counter() - wall) / _FRAMES / walls[-1])
    return {
        "wall_ms": round(1e3 * statistics.median(walls), 2),
        "processor_ms": round(1e3 * statistics.median(processor), 2),
        "two_threads_over_one": round(statistics.median(shares), 2),
    }
