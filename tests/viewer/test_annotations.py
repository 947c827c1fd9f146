from __future__ import annotations

import pytest

from viewer.model.annotations import Annotations, MeasureKind, Measurement, SliceKey

HERE = SliceKey(series_uid="1.2", sop_uid="1.2.3")
THERE = SliceKey(series_uid="1.2", sop_uid="1.2.4")


def line(key=HERE, end=(3.0, 4.0)) -> Measurement:
    return Measurement(slice=key, kind=MeasureKind.DISTANCE, points=((0.0, 0.0), end))


def test_a_measurement_stays_with_its_slice(qapp):
    annotations = Annotations()
    here, there = line(), line(THERE)
    annotations.add(here)
    annotations.add(there)
    assert annotations.on(HERE) == (here,)
    assert annotations.on(THERE) == (there,)
    other_series = SliceKey(series_uid="1.9", sop_uid="1.2.3")
    second_frame = SliceKey(series_uid="1.2", sop_uid="1.2.3", frame=2)
    assert annotations.on(other_series) == annotations.on(second_frame) == ()


def test_each_step_can_be_undone_and_done_again(qapp):
    annotations = Annotations()
    steps = annotations.undo_stack
    drawn = line()
    annotations.add(drawn)
    annotations.move(drawn.uid, ((1.0, 1.0), (5.0, 5.0)))
    annotations.toggle_key_image(HERE)
    annotations.remove(drawn.uid)
    assert steps.count() == 4
    assert annotations.on(HERE) == ()
    steps.undo()
    assert annotations.on(HERE)[0].points == ((1.0, 1.0), (5.0, 5.0))
    steps.undo()
    assert not annotations.is_key_image(HERE)
    steps.undo()
    assert annotations.on(HERE) == (drawn,)
    steps.undo()
    assert annotations.on(HERE) == ()
    for _ in range(4):
        steps.redo()
    assert annotations.on(HERE) == ()
    assert annotations.is_key_image(HERE)


def test_undo_says_where_but_drawing_does_not(qapp, qtbot):
    annotations = Annotations()
    with qtbot.assertNotEmitted(annotations.revisited):
        annotations.add(line(THERE))
    with qtbot.waitSignal(annotations.revisited) as caught:
        annotations.undo_stack.undo()
    assert caught.args == [THERE]


def test_a_move_to_the_same_place_is_no_step(qapp):
    annotations = Annotations()
    drawn = line()
    annotations.add(drawn)
    annotations.move(drawn.uid, drawn.points)
    assert annotations.undo_stack.count() == 1


def test_all_of_a_slice_are_deleted_as_one_step(qapp):
    annotations = Annotations()
    for key in (HERE, HERE, THERE):
        annotations.add(line(key))
    annotations.remove_all_on(HERE)
    assert annotations.on(HERE) == ()
    assert len(annotations.on(THERE)) == 1
    annotations.undo_stack.undo()
    assert len(annotations.on(HERE)) == 2


def test_a_measurement_has_the_points_of_its_kind():
    with pytest.raises(ValueError, match="3 points"):
        Measurement(slice=HERE, kind=MeasureKind.ANGLE, points=((0.0, 0.0), (1.0, 1.0)))
    with pytest.raises(ValueError, match="finite"):
        line(end=(float("nan"), 0.0))
