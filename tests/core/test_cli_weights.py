from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from sadmil_core.cli.weights import weights_app
from sadmil_core.errors import CheckpointError, WeightsError
from sadmil_core.published import fetch
from tests import tensorbundle_writer as writer

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's model folder, empty."""
    monkeypatch.setenv("SADMIL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("SADMIL_PUBLISHED_URL", raising=False)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("bundle") / "net [x].ckpt"
    writer.write_bundle(prefix, writer.network_variables())
    return prefix


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(weights_app, list(arguments))


def _listed() -> dict[str, dict[str, Any]]:
    result = _run("list", "--json")
    assert result.exit_code == 0
    return {model["name"]: model for model in json.loads(result.stdout)}


def test_import_then_list(bundle: Path, models: Path) -> None:
    result = _run("import", f"{bundle}.index", "--name", "mine")
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"Installed mine: {models / 'mine.safetensors'}\n"
    mine = _listed()["mine"]
    assert mine["where"] == "user"
    assert mine["supervision"] == "scan"
    assert mine["usable"] is True
    assert mine["path"] == str(models / "mine.safetensors")
    table = _run("list").stdout
    row = next(line for line in table.splitlines() if line.startswith("mine"))
    assert mine["sha256"][:12] in row
    assert mine["sha256"][:13] not in row


def test_errors_pass_through_to_the_caller(bundle: Path, models: Path) -> None:
    assert _run("import", str(bundle), "--name", "mine").exit_code == 0
    again = _run("import", str(bundle), "--name", "mine")
    assert isinstance(again.exception, WeightsError)
    assert "--overwrite" in str(again.exception)
    assert _run("import", str(bundle), "--name", "mine", "--overwrite").exit_code == 0
    assert isinstance(_run("import", str(bundle), "--name", "a/b").exception, CheckpointError)
    missing = _run("import", str(models / "none.ckpt"), "--name", "other")
    assert isinstance(missing.exception, WeightsError)
    assert str(models / "none.ckpt.index") in str(missing.exception)


def test_list_shows_unusable_files(models: Path) -> None:
    (models / "broken.safetensors").write_bytes(b"nothing of the kind")
    broken = _listed()["broken"]
    assert broken["usable"] is False
    assert broken["sha256"] is None
    assert broken["note"].startswith("unusable: ")
    assert str(models / "broken.safetensors") in broken["note"]
    assert "unusable" in _run("list").stdout


def test_list_without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sadmil_core.modelstore.installed_models", lambda: ())
    assert "sadmil weights fetch published" in _run("list").stdout
    assert _run("list", "--json").stdout == "[]\n"


def test_fetch_passes_its_options(monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    given: dict[str, Any] = {}

    def fetch_published(**options: Any) -> list[Path]:
        given.update(options)
        return [models / "baseline.safetensors"]

    monkeypatch.setattr(fetch, "fetch_published", fetch_published)
    result = _run("fetch", "published", "--base-url", "https://mirror/models", "--overwrite")
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"Installed baseline: {models / 'baseline.safetensors'}\n"
    assert given["base_url"] == "https://mirror/models"
    assert given["overwrite"] is True
    monkeypatch.setenv("SADMIL_PUBLISHED_URL", "https://elsewhere")
    assert _run("fetch", "published").exit_code == 0
    assert given["base_url"] == "https://elsewhere"
    assert given["overwrite"] is False


def test_fetch_knows_only_the_published_models() -> None:
    assert _run("fetch", "others").exit_code == 2
    assert _run("fetch").exit_code == 2


def test_fetch_without_a_network_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    result = _run("fetch", "published", "--base-url", "http://127.0.0.1:1/models")
    assert isinstance(result.exception, WeightsError)
    assert "http://127.0.0.1:1/models/baseline.ckpt.index" in str(result.exception)


@pytest.mark.parametrize("command", [[], ["import"], ["fetch"], ["list"]])
def test_help(command: list[str]) -> None:
    result = _run(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout


def test_the_command_line_starts_without_heavy_modules() -> None:
    code = (
        "import sadmil_core.cli.weights, sys; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pooch', 'requests')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
