"""One file over HTTP, into a folder, checked; every failure is one clear error."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pooch
import requests
import urllib3.exceptions

from sadmil_core.errors import WeightsError, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sadmil_core.published.catalogue import RemoteFile

_CHUNK_BYTES = 64 * 1024
_RETRY = "Try again; nothing was kept."
_OFFLINE = (
    "Check the network, or take the file from the authors' repository on another machine and "
    "use `sadmil weights import`."
)


def download(
    url: str, file: RemoteFile, folder: Path, *, timeout_s: float, on_bytes: Callable[[int], None]
) -> None:
    """Downloads a file under its own name.

    Args:
        url: Where it is, http or https.
        file: Its name, size and hash.
        folder: Where to put it; must exist.
        timeout_s: How long the server may be silent, in seconds.
        on_bytes: Told of every piece's length; whatever it raises aborts the download.

    Raises:
        WeightsError: The file could not be had, or is another one than expected.
        WriteError: It could not be written.
    """
    if _scheme(url) not in ("http", "https"):
        raise WeightsError(
            f"{url} is not a web address.", remedy="Give one that begins with https://."
        )

    def fetch(url: str, output_file: str, _: object) -> None:
        _stream(url, Path(output_file), file, timeout_s, on_bytes)

    try:
        with _quiet_pooch():
            pooch.retrieve(
                url, f"sha256:{file.sha256}", fname=file.name, path=folder, downloader=fetch
            )
    except requests.RequestException as error:
        raise _explain(url, error, timeout_s) from error
    except urllib3.exceptions.HTTPError as error:
        raise _unreached(url, str(error), str(error)) from error
    except OSError as error:
        if error.errno is None:  # Not the system's: a missing certificate file, for example.
            raise _unreached(url, str(error), str(error)) from error
        raise WriteError(
            f"{folder / file.name} could not be written: {error.strerror or error}.",
            remedy="Free some space, or set TMPDIR to a folder with room for it.",
        ) from error
    except ValueError as error:  # How pooch reports a wrong hash.
        raise _other_file(url, "its SHA-256 differs", str(error)) from error


def _scheme(url: str) -> str:
    """The scheme of an address in lower case; empty where it is no address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.scheme if parts.hostname else ""


def _stream(
    url: str, target: Path, file: RemoteFile, timeout_s: float, on_bytes: Callable[[int], None]
) -> None:
    # Compressed, the length announced would not be that of the file.
    headers = {"Accept-Encoding": "identity"}
    with (
        requests.get(url, stream=True, timeout=timeout_s, headers=headers) as response,
        target.open("wb") as stream,
    ):
        response.raise_for_status()
        received = 0
        for piece in response.iter_content(_CHUNK_BYTES):
            received += len(piece)
            if received > file.size:
                raise _other_file(url, f"it has more than {file.size} bytes")
            stream.write(piece)
            on_bytes(len(piece))
    announced = response.headers.get("Content-Length", "")
    expected = int(announced) if announced.isdecimal() else file.size
    if received < expected:
        raise _cut_off(url, f"{received} of {expected} bytes arrived")


def _explain(url: str, error: requests.RequestException, timeout_s: float) -> WeightsError:
    """The error a user can act on."""
    detail = str(error)
    cause = _cause(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = f"{error.response.status_code} {error.response.reason}".strip()
        return WeightsError(
            f"{url} could not be fetched: the server answered {status}.",
            remedy="Try again later, or check the address.",
            detail=detail,
        )
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return _cut_off(url, detail)
    timed_out = isinstance(error, requests.Timeout) or isinstance(
        cause, urllib3.exceptions.ReadTimeoutError
    )
    if timed_out:
        reason = f"no answer for {timeout_s:g} s"
    elif isinstance(error, requests.exceptions.SSLError):
        reason = "the connection is not trustworthy (TLS)"
    elif isinstance(error, requests.exceptions.ProxyError):
        reason = "the proxy could not be reached"
    elif isinstance(cause, urllib3.exceptions.NameResolutionError):
        reason = "the server's name could not be resolved"
    elif isinstance(error, requests.ConnectionError):
        reason = "no connection to the server, or it broke"
    else:
        reason = detail or type(error).__name__
    return _unreached(url, reason, detail)


def _cause(error: requests.RequestException) -> object:
    """What urllib3 said, which requests wraps one or two deep."""
    cause: object = error.args[0] if error.args else None
    return getattr(cause, "reason", None) or cause


def _cut_off(url: str, detail: str) -> WeightsError:
    return WeightsError(f"{url} broke off in the middle.", remedy=_RETRY, detail=detail)


def _unreached(url: str, reason: str, detail: str) -> WeightsError:
    return WeightsError(f"{url} could not be fetched: {reason}.", remedy=_OFFLINE, detail=detail)


def _other_file(url: str, reason: str, detail: str = "") -> WeightsError:
    return WeightsError(
        f"{url} is not the file the authors published: {reason}.",
        remedy="It was damaged on the way or replaced; try again, or use another source.",
        detail=detail,
    )


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keeps pooch from telling, on standard error, of temporary files nobody asked about."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
