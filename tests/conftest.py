"""What every test of the core and of the viewer shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path


# Chosen with --hypothesis-profile; `make fuzz` does.
settings.register_profile("thorough", max_examples=2000, deadline=None)


@pytest.fixture(autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the user's own models, cache and logs out of the tests, and the tests out of them."""
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("SADMIL_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("SADMIL_CACHE_DIR", str(folder / "cache"))
    # Where QSettings keeps its files on Linux, in processes the tests start; in this one:
    # tests/viewer/conftest.py.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    return folder
