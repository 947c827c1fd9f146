"""Texts of drawings: beside them, within the picture, on no other text."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, QSize

from viewer.widgets.text_places import place_text

AREA, SIZE = QRect(0, 0, 400, 300), QSize(100, 40)


def test_a_text_stands_at_the_lower_right_of_what_it_is_about() -> None:
    box = place_text(SIZE, QRectF(100, 100, 50, 30), AREA, [])
    assert box.left() > 150
    assert abs(box.top() - 130) < 10


def test_texts_of_one_place_do_not_cover_each_other() -> None:
    taken: list[QRect] = []
    for _ in range(8):
        box = place_text(SIZE, QRectF(150, 120, 20, 20), AREA, taken)
        assert AREA.contains(box)
        assert not any(box.intersects(other) for other in taken)
        taken.append(box)


def test_a_text_stays_in_the_picture_whatever_it_is_about() -> None:
    for x, y in ((-500, -500), (380, 290), (900, 100), (200, 900)):
        assert AREA.contains(place_text(SIZE, QRectF(x, y, 10, 10), AREA, []))


def test_where_there_is_no_room_the_text_is_shown_all_the_same() -> None:
    box = place_text(SIZE, QRectF(150, 120, 20, 20), AREA, [AREA])
    assert AREA.contains(box)
