"""Keeping identifiers out of what a user copies into a bug report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# From a drive, a root or a share to the last separator before a quote or the line's end: folder
# names may hold spaces. Then the last part, up to a space.
_PATH = re.compile(r"""(?:[A-Za-z]:\\|(?<![\w<])/|\\\\)(?:[^'":;<>|\n]*[/\\])?([^\s'":;,<>|]*)""")


def scrub(text: str, root: Path | None = None) -> str:
    """Replaces folders by ``<folder>``: their names, and those of files, often hold a patient's.

    The program's own source files keep their names, without which a traceback is no use.

    Args:
        text: Any text, for example an error with its traceback.
        root: The path that is open; its names are replaced wherever they stand.
    """
    if root is not None:
        text = text.replace(str(root), "<folder>")
        for part in (root.name, root.parent.name):
            if len(part) > 3:
                text = text.replace(part, "<folder>")
    return _PATH.sub(_shortened, text)


def _shortened(match: re.Match[str]) -> str:
    last = match.group(1) or ""
    own = last.endswith(".py") or last.endswith(".py.")
    return f"<folder>/{last if own else '...'}"
