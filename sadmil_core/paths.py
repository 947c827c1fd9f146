"""Where things lie on disk: shipped resources, the user's models, the cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP_NAME = "sadmil"


def resource_path(*parts: str) -> Path:
    """The path of a shipped resource, in a wheel install and in a checkout alike.

    Args:
        parts: Path segments below ``resources/``.

    Raises:
        FileNotFoundError: The installation lacks the resource.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "resources", package.parent / "resources"):
        candidate = root.joinpath(*parts)
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"the installation lacks resources/{'/'.join(parts)}; reinstall it")


def _user_dir(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or default)


def user_data_dir() -> Path:
    """The folder of what is the user's own, such as labels (``SADMIL_DATA_DIR``)."""
    return _user_dir("SADMIL_DATA_DIR", platformdirs.user_data_dir(APP_NAME, False))


def user_models_dir() -> Path:
    """The folder of the user's own checkpoints (``SADMIL_DATA_DIR``/models if that is set)."""
    return user_data_dir() / "models"


def cache_dir() -> Path:
    """The folder for what can be made again, such as the demo study (``SADMIL_CACHE_DIR``)."""
    return _user_dir("SADMIL_CACHE_DIR", platformdirs.user_cache_dir(APP_NAME, False))


def log_dir() -> Path:
    """The folder of the program's rotating logs (below ``SADMIL_CACHE_DIR`` if that is set)."""
    if os.environ.get("SADMIL_CACHE_DIR"):
        return cache_dir() / "log"
    return Path(platformdirs.user_log_dir(APP_NAME, False))
