"""Images at repeated positions: which belong to which reconstruction or acquisition."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from sadmil_core.dicom.header import SliceHeader

    Places = Sequence[Sequence[SliceHeader]]


def _kernel(header: SliceHeader) -> Hashable:
    return header.kernel


_TELLING: tuple[Callable[[SliceHeader], Hashable], ...] = (
    lambda header: header.acquisition_number,
    _kernel,
    lambda header: header.image_type,
    lambda header: header.slice_thickness_mm,
    lambda header: header.window_hu,
    lambda header: (header.slope, header.intercept),
    # A folder each is a choice somebody made; the names of files are not.
    lambda header: header.path.parent,
)
"""What may tell reconstructions apart, the most trustworthy first."""


def split_layers(places: Places) -> tuple[list[list[SliceHeader]], bool]:
    """Deals the images at each position out to layers, one image at a position in each.

    By an attribute that tells them apart; else by their InstanceNumbers, which run through one
    reconstruction after the other or count them in turn.

    Args:
        places: The images at each position, foot to head.

    Returns:
        The layers, and whether something told them apart; where nothing did, images of
        different reconstructions may stand in one layer.
    """
    depth = max(map(len, places))
    if depth == 1:
        return [[header for place in places for header in place]], True
    for key in _TELLING:
        parts = _parted(places, key)
        # More parts than layers: an attribute that changes from slice to slice. A kernel does not.
        most = len(parts) if key is _kernel else depth
        if 1 < len(parts) <= most and max(map(_depth, parts)) < depth:
            split = [split_layers(part) for part in parts]
            return [layer for layers, _ in split for layer in layers], all(
                sure for _, sure in split
            )
    runs = _numbered_runs(places)
    if len(runs) == depth:
        return runs, True
    ordered = [sorted(place, key=by_number) for place in places]
    layers = [[place[k] for place in ordered if len(place) > k] for k in range(depth)]
    complete = all(len(place) == depth for place in places)
    return layers, complete and all(map(_counts_on, layers))


def by_number(header: SliceHeader) -> tuple[bool, int, Path, int]:
    """The key that sorts by InstanceNumber; images without one come last, by path and frame."""
    number = header.instance_number
    return number is None, number or 0, header.path, header.frame_number or 0


def _depth(places: Places) -> int:
    return max(map(len, places))


def _parted(places: Places, key: Callable[[SliceHeader], Hashable]) -> list[Places]:
    """The places of each value of an attribute, in the order the values first appear."""
    parts: dict[Hashable, list[list[SliceHeader]]] = defaultdict(list)
    for place in places:
        here: dict[Hashable, list[SliceHeader]] = defaultdict(list)
        for header in place:
            here[key(header)].append(header)
        for value, headers in here.items():
            parts[value].append(headers)
    return list(parts.values())


def _counts_on(layer: Sequence[SliceHeader]) -> bool:
    """Whether InstanceNumbers go up, or down, from each slice of a layer to the next."""
    numbers = [header.instance_number for header in layer]
    steps = {(b > a) - (b < a) for a, b in pairwise(numbers) if a is not None and b is not None}
    return None not in numbers and steps in ({1}, {-1}, set())


def _numbered_runs(places: Places) -> list[list[SliceHeader]]:
    """Images in the order of their numbers, cut wherever a position comes again.

    Empty where the parts are no reconstructions: these lie beside one another, and each is
    numbered from one end to the other. One stray image at the place of another cuts the numbers
    into two parts as well: in the midst of a series, or, one image alone, at its end.
    """
    place_of = {id(header): k for k, place in enumerate(places) for header in place}
    headers = [header for place in places for header in place]
    numbers = [header.instance_number for header in headers]
    if None in numbers or len(set(numbers)) < len(numbers):
        return []
    runs: list[list[SliceHeader]] = []
    covered: list[set[int]] = []
    for header in sorted(headers, key=by_number):
        place = place_of[id(header)]
        if not runs or place in covered[-1]:
            runs.append([])
            covered.append(set())
        runs[-1].append(header)
        covered[-1].add(place)
    ordered = [sorted(run, key=lambda header: place_of[id(header)]) for run in runs]
    beside = all(2 * len(a & b) > min(len(a), len(b)) > 1 for a, b in pairwise(covered))
    return ordered if beside and all(map(_counts_on, ordered)) else []
