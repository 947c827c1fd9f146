"""Finds out whether Qt can start, before it aborts; imports no Qt."""

from __future__ import annotations

import ctypes
import os
import sys

from sadmil_core.errors import SadmilError

_ALWAYS = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
_FOR_X11 = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libX11-xcb.so.1": "libx11-xcb1",
}


class PlatformError(SadmilError):
    """Qt cannot start on this machine as it is."""


def has_screen() -> bool:
    """Whether there is a screen to open a window on.

    On Linux a display that is named but does not answer counts as none.
    """
    if os.environ.get("QT_QPA_PLATFORM", "").startswith(("offscreen", "minimal")):
        return False
    if not sys.platform.startswith("linux"):
        return True
    if os.environ.get("WAYLAND_DISPLAY"):
        return True
    return bool(os.environ.get("DISPLAY")) and _x_server_answers()


def _x_server_answers() -> bool:
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return True  # cannot tell; Qt will say
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(None, None)
    answers = bool(xcb.xcb_connection_has_error(connection) == 0)
    xcb.xcb_disconnect(connection)
    return answers


def missing_packages(*, on_screen: bool) -> list[str]:
    """The Debian packages whose libraries Qt needs and the system lacks.

    Args:
        on_screen: A window is to be opened under X11, rather than rendered offscreen.
    """
    if not sys.platform.startswith("linux"):
        return []
    forced = os.environ.get("QT_QPA_PLATFORM", "").startswith("xcb")
    x11 = on_screen and (forced or not os.environ.get("WAYLAND_DISPLAY"))
    needed = _ALWAYS | (_FOR_X11 if x11 else {})
    return [package for library, package in needed.items() if not _loads(library)]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def require_qt_libraries(*, on_screen: bool) -> None:
    """Checks that Qt will find its system libraries.

    Raises:
        PlatformError: Naming the packages that are missing and the command that installs them.
    """
    missing = missing_packages(on_screen=on_screen)
    if missing:
        names = " ".join(missing)
        raise PlatformError(
            f"Qt needs system libraries that are missing: {names}.",
            remedy=f"On Debian or Ubuntu: sudo apt-get install {names}",
        )
