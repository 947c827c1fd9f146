"""Where the command line writes: tables to standard output, complaints to standard error."""

from __future__ import annotations

from rich.console import Console

from sadmil_core.dicom.codes import printable

_PIPED_WIDTH = 240
"""Where there is no terminal, lines are as long as they need to be: UIDs must stay whole."""


def wide_console() -> Console:
    """Standard output; wide enough for whole UIDs where nobody looks at it directly."""
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def complain(message: str) -> None:
    """Writes one line to standard error, neither wrapped nor read as markup."""
    text = printable(message)  # names of files may hold a terminal's commands
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
