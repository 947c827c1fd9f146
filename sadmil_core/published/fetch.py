"""Fetches the authors' checkpoints and installs them, all that were asked for or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.checkpoint import SUFFIX, write_checkpoint
from sadmil_core.errors import WeightsError, WriteError
from sadmil_core.modelstore import model_path_for
from sadmil_core.paths import user_models_dir
from sadmil_core.progress import no_progress
from sadmil_core.published.catalogue import BASE_URL, PUBLISHED, PublishedModel
from sadmil_core.published.download import download
from sadmil_core.published.mapping import ConvertedBundle, convert_bundle, require_free

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sadmil_core.progress import Progress

URL_VARIABLE = "SADMIL_PUBLISHED_URL"
"""The environment variable that names another folder to download from."""


def fetch_published(
    *,
    base_url: str | None = None,
    names: Sequence[str] = ("baseline", "att_0_5", "att_0_9"),
    overwrite: bool = False,
    timeout_s: float = 30.0,
    progress: Progress = no_progress,
) -> list[Path]:
    """Downloads, converts and installs the authors' checkpoints.

    Args:
        base_url: The folder to download from, http or https; by default what
            ``SADMIL_PUBLISHED_URL`` says, or else the authors' repository at a fixed commit.
        names: Which ones, by their names in the catalogue.
        overwrite: Replace installed models of these names.
        timeout_s: How long the server may be silent, in seconds.
        progress: Told of the kilobytes received, then of the models converted.

    Returns:
        The installed checkpoints, in the order of ``names``.

    Raises:
        WeightsError: A file could not be fetched or is not the published one, or a model of
            that name is installed. Nothing is left behind and installed models stay.
        WriteError: The disk refused; likewise.
        Cancelled: The progress call asked to stop; likewise.
    """
    models = _choose(names)
    for model in models:
        require_free(user_models_dir() / f"{model.name}{SUFFIX}", overwrite=overwrite)
    base = (base_url or os.environ.get(URL_VARIABLE) or BASE_URL).rstrip("/")
    with _scratch_folder(None) as folder:
        _download_all(base, models, folder, timeout_s, progress)
        converted = []
        for done, model in enumerate(models):
            progress(done, len(models), "converting")
            converted.append(convert_bundle(folder / model.bundle, model.name))
        progress(len(models), len(models), "converting")
    return _install(converted)


def _choose(names: Sequence[str]) -> list[PublishedModel]:
    unknown = [name for name in names if name not in PUBLISHED]
    if unknown or not names:
        raise WeightsError(
            f"There is no published model {', '.join(map(repr, unknown)) or 'without a name'}.",
            remedy=f"Choose among {', '.join(PUBLISHED)}.",
        )
    return [PUBLISHED[name] for name in dict.fromkeys(names)]


def _download_all(
    base: str, models: list[PublishedModel], folder: Path, timeout_s: float, progress: Progress
) -> None:
    files = [file for model in models for file in (model.index, model.data)]
    total = sum(file.size for file in files)
    received = 0

    def on_bytes(count: int) -> None:
        nonlocal received
        received += count
        progress(received // 1000, total // 1000, "downloading (kB)")

    on_bytes(0)
    for file in files:
        download(f"{base}/{file.name}", file, folder, timeout_s=timeout_s, on_bytes=on_bytes)


def _install(converted: list[ConvertedBundle]) -> list[Path]:
    """Writes the checkpoints beside their places, then moves all of them in."""
    targets = [model_path_for(bundle.header.name) for bundle in converted]
    with _scratch_folder(targets[0].parent) as folder:
        staged = []
        for bundle, target in zip(converted, targets, strict=True):
            staged.append(folder / target.name)
            write_checkpoint(staged[-1], bundle.header, bundle.tensors)
        try:
            _replace_all(staged, targets, folder)
        except OSError as error:
            raise WriteError(
                f"{targets[0].parent} could not be written to: {error.strerror or error}.",
                remedy="The models there are as before. Free some space, or set "
                "SADMIL_DATA_DIR to a folder you may write to.",
            ) from error
    return targets


def _replace_all(staged: list[Path], targets: list[Path], folder: Path) -> None:
    """Moves files into place; if one cannot be moved, or on Ctrl-C, the earlier ones go back."""
    with ExitStack() as undo:
        for source, target in zip(staged, targets, strict=True):
            if target.exists():
                backup = folder / f"{target.name}.old"
                shutil.copy2(target, backup)
                undo.callback(os.replace, backup, target)
            else:
                undo.callback(target.unlink, missing_ok=True)
            os.replace(source, target)
        undo.pop_all()


@contextmanager
def _scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A folder that is gone afterwards, whatever happens in it.

    Args:
        parent: Where to make it; the system's place for temporary files by default.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".sadmil-", dir=parent))
    except OSError as error:
        raise WriteError(
            f"No folder could be made in {parent or 'the temporary folder'}: "
            f"{error.strerror or error}.",
            remedy="Free some space, or set TMPDIR and SADMIL_DATA_DIR to folders you may "
            "write to.",
        ) from error
    try:
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
