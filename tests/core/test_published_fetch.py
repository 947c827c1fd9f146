from __future__ import annotations

import errno
import hashlib
import logging
import os
import resource
import shutil
import socket
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from sadmil_core.checkpoint import read_checkpoint
from sadmil_core.errors import SadmilError, WeightsError, WriteError
from sadmil_core.progress import Cancelled
from sadmil_core.published import catalogue, fetch
from sadmil_core.published.catalogue import PUBLISHED, PublishedModel, RemoteFile
from sadmil_core.published.fetch import fetch_published
from tests import tensorbundle_writer as writer
from tests.reference import published_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("baseline", "att_0_5", "att_0_9")
LAST = "att_0_9.ckpt.data-00000-of-00001"
FIRST = "baseline.ckpt.index"


class _Site(ThreadingHTTPServer):
    """Serves a folder; one file can be made to misbehave."""

    daemon_threads = True
    # Also lets server_close join the threads, so that none outlives its test.
    block_on_close = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: dict[str, Callable[[_Handler, bytes], None]] = {}
        self.asked: list[str] = []
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Site

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        data = (self.server.folder / name).read_bytes()
        self.server.faults.get(name, _Handler.reply)(self, data)

    def reply(self, data: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _status(code: int) -> Callable[[_Handler, bytes], None]:
    return lambda handler, _: handler.send_error(code)


def _altered(handler: _Handler, data: bytes) -> None:
    handler.reply(bytes([data[0] ^ 1]) + data[1:])


def _truncated(handler: _Handler, data: bytes) -> None:
    handler.reply(data[: len(data) // 2], len(data))


def _truncated_without_length(handler: _Handler, data: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])


def _shorter(handler: _Handler, data: bytes) -> None:
    handler.reply(data[:-1])


def _longer(handler: _Handler, data: bytes) -> None:
    handler.reply(data + b"more")


def _silent(handler: _Handler, _: bytes) -> None:
    handler.server.stop.wait(20)


def _silent_in_the_middle(handler: _Handler, data: bytes) -> None:
    handler.reply(data[: len(data) // 2], len(data))
    handler.wfile.flush()
    handler.server.stop.wait(20)


def _hangs_up(handler: _Handler, _: bytes) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bundles of random weights under the authors' file names."""
    folder = tmp_path_factory.mktemp("site")
    for seed, name in enumerate(NAMES):
        variables = writer.network_variables(seed, classes=2 if name == "att_0_5" else 1)
        writer.write_bundle(folder / f"{name}.ckpt", variables)
    return folder


@pytest.fixture
def site(files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_Site]:
    """A server of those bundles, which count as the published ones; all folders are new."""
    for name in NAMES:
        monkeypatch.setitem(PUBLISHED, name, _described(files, PUBLISHED[name]))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setenv("SADMIL_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(fetch.URL_VARIABLE, raising=False)
    with _serving(files) as server:
        yield server


@contextmanager
def _serving(files: Path) -> Iterator[_Site]:
    server = _Site(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _described(folder: Path, model: PublishedModel) -> PublishedModel:
    def remote(name: str) -> RemoteFile:
        data = (folder / name).read_bytes()
        return RemoteFile(name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    return PublishedModel(
        name=model.name,
        description=model.description,
        index=remote(model.index.name),
        data=remote(model.data.name),
    )


def _left(tmp_path: Path) -> list[str]:
    """What lies in the temporary folder and in the user's, hidden files included."""
    scratch, user = tmp_path / "scratch", tmp_path / "user"
    return sorted(p.name for root in (scratch, user) for p in root.rglob("*") if p.is_file()) + [
        p.name for p in scratch.iterdir()
    ]


def test_installs_all_three(site: _Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[int, int, str]] = []
    paths = fetch_published(base_url=site.url, progress=lambda *call: calls.append(call))
    assert [p.name for p in paths] == [f"{name}.safetensors" for name in NAMES]
    for path, name in zip(paths, NAMES, strict=True):
        header, _ = read_checkpoint(path)
        assert header.name == name
        assert header.provenance.description == PUBLISHED[name].description
        assert header.provenance.license.startswith("MIT")
    assert _left(tmp_path) == sorted(p.name for p in paths)
    assert [p.name for p in (tmp_path / "user" / "models").iterdir() if p.is_dir()] == []
    downloads = [call for call in calls if call[2].startswith("downloading")]
    assert downloads[0][0] == 0
    assert downloads[-1][0] == downloads[-1][1]
    assert [call[0] for call in downloads] == sorted(call[0] for call in downloads)
    assert calls[-1] == (3, 3, "converting")
    assert capfd.readouterr() == ("", "")


def test_a_choice_of_models_and_the_environment(
    site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(fetch.URL_VARIABLE, site.url)
    fetch_published(names=["att_0_9", "att_0_9"])
    assert _left(tmp_path) == ["att_0_9.safetensors"]
    assert site.asked == ["att_0_9.ckpt.index", LAST]


def test_by_default_the_authors_repository_at_a_fixed_commit(
    site: _Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise Cancelled

    monkeypatch.setattr(fetch, "download", download)
    with pytest.raises(Cancelled):
        fetch_published()
    assert asked == [f"{catalogue.BASE_URL}/{FIRST}"]
    assert catalogue.COMMIT in catalogue.BASE_URL


@pytest.mark.parametrize("name", [FIRST, LAST])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_status(404), "the server answered 404 Not Found"),
        (_status(500), "the server answered 500 Internal Server Error"),
        (_altered, "SHA-256 differs"),
        (_truncated, "broke off in the middle"),
        (_truncated_without_length, "broke off in the middle"),
        (_shorter, "SHA-256 differs"),
        (_longer, "more than .* bytes"),
        (_silent, r"no answer for 0\.3 s"),
        (_silent_in_the_middle, r"no answer for 0\.3 s"),
        (_hangs_up, "no connection to the server, or it broke"),
    ],
)
def test_a_failing_server_gives_one_error_and_leaves_nothing(
    site: _Site,
    tmp_path: Path,
    name: str,
    fault: Callable[[_Handler, bytes], None],
    message: str,
) -> None:
    site.faults[name] = fault
    with pytest.raises(WeightsError, match=message) as caught:
        fetch_published(base_url=site.url, timeout_s=0.3 if "silent" in fault.__name__ else 10.0)
    assert f"{site.url}{name}" in str(caught.value)
    assert caught.value.remedy
    assert _left(tmp_path) == []


def test_no_server(site: _Site, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/models"
        with pytest.raises(WeightsError, match="no connection to the server"):
            fetch_published(base_url=url)
    assert _left(tmp_path) == []


def test_no_such_host(site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(WeightsError, match="name could not be resolved"):
        fetch_published(base_url="http://nowhere.invalid/models")
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["models", "ftp://host/models", "http://", "http://[::1", "file:///tmp", "https:///x"]
)
def test_what_is_no_web_address(site: _Site, tmp_path: Path, url: str) -> None:
    with pytest.raises(WeightsError, match="is not a web address"):
        fetch_published(base_url=url)
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["http://a b/", "http://host:99999999/", "http://host:x/", "http://\0/"]
)
def test_an_odd_web_address(site: _Site, tmp_path: Path, url: str) -> None:
    with pytest.raises(WeightsError):
        fetch_published(base_url=url, timeout_s=1)
    assert _left(tmp_path) == []


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    """Makes the system itself refuse to write more than so many bytes to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_while_downloading(site: _Site, tmp_path: Path) -> None:
    with _file_size_limit(100_000), pytest.raises(WriteError, match="could not be written") as e:
        fetch_published(base_url=site.url)
    assert "baseline.ckpt.data" in str(e.value)
    assert _left(tmp_path) == []


def test_no_room_for_a_temporary_folder(
    site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(WriteError, match="No folder could be made"):
        fetch_published(base_url=site.url)
    assert site.asked == []


def _fail_on(monkeypatch: pytest.MonkeyPatch, function: str, call: int) -> None:
    """Makes one call of a function of ``os`` fail for want of space."""
    real, count = getattr(os, function), 0

    def sometimes(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(os, function, sometimes)


# The checkpoints are synced and renamed once each within the hidden folder, then moved in.
@pytest.mark.parametrize(("function", "call"), [("fsync", 2), ("replace", 3), ("replace", 5)])
def test_a_full_disk_while_installing_keeps_the_old_models(
    site: _Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, call: int
) -> None:
    fetch_published(base_url=site.url, names=["baseline"])
    old = tmp_path / "user" / "models" / "baseline.safetensors"
    old.write_bytes(b"an older model")
    _fail_on(monkeypatch, function, call)
    with pytest.raises(WriteError, match="No space left"):
        fetch_published(base_url=site.url, overwrite=True)
    assert _left(tmp_path) == ["baseline.safetensors"]
    assert old.read_bytes() == b"an older model"
    assert list(old.parent.iterdir()) == [old]


def test_an_installed_model_is_not_replaced_unasked(site: _Site, tmp_path: Path) -> None:
    models = tmp_path / "user" / "models"
    models.mkdir(parents=True)
    (models / "att_0_5.safetensors").write_bytes(b"old")
    with pytest.raises(WeightsError, match=r"att_0_5\.safetensors.*--overwrite"):
        fetch_published(base_url=site.url)
    assert site.asked == []
    assert _left(tmp_path) == ["att_0_5.safetensors"]
    fetch_published(base_url=site.url, overwrite=True)
    assert read_checkpoint(models / "att_0_5.safetensors")[0].name == "att_0_5"
    assert len(_left(tmp_path)) == 3


def test_a_failure_keeps_the_installed_models(site: _Site, tmp_path: Path) -> None:
    models = tmp_path / "user" / "models"
    models.mkdir(parents=True)
    (models / "baseline.safetensors").write_bytes(b"old")
    site.faults[LAST] = _status(503)
    with pytest.raises(WeightsError, match="503"):
        fetch_published(base_url=site.url, overwrite=True)
    assert (models / "baseline.safetensors").read_bytes() == b"old"
    assert _left(tmp_path) == ["baseline.safetensors"]


@pytest.mark.parametrize("stop", [Cancelled, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2, 20, -1])
def test_stopping_leaves_nothing(
    site: _Site, tmp_path: Path, stop: type[BaseException], call: int
) -> None:
    count = 0

    def progress(done: int, total: int, phase: str) -> None:
        nonlocal count
        count += 1
        if count == call or (call == -1 and (done, phase) == (total, "converting")):
            raise stop

    with pytest.raises(stop):
        fetch_published(base_url=site.url, progress=progress)
    assert _left(tmp_path) == []


def test_unknown_names(site: _Site) -> None:
    with pytest.raises(WeightsError, match=r"no published model 'att_0_7'.*att_0_9"):
        fetch_published(base_url=site.url, names=["baseline", "att_0_7"])
    with pytest.raises(WeightsError, match="Choose among"):
        fetch_published(base_url=site.url, names=[])


def test_poochs_log_level_is_left_as_it_was(site: _Site) -> None:
    level = logging.getLogger("pooch").level
    site.faults[FIRST] = _status(404)
    with pytest.raises(SadmilError):
        fetch_published(base_url=site.url)
    assert logging.getLogger("pooch").level == level


@pytest.mark.reference
def test_the_real_files_have_the_hashes_in_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = published_data() / "models"
    sums = (published_data() / "SHA256SUMS").read_text(encoding="utf-8")
    for model in PUBLISHED.values():
        for file in (model.index, model.data):
            assert f"{file.sha256}  models/{file.name}" in sums
            assert (models / file.name).stat().st_size == file.size
    folder = tmp_path / "site"
    shutil.copytree(models, folder)
    monkeypatch.setenv("SADMIL_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with _serving(folder) as server:
        paths = fetch_published(base_url=server.url)
    assert [read_checkpoint(path)[0].provenance.license for path in paths] == [
        "MIT (the authors' repository)"
    ] * 3
