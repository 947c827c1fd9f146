"""Synthetic scans beside real ones: numbers, figures and pictures in a folder of the user's."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import make_folder, replacing
from sadmil_core.data.manifest import read_manifest
from sadmil_core.dicom import index_folder
from sadmil_core.dicom.codes import printable
from sadmil_core.errors import InputError
from sadmil_core.evaluation.figures import COLOURS, DASHES, Picture, svg_figure
from sadmil_core.evaluation.report_html import Cell, Grid, Row
from sadmil_core.experiments.report import html_page, write_json
from sadmil_core.progress import no_progress
from sadmil_core.synth.pool import run_jobs
from sadmil_core.synth.realism import (
    EDGES_HU,
    FREQUENCIES_MM,
    Measured,
    Source,
    measure_scan,
)
from sadmil_core.synth.realism_compare import compare, mean_power

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sadmil_core.progress import Progress
    from sadmil_core.synth.realism_compare import Comparison, Discrimination, Quartiles, Side

SCHEMA_VERSION = 1
PAIRS = 20
"""Pairs of a real and a synthetic slice, in an order that only the key tells."""

_GALLERY = 8
_SAME_LEVEL = 0.05
_PICTURES, _KEY = "pictures", "key.json"
_SPANS = {"scalp": (-200, 200), "skull": (0, 2000), "brain": (0, 70)}
_SPAN = (-30, 60)
_SIDES = ("real", "synthetic")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealismReport:
    """What a report says.

    Attributes:
        comparison: The numbers.
        page: The page for people.
        document: The same as JSON.
        skipped: Scans that could not be measured, with the reason.
    """

    comparison: Comparison
    page: Path
    document: Path
    skipped: tuple[tuple[str, str], ...] = field(default=())


def write_realism_report(
    synthetic: Path,
    real: Path,
    out: Path,
    *,
    seed: int = 0,
    size: int = 256,
    scans: int = 60,
    workers: int = 1,
    progress: Progress = no_progress,
) -> RealismReport:
    """Measures synthetic and real scans and writes ``realism.html`` and ``realism.json``.

    Args:
        synthetic: A folder written by ``sadmil synth``, or any of DICOM series.
        real: A folder of head CTs; with a manifest.csv that names masks, bleeds are compared, too.
        out: Made if it does not exist. It will hold pictures of the real scans.
        seed: Of what is drawn: scans, patches, pairs.
        size: Rows and columns of all scans are averaged to at most these before they are measured.
        scans: At most so many of each kind are measured.
        workers: Processes.
        progress: Called after every scan; what it raises passes through.

    Raises:
        InputError: A folder holds no scan that can be measured.
        WriteError: The system refused.
    """
    make_folder(out / _PICTURES, "Choose another --out.")
    rng = np.random.default_rng([seed, 17])
    sources = [*_sources(real, True, scans, rng), *_sources(synthetic, False, scans, rng)]
    done = 0

    def tell() -> None:
        progress(done, len(sources), "Measuring")

    tell()
    jobs = {at: (source, seed + at, size) for at, source in enumerate(sources)}
    found: dict[int, Measured] = {}
    skipped: dict[int, str] = {}
    for at, outcome in run_jobs(measure_scan, jobs, workers, tell):
        done += 1
        if isinstance(outcome, str):
            skipped[at] = outcome
        else:
            found[at] = outcome
        tell()
    measured = [found[at] for at in sorted(found)]
    for is_real, folder in ((True, real), (False, synthetic)):
        if not any(each.real == is_real for each in measured):
            said = "; ".join(why for at, why in skipped.items() if sources[at].real == is_real)
            raise InputError(f"No scan of {folder} can be measured: {said}", remedy="")
    comparison = compare(measured, seed)
    told = tuple((_shown(sources[at]), why) for at, why in sorted(skipped.items()))
    document, page = out / "realism.json", out / "realism.html"
    write_json(_document(comparison, told, seed=seed, size=size), document)
    figures = [
        _histogram_figure(measured),
        _spectrum_figure(measured),
        *_write_pairs(measured, out, np.random.default_rng([seed, 19])),
        *_write_gallery(measured, out, np.random.default_rng([seed, 23])),
    ]
    text = html_page(
        "Synthetic scans beside real ones",
        _facts(comparison),
        _sentences(comparison),
        _grids(comparison),
        figures,
        _how(comparison, told, size),
    )
    with replacing(page) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
    return RealismReport(comparison=comparison, page=page, document=document, skipped=told)


def _sources(folder: Path, real: bool, most: int, rng: np.random.Generator) -> list[Source]:
    """The scans of a folder, or of the manifest in it, at most so many."""
    manifest = folder / "manifest.csv"
    found: list[Source] = []
    if manifest.is_file():
        scans = [scan for scan in read_manifest(manifest).scans if scan.path is not None]
        scans = [scans[at] for at in _some(len(scans), most, rng)]
        for scan in scans:
            assert scan.path is not None
            owner = "" if real else scan.patient_id
            entries = index_folder(scan.path).entries[:1]
            found += [
                Source(entry=entry, owner=owner, mask_path=scan.mask_path, real=real)
                for entry in entries
            ]
    else:
        entries = index_folder(folder).entries
        ordered = sorted(entries, key=lambda e: (e.series_instance_uid, e.stack_index))
        found = [Source(entry=ordered[at], real=real) for at in _some(len(ordered), most, rng)]
    if not found:
        raise InputError(f"{folder} holds no CT series.", remedy="Give a folder of head CTs.")
    return found


def _some(count: int, most: int, rng: np.random.Generator) -> list[int]:
    if count <= most:
        return list(range(count))
    return sorted(int(at) for at in rng.choice(count, most, replace=False))


def _shown(source: Source) -> str:
    return printable(str(source.entry.shown(source.entry.slices[0].path).parent))


def _document(
    comparison: Comparison, skipped: Sequence[tuple[str, str]], *, seed: int, size: int
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "notice": RESEARCH_USE_NOTICE,
        "seed": seed,
        "size": size,
        **asdict(comparison),
        "skipped": [{"scan": name, "reason": why} for name, why in skipped],
    }


def _facts(comparison: Comparison) -> str:
    real, synthetic = comparison.scans
    heads = comparison.heads
    return (
        f"{real} real scans of {heads[0]} heads; {synthetic} synthetic scans of {heads[1]} heads; "
        f"{comparison.shared} heads are on both sides."
    )


def _sentences(comparison: Comparison) -> list[str]:
    return [_sentence(each) for each in comparison.classifiers]


def _sentence(found: Discrimination) -> str:
    title = f"{found.title[0].upper()}{found.title[1:]}"
    if found.auc is None or found.low is None or found.high is None:
        return f"{title}: not measured ({found.reason})."
    said = f"AUC {found.auc:.3f} (95 % interval {found.low:.3f} to {found.high:.3f})"
    if found.low <= 0.5 <= found.high:
        verdict = "it was not shown that the classifier can tell synthetic from real"
    elif found.high < 0.5:
        verdict = "the classifier is wrong more often than right on heads it has not seen"
    else:
        verdict = "the classifier can tell synthetic from real"
    return f"{title}: {said}; {verdict}."


def _grids(comparison: Comparison) -> list[Grid]:
    head = ("", *_SIDES)
    return [
        Grid(
            caption="Scans: median, and quartiles beneath",
            head=head,
            rows=tuple(_row(name, side) for name, side in comparison.numbers.items()),
        ),
        Grid(
            caption="How far a scan lies from the mean of real scans of other heads",
            head=head,
            rows=tuple(_row(name, side) for name, side in comparison.distances.items()),
            footnotes=(
                "Synthetic scans are as near as can be where their numbers are those of the real.",
            ),
        ),
    ]


def _row(name: str, side: Side) -> Row:
    return Row(title=name, cells=(_cell(side.real), _cell(side.synthetic)))


def _cell(found: Quartiles | None) -> Cell:
    if found is None:
        return Cell(text="-", kind="none", why="no scan shows it")
    return Cell(
        text=f"{found.middle:.3g}",
        interval=f"{found.low:.3g} to {found.high:.3g}",
        why=f"n = {found.n} scans",
    )


def _how(comparison: Comparison, skipped: Sequence[tuple[str, str]], size: int) -> list[str]:
    auc = next((each for each in comparison.classifiers if each.auc is not None), None)
    return [
        f"Pixels of all scans are averaged in blocks to at most {size} rows and columns, and both "
        "kinds are segmented by the same finder. Known bleeds are left out of all but their own "
        "numbers.",
        "The classifier is a ridge-penalised logistic regression on what a 9 x 9 patch shows "
        "(density, variance, fine noise, correlation along rows and columns and across slices, "
        "kurtosis, edges), their squares and products. Each head's patches are scored by a model "
        "that saw other heads only: a real scan, and what was inserted into it, are one head, and "
        "where there are enough of those, heads that are on one side only are left out. The "
        "interval is a bootstrap over heads"
        + (f" ({auc.heads} of them)." if auc else ".")
        + " It sees texture, not anatomy.",
        "Densities are compared by the earth mover's distance, spectra by the root mean square of "
        "their ratio in decibels.",
        *(f"Left out: {name}: {why}." for name, why in skipped),
    ]


def _histogram_figure(scans: Sequence[Measured]) -> Picture:
    names = list(dict.fromkeys(name for scan in scans for name in scan.histograms))
    middle = 0.5 * (EDGES_HU[1:] + EDGES_HU[:-1])
    with svg_figure(7.6, 2.1 * ((len(names) + 1) // 2)) as (figure, svg):
        axes = np.atleast_1d(figure.subplots((len(names) + 1) // 2, 2)).ravel()
        for ax, name in zip(axes, names, strict=False):
            for at, side in enumerate(_SIDES):
                own = [
                    s.histograms[name]
                    for s in scans
                    if s.real == (at == 0) and name in s.histograms
                ]
                if own:
                    ax.plot(middle, np.mean(own, axis=0), label=side, **_line(at))
            ax.set(
                title=name,
                xlim=_SPANS.get(name, _SPAN),
                xlabel="HU",
                ylabel="share",
                ylim=(0, None),
            )
        axes[0].legend()
        for ax in axes[len(names) :]:
            ax.set_axis_off()
    return Picture(
        key="densities",
        svg=svg[0],
        caption="Densities by tissue, the mean over scans of each scan's distribution.",
    )


def _line(at: int) -> dict[str, Any]:
    return {"color": COLOURS[at], "linestyle": DASHES[at]}


def _spectrum_figure(scans: Sequence[Measured]) -> Picture:
    with svg_figure(7.6, 2.9) as (figure, svg):
        left, right = figure.subplots(1, 2)
        for at, side in enumerate(_SIDES):
            own = [scan for scan in scans if scan.real == (at == 0)]
            left.plot(FREQUENCIES_MM, mean_power(own), label=side, **_line(at))
        left.set(xlabel="cycles per mm", ylabel="share of the power", title="Noise: spectrum")
        left.legend()
        _dots(right, scans)
    return Picture(
        key="noise",
        svg=svg[0],
        caption="The noise in even patches of brain: its spectrum (mean over scans), and each "
        "scan's standard deviation beside the width of the skin's edge.",
    )


def _dots(ax: Axes, scans: Sequence[Measured]) -> None:
    for at, side in enumerate(_SIDES):
        own = [scan.numbers for scan in scans if scan.real == (at == 0)]
        ax.plot(
            [n["noise SD, HU"] for n in own],
            [n["skin's edge, FWHM in mm"] for n in own],
            "os"[at],
            color=COLOURS[at],
            alpha=0.7,
            markersize=4,
            label=side,
        )
    ax.set(xlabel="noise SD, HU", ylabel="skin's edge, mm", title="Noise and sharpness")


def _write_pairs(scans: Sequence[Measured], out: Path, rng: np.random.Generator) -> list[Picture]:
    """Pairs of slices from about the same height, which of them is real told by the key only."""
    real, made = (
        [
            (scan.owner, picture)
            for scan in scans
            if scan.real == kind
            for picture in scan.pictures
            if not picture.bleed.any()
        ]
        for kind in (True, False)
    )
    key: dict[str, str] = {}
    for at in rng.permutation(len(made))[:PAIRS]:
        owner, synthetic = made[int(at)]
        others = [p for whose, p in real if whose != owner]
        near = [p for p in others if abs(p.level - synthetic.level) < _SAME_LEVEL]
        if not near:
            continue
        genuine = near[int(rng.integers(len(near)))]
        swap = bool(rng.random() < 0.5)
        planes = [synthetic.grey, genuine.grey] if swap else [genuine.grey, synthetic.grey]
        name = f"pair-{len(key) + 1:02d}.png"
        between = np.full((len(planes[0]), 8), 128, np.uint8)
        both = np.concatenate([planes[0], between, planes[1]], axis=1)
        _write_png(both, out / _PICTURES / name)
        key[name] = "left" if swap else "right"
    if not key:
        return []
    write_json({"synthetic": key}, out / _PICTURES / _KEY)
    images = "".join(
        f'<img src="{_PICTURES}/{name}" alt="Pair {number}" loading="lazy" '
        'style="width:48%;margin:0 1% 8px 0">'
        for number, name in enumerate(key, start=1)
    )
    answer = "; ".join(f"{number}: {side}" for number, side in enumerate(key.values(), start=1))
    return [
        Picture(
            key="pairs",
            svg=f"<div>{images}</div><details><summary>Which is synthetic?</summary>"
            f"<p>{answer}</p></details>",
            caption="A real and a synthetic slice of different heads, from about the same height "
            "and without a bleed, in an order of chance; 0 to 80 HU, cut to the head. Guess first.",
        )
    ]


def _write_gallery(scans: Sequence[Measured], out: Path, rng: np.random.Generator) -> list[Picture]:
    """The largest slices of bleeds, each plain and with its mask's outline."""
    bleeding = [p for scan in scans if not scan.real for p in scan.pictures[-1:] if p.bleed.any()]
    chosen = [bleeding[int(at)] for at in rng.permutation(len(bleeding))[:_GALLERY]]
    images = []
    for number, picture in enumerate(chosen, start=1):
        name = f"bleed-{number:02d}.png"
        plain = np.repeat(picture.grey[:, :, None], 3, axis=2)
        marked = plain.copy()
        marked[_outline(picture.bleed)] = (213, 94, 0)
        _write_png(np.concatenate([plain, marked], axis=1), out / _PICTURES / name)
        images.append(
            f'<img src="{_PICTURES}/{name}" alt="Bleed {number}" loading="lazy" '
            'style="width:48%;margin:0 1% 8px 0">'
        )
    if not images:
        return []
    return [
        Picture(
            key="bleeds",
            svg=f"<div>{''.join(images)}</div>",
            caption="Synthetic bleeds where they are largest, plain and with the outline of the "
            "truth.",
        )
    ]


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edge = mask.copy()
    edge[1:-1, 1:-1] &= ~inner
    return edge


def _write_png(image: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    with replacing(path) as file:
        file.write(stream.getvalue())
