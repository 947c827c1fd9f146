"""The editor of keys and gestures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from viewer.model.bindings import BindingTakenError
from viewer.widgets.cheat_sheet import binding_text

if TYPE_CHECKING:
    from viewer.model.bindings import Bindings, Command

_ID = Qt.ItemDataRole.UserRole
_NONE = "none"
_PLACES = ("First", "Second")


class BindingsDialog(QDialog):
    """Shows every command with its bindings, and gives the chosen one others.

    What is taken by another command is refused, and that command named.

    Args:
        bindings: What is changed, at once.
        parent: The window.
    """

    def __init__(self, bindings: Bindings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Change keys and mouse")
        self.resize(640, 620)
        self._bindings = bindings
        self._items: dict[str, QTreeWidgetItem] = {}
        self._groups: dict[str, QTreeWidgetItem] = {}
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search commands and keys")
        self.search.setAccessibleName("Search commands and keys")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.tree = QTreeWidget()
        self.tree.setAccessibleName("Commands")
        self.tree.setHeaderLabels(["Command", "Keys or gestures"])
        self.tree.setRootIsDecorated(False)
        self.tree.header().resizeSection(0, 320)
        self.tree.currentItemChanged.connect(self._show_current)
        self.message = QLabel()
        self.message.setProperty("role", "notice")
        self.message.setWordWrap(True)
        self.message.setMinimumHeight(self.fontMetrics().height() * 2)
        self._make_editors()
        self._lay_out()
        bindings.changed.connect(self._show_bindings)
        self._fill()

    def _make_editors(self) -> None:
        self.keys = [QKeySequenceEdit() for _ in _PLACES]
        self.gestures = [QComboBox() for _ in _PLACES]
        self.places = [QStackedWidget() for _ in _PLACES]
        for name, keys, gestures, place in zip(
            _PLACES, self.keys, self.gestures, self.places, strict=True
        ):
            keys.setMaximumSequenceLength(1)
            keys.setClearButtonEnabled(True)
            for editor in (keys, gestures):
                editor.setAccessibleName(f"{name} key or gesture")
                place.addWidget(editor)
        self.apply_button = QPushButton("Apply")
        self.apply_button.clicked.connect(self.apply)
        self.restore_button = QPushButton("Restore this one")
        self.restore_button.clicked.connect(self.restore)
        for button in (self.apply_button, self.restore_button):
            button.setAutoDefault(False)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        for row, name in enumerate(_PLACES):
            label = QLabel(f"{name} key or gesture")
            label.setBuddy(self.places[row])
            grid.addWidget(label, row, 0)
            grid.addWidget(self.places[row], row, 1)
        grid.addWidget(self.apply_button, 0, 2)
        grid.addWidget(self.restore_button, 1, 2)
        grid.setColumnStretch(1, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        every = buttons.addButton("Restore all", QDialogButtonBox.ButtonRole.ResetRole)
        every.setAutoDefault(False)
        every.clicked.connect(lambda: self._bindings.restore())
        buttons.button(QDialogButtonBox.StandardButton.Close).setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 12)
        layout.setSpacing(10)
        layout.addWidget(self.search)
        layout.addWidget(self.tree, 1)
        layout.addLayout(grid)
        layout.addWidget(self.message)
        layout.addWidget(buttons)

    def _fill(self) -> None:
        groups = self._groups
        for command in self._bindings.commands:
            if command.group not in groups:
                group = groups[command.group] = QTreeWidgetItem(self.tree, [command.group])
                group.setFlags(Qt.ItemFlag.ItemIsEnabled)
                group.setFirstColumnSpanned(True)
                font = group.font(0)
                font.setBold(True)
                group.setFont(0, font)
            item = QTreeWidgetItem(groups[command.group], [command.text, ""])
            item.setData(0, _ID, command.id)
            self._items[command.id] = item
        self.tree.expandAll()
        self._show_bindings()
        self.tree.setCurrentItem(next(iter(self._items.values())))

    def _show_bindings(self) -> None:
        for command in self._bindings.commands:
            item = self._items.get(command.id)
            if item is not None:
                bound = self._bindings.of(command.id)
                item.setText(1, ", ".join(binding_text(command, b) for b in bound) or _NONE)
        self._show_current()

    def _filter(self, text: str) -> None:
        for item in self._items.values():
            words = f"{item.text(0)} {item.text(1)}".lower()
            item.setHidden(text.lower() not in words)
        for group in self._groups.values():
            children = (item for item in self._items.values() if item.parent() is group)
            group.setHidden(all(item.isHidden() for item in children))

    def current(self) -> Command | None:
        """The command that is edited."""
        item = self.tree.currentItem()
        name = item.data(0, _ID) if item else None
        return next((c for c in self._bindings.commands if c.id == name), None)

    def choose(self, name: str) -> None:
        """Shows the bindings of a command, by its id."""
        self.tree.setCurrentItem(self._items[name])

    def _show_current(self) -> None:
        command = self.current()
        self.message.clear()
        can = command is not None and command.editable
        for widget in (*self.places, self.apply_button, self.restore_button):
            widget.setEnabled(can)
        if command is None:
            return
        bound = [*self._bindings.of(command.id), "", ""]
        for place, keys, gestures, binding in zip(
            self.places, self.keys, self.gestures, bound, strict=False
        ):
            place.setCurrentWidget(gestures if command.gestures else keys)
            if command.gestures:
                gestures.clear()
                gestures.addItems([_NONE, *command.gestures])
                gestures.setCurrentText(binding or _NONE)
            else:
                keys.setKeySequence(QKeySequence(binding))

    def apply(self) -> None:
        """Gives the command what stands in the fields; says why where that cannot be."""
        command = self.current()
        if command is None:
            return
        if command.gestures:
            wanted = [box.currentText() for box in self.gestures if box.currentText() != _NONE]
        else:
            wanted = [edit.keySequence().toString() for edit in self.keys]
        self._try(lambda: self._bindings.assign(command.id, wanted))

    def restore(self) -> None:
        """Gives the command its usual bindings again."""
        command = self.current()
        if command is not None:
            self._try(lambda: self._bindings.restore(command.id))

    def _try(self, change: object) -> None:
        try:
            change()  # type: ignore[operator]
        except BindingTakenError as error:
            self.message.setText(str(error))
