"""Keeping identifiers out of the log, and of what a user copies into a bug report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sadmil_core.report.pseudonyms import UID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sadmil_core.dicom import Identity

# From a drive, a root or a share to the last separator before a quote or the line's end: folder
# names may hold spaces. Then the last part, up to a space.
_PATH = re.compile(r"""(?:[A-Za-z]:\\|(?<![\w<])/|\\\\)(?:[^'":;<>|\n]*[/\\])?([^\s'":;,<>|]*)""")


_LEAST = 3
"""Shorter parts of a name stand in too many words."""


def scrub(text: str, root: Path | None = None, names: Iterable[str] = ()) -> str:
    """Replaces folders by ``<folder>``: their names, and those of files, often hold a patient's.

    UIDs become ``<uid>``, and what is known to name a patient ``<name>``. The program's own source
    files keep their names, without which a traceback is no use.

    Args:
        text: Any text, for example an error with its traceback.
        root: The path that is open; its names are replaced wherever they stand.
        names: From :func:`names_of`; replaced wherever they stand as words, in any case.
    """
    if root is not None:
        text = text.replace(str(root), "<folder>")
        for part in (root.name, root.parent.name):
            if len(part) > 3:
                text = text.replace(part, "<folder>")
    text = UID.sub("<uid>", _PATH.sub(_shortened, text))
    known = sorted(names, key=len, reverse=True)
    if known:
        words = "|".join(re.escape(name) for name in known)
        text = re.sub(rf"(?<![^\W_])(?:{words})(?![^\W_])", "<name>", text, flags=re.IGNORECASE)
    return text


def names_of(identities: Iterable[Identity]) -> frozenset[str]:
    """What names patients: their names part by part, their numbers and those of their studies."""
    found: set[str] = set()
    for identity in identities:
        found |= set(re.split(r"[\^=\s,]+", identity.patient_name))
        found |= {identity.patient_name, identity.patient_id, identity.accession_number}
    return frozenset(each for each in found if len(each) >= _LEAST)


class Scrubber:
    """Scrubs texts of whatever has been open while the program has run."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._seen: tuple[Identity, ...] | None = None
        self._root: Path | None = None

    def learn(self, identities: tuple[Identity, ...], root: Path | None) -> None:
        """Remembers what must not be named from now on."""
        self._root = root or self._root
        if identities is not self._seen:
            self._seen = identities
            self._names |= names_of(identities)

    def __call__(self, text: str) -> str:
        """The text, naming nobody."""
        return scrub(text, self._root, self._names)


def _shortened(match: re.Match[str]) -> str:
    last = match.group(1) or ""
    own = last.endswith(".py") or last.endswith(".py.")
    return f"<folder>/{last if own else '...'}"
