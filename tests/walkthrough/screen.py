"""A screen of its own (Xvfb), the installed program on it, and hands (xdotool)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageGrab, features

NEEDED = ("Xvfb", "xdotool")
WIDTH, HEIGHT = 1280, 800
"""Of the window, in the upper left corner."""
_ROOM = (16, 48)  # px of the screen beside it, which the window leaves to a frame
PATIENCE_S = 60.0
_GLANCE_S = 0.2


def require_screen() -> None:
    """Skips a test where there is nothing to show a window on, or no hand to use it."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (Debian: xvfb xdotool)")
    if not features.check("xcb"):
        pytest.skip("this Pillow cannot take pictures of a screen")


@dataclass(frozen=True, slots=True)
class Screen:
    """The screen, as somebody before it uses it.

    Attributes:
        display: Its X name.
        program: What runs on it.
    """

    display: str
    program: subprocess.Popen[bytes]

    def _xdotool(self, *words: str | int) -> str:
        environment = {**os.environ, "DISPLAY": self.display}
        command = ["xdotool", *map(str, words)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
        return done.stdout.strip()

    def look(self) -> NDArray[np.int16]:
        """(rows, columns, 3) what is seen."""
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"), np.int16)

    def share_of(self, colour: str, box: tuple[float, float, float, float]) -> float:
        """How much of a part of the screen has a colour, 0 to 1.

        Args:
            colour: As ``#rrggbb``.
            box: Left, top, right, bottom, as shares of the screen.
        """
        seen = self.part(box)
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        return float((np.abs(seen - wanted).max(axis=2) <= 12).mean())

    def part(self, box: tuple[float, float, float, float]) -> NDArray[np.int16]:
        """What is seen in a part of the screen."""
        left, top, right, bottom = box
        return self.look()[
            round(top * HEIGHT) : round(bottom * HEIGHT), round(left * WIDTH) : round(right * WIDTH)
        ]

    def keep(self, path: Path) -> None:
        """Writes what is seen."""
        ImageGrab.grab(xdisplay=self.display).save(path)

    def wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        """Looks until something is seen."""
        start = time.monotonic()
        while not is_so():
            assert self.program.poll() is None, f"the program has ended while waiting for {what}"
            if time.monotonic() - start > PATIENCE_S:
                self.keep(Path("walkthrough-failed.png"))
                raise AssertionError(f"never seen: {what}; walkthrough-failed.png shows the screen")
            time.sleep(_GLANCE_S)

    def press(self, *keys: str) -> None:
        """Presses keys one after another, such as ``ctrl+o`` or ``Down``."""
        for key in keys:
            self._xdotool("key", "--clearmodifiers", key)
            time.sleep(_GLANCE_S / 2)

    def write(self, text: str) -> None:
        """Types a text, in place of what is selected."""
        self._xdotool("key", "--clearmodifiers", "ctrl+a")
        self._xdotool("type", "--delay", 2, text)

    def click(self, x: float, y: float) -> None:
        """Clicks at a place given in shares of the screen."""
        self._xdotool("mousemove", round(x * WIDTH), round(y * HEIGHT), "click", 1)
        time.sleep(_GLANCE_S)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drags with the left button."""
        (x, y), (to_x, to_y) = start, end
        self._xdotool("mousemove", round(x * WIDTH), round(y * HEIGHT), "mousedown", 1)
        self._xdotool("mousemove", round((x + to_x) / 2 * WIDTH), round((y + to_y) / 2 * HEIGHT))
        self._xdotool("mousemove", round(to_x * WIDTH), round(to_y * HEIGHT))
        self._xdotool("mouseup", 1)
        time.sleep(_GLANCE_S)

    def wheel(self, notches: int) -> None:
        """Turns the wheel away from oneself, which goes towards the head."""
        self._xdotool("click", "--repeat", abs(notches), "--delay", 30, 4 if notches > 0 else 5)
        time.sleep(_GLANCE_S)

    def windows(self) -> list[str]:
        """The titles of the windows that are seen."""
        try:
            found = self._xdotool("search", "--onlyvisible", "--name", ".+").split()
        except subprocess.CalledProcessError:
            return []
        return [self._title(each) for each in found]

    def _title(self, window: str) -> str:
        try:
            return self._xdotool("getwindowname", window)
        except subprocess.CalledProcessError:
            return ""  # gone meanwhile

    def wait_for_window(self, title: str) -> None:
        """Waits until a window of that title is seen, and gives it the keyboard.

        Nobody manages windows on this screen, so nobody else does.
        """
        self.wait_for(lambda: any(title in each for each in self.windows()), f"window {title!r}")
        found = self._xdotool("search", "--onlyvisible", "--name", title).split()
        self._xdotool("windowfocus", "--sync", found[-1])
        time.sleep(_GLANCE_S)


@contextmanager
def program_on_screen(*words: str, log: Path) -> Iterator[Screen]:
    """Starts a screen and the viewer on it; both are gone afterwards.

    Args:
        words: The viewer's arguments.
        log: Where its output goes.
    """
    size = f"{WIDTH + _ROOM[0]}x{HEIGHT + _ROOM[1]}x24"
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", size, "-nolisten", "tcp"],
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as stream:
            display = f":{stream.readline().strip()}"
        environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
        command = [sys.executable, "-m", "viewer", *words]
        with log.open("wb") as output:
            program = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            try:
                yield Screen(display, program)
            finally:
                program.kill()
                program.wait(10)
    finally:
        server.terminate()
        server.wait(10)
