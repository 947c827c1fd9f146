"""What a folder holds, as values: studies, series, geometry, warnings, files passed over."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.dicom import direction_letters
from sadmil_core.dicom.syntaxes import syntax_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sadmil_core.dicom import SeriesIndex, SkippedFile, StackEntry
    from sadmil_core.fitness import Fitness

SCHEMA_VERSION = 1


def index_text(index: SeriesIndex, verdicts: Sequence[Fitness]) -> str:
    """The index as JSON text.

    Args:
        index: Of one or several paths.
        verdicts: The fitness of each of its entries.
    """
    document = index_document(index, verdicts)
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def index_document(index: SeriesIndex, verdicts: Sequence[Fitness]) -> dict[str, Any]:
    """The index as values JSON can hold; lengths in mm, angles in degrees, files from 0."""
    studies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry, fitness in zip(index.entries, verdicts, strict=True):
        studies[entry.study_instance_uid].append(_series(entry, fitness))
    return {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "research_use_only": True,
        "notice": RESEARCH_USE_NOTICE,
        "root": str(index.root),
        "studies": [{"scan_id": uid, "series": series} for uid, series in studies.items()],
        "skipped_files": [_skipped(file) for file in index.skipped],
    }


def _series(entry: StackEntry, fitness: Fitness) -> dict[str, Any]:
    geometry = entry.geometry
    first = entry.slices[0]
    placed = geometry.has_positions
    steps = geometry.spacings_mm if placed else ()
    positions = geometry.position_mm if placed else (None,) * len(entry.slices)
    return {
        "series_instance_uid": entry.series_instance_uid,
        "stack_index": entry.stack_index,
        "slices": len(entry.slices),
        "rows": first.rows,
        "columns": first.columns,
        "pixel_spacing_mm": first.pixel_spacing_mm,
        "slice_thickness_mm": first.slice_thickness_mm,
        "spacing_mm": {"min": min(steps), "median": geometry.spacing_mm, "max": max(steps)}
        if steps
        else None,
        "missing_after": {str(k): n for k, n in enumerate(geometry.missing_after) if n}
        if placed
        else {},
        "tilt_deg": round(geometry.tilt_deg, 2) if geometry.has_orientation else None,
        "row_direction": direction_letters(geometry.row_direction),
        "column_direction": direction_letters(geometry.column_direction),
        "encodings": sorted({syntax_name(h.transfer_syntax) for h in entry.slices}),
        "fitness": str(fitness.level),
        "fitness_reasons": [
            {"code": str(reason.code), "level": str(reason.level), "message": reason.message}
            for reason in fitness.reasons
        ],
        "warnings": [{"code": str(w.code), "message": w.message} for w in entry.warnings],
        "skipped_files": [_skipped(file) for file in entry.skipped],
        "instances": [
            {
                "slice_index": index,
                "path": str(entry.shown(header.path)),
                "frame_number": header.frame_number,
                "sop_instance_uid": header.sop_instance_uid,
                "position_mm": position,
            }
            for index, (header, position) in enumerate(zip(entry.slices, positions, strict=True))
        ],
    }


def _skipped(file: SkippedFile) -> dict[str, str]:
    return {"path": str(file.path), "reason": str(file.reason), "message": file.message}
