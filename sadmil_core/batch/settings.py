"""What all results in a folder share: a report of two models would be of none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sadmil_core import __version__
from sadmil_core.atomic import replacing
from sadmil_core.errors import BatchError
from sadmil_core.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sadmil_core.batch.folder import BatchFolder
    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.named_series import NamedSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Everything the records depend on, but for the archive's files.

    Attributes:
        archive: The real paths that are read.
        model: Name and hash of the model; the hash covers weights, thresholds and the rule.
        rule: The decision rule in words, so that a refusal can name it.
        precision: ``fp32`` or ``bf16``.
        mend_quirk: Whether the RSNA 12-bit defect is undone.
        score_unfit: Whether what is unfit is scored.
        named_series: What a manifest names, by StudyInstanceUID.
        software_version: Of this program.
        report_schema: Of its reports.
    """

    archive: tuple[str, ...]
    model: str
    rule: str
    precision: str
    mend_quirk: bool
    score_unfit: bool
    named_series: Mapping[str, str]
    software_version: str = __version__
    report_schema: int = SCHEMA_VERSION

    def require(self, folder: BatchFolder) -> None:
        """Notes the settings in a new folder, or checks that an old one has the same.

        Raises:
            BatchError: The folder holds results of other settings, and both are named; or
                reports of something else, which would be replaced.
            WriteError: The system refused.
        """
        mine = json.loads(json.dumps(asdict(self)))
        found = _read(folder.settings)
        if found is None:
            foreign = [path.name for path in folder.reports if path.exists()]
            if foreign:
                raise BatchError(
                    f"{folder.root} holds {', '.join(foreign)}, and nothing says that a reading "
                    "of an archive wrote it.",
                    remedy="Choose another --out.",
                )
            with replacing(folder.settings) as stream:
                stream.write((json.dumps(mine, indent=1) + "\n").encode())
            return
        unlike = [key for key in mine if mine[key] != found.get(key)]
        if unlike:
            said = "; ".join(
                f"{key.replace('_', ' ')} {_shown(found.get(key))} there, {_shown(mine[key])} here"
                for key in unlike
            )
            raise BatchError(
                f"{folder.root} holds results of other settings: {said}.",
                remedy="Choose another --out, or give the settings it was begun with.",
            )


def settings_of(
    paths: tuple[str, ...],
    header: CheckpointHeader,
    named: Mapping[str, NamedSeries],
    *,
    precision: str,
    mend_quirk: bool,
    score_unfit: bool,
) -> BatchSettings:
    """The settings of a command.

    Args:
        paths: The real paths of what is to be read.
        header: Of the model.
        named: From the manifest.
        precision: ``fp32`` or ``bf16``.
        mend_quirk: Undo the RSNA 12-bit defect.
        score_unfit: Score what is unfit, too.
    """
    rule = header.rule
    return BatchSettings(
        archive=paths,
        model=f"{header.identity.model_id} ({header.identity.sha256})",
        rule=f"p > {rule.scan_threshold!r} at temperature {rule.temperature!r}; {rule.describe()}",
        precision=precision,
        mend_quirk=mend_quirk,
        score_unfit=score_unfit,
        # Without the line of the manifest, which says nothing about the choice.
        named_series={
            scan_id: f"{name.series_instance_uid}#{name.stack_index}"
            for scan_id, name in sorted(named.items())
        },
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BatchError(f"{path} cannot be read: {error}.", remedy=_ANEW) from error
    if not isinstance(document, dict):
        raise BatchError(f"{path} does not hold the settings of a reading.", remedy=_ANEW)
    return document


_ANEW = "Choose another --out, and read the archive anew."


def _shown(value: object) -> str:
    """A value short enough for a message; of a manifest only how much it names."""
    if isinstance(value, dict):
        return f"names {len(value)} series"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
