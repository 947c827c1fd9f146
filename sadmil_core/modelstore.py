"""Finding checkpoints: those shipped with the program and those in the user's model folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sadmil_core.atomic import make_folder
from sadmil_core.checkpoint import SUFFIX, CheckpointHeader, read_header
from sadmil_core.errors import CheckpointError
from sadmil_core.paths import resource_path, user_models_dir

DEFAULT_MODEL = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A checkpoint that can be chosen by name.

    Attributes:
        name: What to choose it by.
        path: Its file.
        shipped: Whether it came with the program.
        header: Its header, or None where the file is unusable.
        problem: Why it is unusable; empty otherwise.
    """

    name: str
    path: Path
    shipped: bool
    header: CheckpointHeader | None
    problem: str = ""


def installed_models() -> tuple[InstalledModel, ...]:
    """All models by name, shipped ones first; unusable files are listed with their problem."""
    found: list[InstalledModel] = []
    for folder, shipped in ((_shipped_dir(), True), (user_models_dir(), False)):
        for path in _checkpoints_in(folder):
            try:
                header, problem = read_header(path), ""
            except CheckpointError as error:
                header, problem = None, str(error)
            found.append(
                InstalledModel(
                    name=path.name.removesuffix(SUFFIX),
                    path=path,
                    shipped=shipped,
                    header=header,
                    problem=problem,
                )
            )
    return tuple(found)


def _checkpoints_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    except OSError:
        return []  # a folder one may not look into has nothing to choose from


def resolve_model(name_or_file: str = DEFAULT_MODEL) -> Path:
    """The checkpoint a user means.

    What can be a name is looked for in the user's model folder, then among the shipped models;
    a file of that name in the current folder comes last.

    Raises:
        CheckpointError: There is no such file or model; the message lists those there are.
    """
    as_path = Path(name_or_file)
    looks_like_name = _NAME.fullmatch(name_or_file) and not name_or_file.endswith(SUFFIX)
    if not looks_like_name and _is_file(as_path):
        return as_path
    if looks_like_name:
        for folder in (user_models_dir(), _shipped_dir()):
            candidate = folder / f"{name_or_file}{SUFFIX}"
            if _is_file(candidate):
                return candidate
        if _is_file(as_path):
            return as_path
    names = ", ".join(sorted({model.name for model in installed_models()})) or "none"
    raise CheckpointError(
        f"There is no model or file {name_or_file!r}; installed models: {names}.",
        remedy="`sadmil weights fetch published` downloads the authors' weights.",
    )


def _is_file(path: Path) -> bool:
    """Whether there is such a file, as far as one may look."""
    try:
        return path.is_file()
    except OSError:
        return False


def model_path_for(name: str) -> Path:
    """Where a model of this name is to be written; makes the folder.

    Raises:
        CheckpointError: The name is not one a file can carry everywhere.
        WriteError: The folder cannot be made.
    """
    if not _NAME.fullmatch(name) or name.endswith(SUFFIX):
        raise CheckpointError(
            f"{name!r} cannot be a model's name.",
            remedy="Use up to 64 letters, digits, dots, hyphens and underscores.",
        )
    folder = user_models_dir()
    make_folder(folder, remedy="Set SADMIL_DATA_DIR to a folder you may write to.")
    return folder / f"{name}{SUFFIX}"


def _shipped_dir() -> Path:
    return resource_path("models")
