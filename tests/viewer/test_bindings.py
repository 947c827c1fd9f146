from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from viewer.model.bindings import MOUSE, Bindings, BindingTakenError, Command, gesture_text


def made(chosen=None) -> Bindings:
    bindings = Bindings(chosen)
    bindings.register(Command(id="a", text="Do A", group="Group", defaults=("A",)))
    bindings.register(Command(id="b", text="Do B", group="Group", defaults=("B", "Ctrl+B")))
    bindings.register(
        Command(id="fixed", text="Stay", group="Group", defaults=("F",), editable=False)
    )
    return bindings


def test_defaults_hold_until_something_else_is_chosen(qtbot):
    bindings = made()
    with qtbot.waitSignal(bindings.changed):
        bindings.assign("a", ["X", "Ctrl+Shift+X"])
    assert bindings.of("a") == ("X", "Ctrl+Shift+X")
    assert bindings.command_of("X").id == "a"
    assert bindings.command_of("A") is None
    assert bindings.chosen == {"a": ["X", "Ctrl+Shift+X"]}


def test_a_key_that_is_taken_is_refused_and_the_taker_named():
    bindings = made()
    with pytest.raises(BindingTakenError, match=r"Ctrl\+B is taken by Do B"):
        bindings.assign("a", ["Y", "ctrl+b"])
    assert bindings.of("a") == ("A",)
    bindings.assign("b", [])
    bindings.assign("a", ["B"])
    assert bindings.command_of("B").id == "a"


def test_fixed_commands_keep_their_keys():
    bindings = made({"fixed": ["Z"]})
    assert bindings.of("fixed") == ("F",)
    with pytest.raises(BindingTakenError, match="fixed"):
        bindings.assign("fixed", ["Z"])


def test_gestures_are_for_the_mouse_and_keys_for_commands():
    bindings = made()
    for name, wrong in (("a", "Left drag"), ("mouse.pan", "P"), ("mouse.pan", "Wheel")):
        with pytest.raises(BindingTakenError, match="cannot be used"):
            bindings.assign(name, [wrong])
    bindings.assign("mouse.pan", ["Alt+Left drag"])
    assert bindings.command_of("Alt+Left drag").id == "mouse.pan"
    with pytest.raises(BindingTakenError, match="taken by Zoom"):
        bindings.assign("mouse.pan", ["Right drag"])


def test_restoring_refuses_a_default_that_was_given_away():
    bindings = made()
    bindings.assign("a", ["X"])
    bindings.assign("b", ["A"])
    with pytest.raises(BindingTakenError, match="A is taken by Do B"):
        bindings.restore("a")
    bindings.restore()
    assert (bindings.of("a"), bindings.of("b")) == (("A",), ("B", "Ctrl+B"))
    assert bindings.chosen == {}


def test_a_choice_goes_before_the_default_of_a_command_that_came_later():
    bindings = Bindings({"a": ["N"]})
    bindings.register(Command(id="a", text="Do A", group="Group", defaults=("A",)))
    bindings.register(Command(id="new", text="New", group="Group", defaults=("N", "M")))
    assert bindings.of("a") == ("N",)
    assert bindings.of("new") == ("M",)


def test_a_choice_for_a_command_that_is_gone_takes_nothing():
    bindings = made({"of another version": ["B"]})
    assert bindings.of("b") == ("B", "Ctrl+B")


def test_stored_choices_that_contradict_each_other_give_the_key_once():
    bindings = made({"a": ["Q", "Q", ""], "b": ["Q", "W"]})
    assert (bindings.of("a"), bindings.of("b")) == (("Q",), ("W",))


def test_two_defaults_alike_are_a_fault_of_the_program():
    bindings = made()
    with pytest.raises(ValueError, match="both want"):
        bindings.register(Command(id="c", text="C", group="Group", defaults=("Ctrl+B",)))
    with pytest.raises(ValueError, match="two commands a"):
        bindings.register(Command(id="a", text="C", group="Group"))


def test_every_default_gesture_is_one_its_command_can_have():
    for command in MOUSE:
        assert set(command.defaults) <= set(command.gestures)
        assert command.defaults


def test_gestures_are_written_as_the_table_writes_them():
    shift, ctrl = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
    assert gesture_text(Qt.MouseButton.LeftButton, shift, "drag") == "Shift+Left drag"
    both = shift | ctrl
    assert gesture_text(Qt.MouseButton.RightButton, both, "click") == "Ctrl+Shift+Right click"
    assert gesture_text(Qt.MouseButton.BackButton, shift, "drag") == ""
