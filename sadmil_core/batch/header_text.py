"""Headers as text and back, for the index that outlives the process."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from sadmil_core.dicom import SliceHeader, WarningCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FIELDS = tuple(field.name for field in fields(SliceHeader) if field.name != "path")


def headers_text(headers: Sequence[SliceHeader]) -> str:
    """The headers of one file as JSON, without its path."""
    return json.dumps(
        [[getattr(header, name) for name in FIELDS] for header in headers],
        separators=(",", ":"),
    )


def parse_headers(text: str | bytes, path: Path) -> tuple[SliceHeader, ...]:
    """What :func:`headers_text` was given."""
    return tuple(_header(values, path) for values in json.loads(text))


def _header(values: list[Any], path: Path) -> SliceHeader:
    cells = {name: _frozen(value) for name, value in zip(FIELDS, values, strict=True)}
    header = SliceHeader(path=path, **cells)
    return replace(header, departures=tuple(map(WarningCode, header.departures)))


def _frozen(value: Any) -> Any:
    """Lists are what JSON makes of tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
