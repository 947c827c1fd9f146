"""Which keys and mouse gestures do what: the usual ones, and what the user has made of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QKeySequence

from sadmil_core.errors import SadmilError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MODIFIERS = ("", "Shift+", "Ctrl+", "Ctrl+Shift+", "Alt+")
_BUTTONS = {
    Qt.MouseButton.LeftButton: "Left",
    Qt.MouseButton.MiddleButton: "Middle",
    Qt.MouseButton.RightButton: "Right",
}
DRAGS = tuple(f"{m}{b} drag" for m, b in product(_MODIFIERS, _BUTTONS.values()))
WHEELS = tuple(f"{m}Wheel" for m in _MODIFIERS)
CLICKS = tuple(f"{m}{b} click" for m, b in product(_MODIFIERS, ("Middle", "Right")))
"""The gestures there are. A left click picks measurements, and is nobody else's."""


class BindingTakenError(SadmilError):
    """A key or gesture was asked for that already does something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something the user can do by key or gesture.

    Attributes:
        id: What it is stored by; never changes.
        text: What it is called.
        group: Under which heading it is listed.
        defaults: Its usual keys (as QKeySequence writes them) or gestures.
        gestures: The gestures it can have; empty where it takes keys.
        editable: Whether the user can change it.
    """

    id: str
    text: str
    group: str
    defaults: tuple[str, ...] = ()
    gestures: tuple[str, ...] = ()
    editable: bool = True


MOUSE = (
    Command(
        id="mouse.window",
        text="Window width and level",
        group="Mouse on the slice",
        defaults=("Left drag",),
        gestures=DRAGS,
    ),
    Command(
        id="mouse.pan",
        text="Pan",
        group="Mouse on the slice",
        defaults=("Middle drag", "Shift+Left drag"),
        gestures=DRAGS,
    ),
    Command(
        id="mouse.zoom",
        text="Zoom",
        group="Mouse on the slice",
        defaults=("Right drag", "Ctrl+Wheel"),
        gestures=DRAGS + WHEELS,
    ),
    Command(
        id="mouse.scroll",
        text="Scroll through the slices",
        group="Mouse on the slice",
        defaults=("Wheel",),
        gestures=DRAGS + WHEELS,
    ),
    Command(
        id="mouse.menu",
        text="Context menu",
        group="Mouse on the slice",
        defaults=("Right click",),
        gestures=CLICKS,
    ),
)
"""What the mouse does on the slice."""


def modifier_text(modifiers: Qt.KeyboardModifier) -> str:
    """The modifiers as gestures write them, such as ``Ctrl+Shift+``."""
    parts = (
        ("Ctrl+", Qt.KeyboardModifier.ControlModifier),
        ("Alt+", Qt.KeyboardModifier.AltModifier),
        ("Shift+", Qt.KeyboardModifier.ShiftModifier),
    )
    return "".join(name for name, flag in parts if modifiers & flag)


def gesture_text(button: Qt.MouseButton, modifiers: Qt.KeyboardModifier, kind: str) -> str:
    """A gesture as bindings write it; empty for buttons that have none.

    Args:
        button: The button pressed.
        modifiers: The keys held.
        kind: ``drag`` or ``click``.
    """
    name = _BUTTONS.get(button)
    return f"{modifier_text(modifiers)}{name} {kind}" if name else ""


def canonical(binding: str) -> str:
    """A key as QKeySequence writes it everywhere; gestures as they are."""
    if binding in DRAGS or binding in WHEELS or binding in CLICKS:
        return binding
    return QKeySequence(binding).toString(QKeySequence.SequenceFormat.PortableText)


class Bindings(QObject):
    """The commands of the program and what triggers each.

    A binding belongs to one command at most. What the user has chosen goes before what is usual:
    a default that is taken by a choice of the user does nothing for its own command.

    Args:
        chosen: What the user has chosen earlier, by command; what contradicts itself is left out.
        parent: The owner.
    """

    changed = Signal()
    """The user has chosen differently."""

    def __init__(
        self, chosen: Mapping[str, Sequence[str]] | None = None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._commands: dict[str, Command] = {}
        self._chosen: dict[str, tuple[str, ...]] = {}
        taken: set[str] = set()
        for name, wanted in (chosen or {}).items():
            free = [b for b in dict.fromkeys(map(canonical, wanted)) if b and b not in taken]
            taken.update(free)
            self._chosen[name] = tuple(free)
        for command in MOUSE:
            self.register(command)

    def register(self, command: Command) -> None:
        """Adds a command.

        Raises:
            ValueError: Another command has its id, or one of its usual bindings.
        """
        if command.id in self._commands:
            raise ValueError(f"there are two commands {command.id}")
        for other in self._commands.values():
            shared = set(map(canonical, other.defaults)) & set(map(canonical, command.defaults))
            if shared:
                raise ValueError(f"{command.id} and {other.id} both want {sorted(shared)}")
        self._commands[command.id] = command

    @property
    def commands(self) -> tuple[Command, ...]:
        """All of them, in the order they were registered in."""
        return tuple(self._commands.values())

    def of(self, name: str) -> tuple[str, ...]:
        """The bindings of a command that hold now."""
        command = self._commands[name]
        if command.editable and name in self._chosen:
            return self._chosen[name]
        taken = {b for other in self._choosers() if other != name for b in self._chosen[other]}
        return tuple(b for b in map(canonical, command.defaults) if b not in taken)

    def _choosers(self) -> list[str]:
        known = self._commands
        return [name for name in self._chosen if name in known and known[name].editable]

    def command_of(self, binding: str) -> Command | None:
        """The command that a key or gesture triggers."""
        binding = canonical(binding)
        return next((c for c in self._commands.values() if binding in self.of(c.id)), None)

    def assign(self, name: str, wanted: Sequence[str]) -> None:
        """Gives a command other bindings.

        Args:
            name: The command's id.
            wanted: Its bindings from now on; none is possible.

        Raises:
            BindingTakenError: One of them triggers another command, is no key, or is not for
                this command; nothing is changed.
        """
        command = self._commands[name]
        keys = tuple(dict.fromkeys(b for b in map(canonical, wanted) if b))
        if not command.editable:
            raise BindingTakenError(
                f"The keys of {command.text} are fixed.", remedy="Choose another command."
            )
        for key in keys:
            is_gesture = key in DRAGS + WHEELS + CLICKS
            if is_gesture != bool(command.gestures) or (
                command.gestures and key not in command.gestures
            ):
                raise BindingTakenError(
                    f"{key} cannot be used for {command.text}.", remedy="Choose another."
                )
            other = self.command_of(key)
            if other is not None and other.id != name:
                raise BindingTakenError(
                    f"{key} is taken by {other.text}.",
                    remedy=f"Choose another, or first give {other.text} a different one.",
                )
        self._chosen[name] = keys
        if set(keys) == set(map(canonical, command.defaults)):
            del self._chosen[name]
        self.changed.emit()

    def restore(self, name: str | None = None) -> None:
        """Goes back to what is usual, for one command or for all.

        Raises:
            BindingTakenError: A usual binding of this one command is taken by another now.
        """
        if name is None:
            self._chosen.clear()
            self.changed.emit()
        else:
            self.assign(name, self._commands[name].defaults)

    @property
    def chosen(self) -> dict[str, list[str]]:
        """What differs from the usual, to be stored."""
        return {name: list(keys) for name, keys in self._chosen.items()}
