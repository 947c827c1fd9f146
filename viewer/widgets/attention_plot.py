"""The attention curve: one row a slice, head at the top, thresholds as lines, runs as bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QPainterPath
from PySide6.QtWidgets import QGraphicsPathItem

from sadmil_core.result import positive_runs, slice_number
from viewer import theme
from viewer.model.attention_text import curve_name
from viewer.widgets.slice_tip import SliceTip
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PySide6.QtGui import QMouseEvent, QResizeEvent, QWheelEvent
    from PySide6.QtWidgets import QWidget

    from sadmil_core.result import ScanResult
    from viewer.model.state import ViewState


class _SliceAxis(pg.AxisItem):  # type: ignore[misc]
    """Labels slices as people count them, from 1 at the foot end."""

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [
            str(slice_number(round(value))) if float(value).is_integer() else "" for value in values
        ]


_REACH_PX = 6
_LABEL_PX = 16


class AttentionPlot(pg.PlotWidget):  # type: ignore[misc]
    """Draws the curve with its thresholds and positive runs, and the cursor of the stack.

    Evidence, or what else the rule judges by, has an axis of its own at the top.
    """

    picked = Signal(int)
    """The slice that was clicked or dragged to."""
    stepped = Signal(int)
    """Slices to move by; positive is towards the head."""
    tried = Signal(object)
    """The slice threshold to try out, or None for the stored one."""
    axis_moved = Signal()
    """The vertical extent of the axis has changed; see :meth:`axis_extent`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            parent, background=theme.GROUND, axisItems={"left": _SliceAxis(orientation="left")}
        )
        self._state: ViewState | None = None
        self._exported = False
        self._drags_threshold = False
        self.setAccessibleName("Attention curve")
        self.setMinimumWidth(220)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        plot = self.getPlotItem()
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        for side in ("left", "bottom", "top"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        self._own = plot.getViewBox()
        self._second = pg.ViewBox(enableMenu=False, enableMouse=False)
        plot.scene().addItem(self._second)
        plot.getAxis("top").linkToView(self._second)
        self._second.setYLink(self._own)
        self._own.sigResized.connect(self._on_resized)
        self._wheel = WheelSteps()
        self.tip = SliceTip(self)
        self._items: list[tuple[pg.ViewBox, object]] = []
        self._cursor = pg.InfiniteLine(angle=0)
        self._hint = pg.TextItem(anchor=(0.5, 0.5))
        for item in (self._cursor, self._hint):
            plot.addItem(item, ignoreBounds=True)
        self._restyle()
        self._second.setVisible(False)

    def _on_resized(self) -> None:
        self._second.setGeometry(self._own.sceneBoundingRect())
        self.axis_moved.emit()

    def settle(self) -> None:
        """Lays everything out at once, where no event loop would."""
        plot = self.getPlotItem()
        plot.layout.activate()
        for side in ("left", "bottom", "top"):
            plot.getAxis(side).resizeEvent()
        self._on_resized()

    def _restyle(self) -> None:
        """Takes over the colours of the theme."""
        plot = self.getPlotItem()
        self.setBackground(theme.GROUND)
        for side in ("left", "bottom", "top"):
            plot.getAxis(side).setTextPen(theme.MUTED)
            plot.getAxis(side).setPen(theme.MUTED)
        self._cursor.setPen(pg.mkPen(theme.TEXT, width=1))
        self._hint.setColor(theme.MUTED)

    def changeEvent(self, event: QEvent) -> None:
        """Draws everything anew in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and hasattr(self, "_hint"):
            self._restyle()
            if self._state is not None:
                self._label(self._state)
                self._draw(self._state)

    def render_state(self, state: ViewState, *, exported: bool = False) -> None:
        """Draws what differs from the last state.

        Args:
            state: What is shown.
            exported: Whether it leaves the program: then no tried threshold, and no cursor.
        """
        old, self._state, self._exported = self._state, state, exported
        if old is None or old.slice_count != state.slice_count:
            count = max(state.slice_count, 1)
            self.getPlotItem().setYRange(-0.5, count - 0.5, padding=0)
            self._tick_every_so_often(state.slice_count)
        if old is None or old.entry is not state.entry or old.model is not state.model:
            self._label(state)
        if (
            old is None
            or old.result is not state.result
            or old.other_result is not state.other_result
            or old.attention is not state.attention
            or old.inquiry.trial_threshold != state.inquiry.trial_threshold
        ):
            self._draw(state)
        for side in ("left", "bottom"):  # an axis of nothing would look like a result
            self.getPlotItem().showAxis(side, state.slice_count > 0)
        self._cursor.setVisible(state.slice_count > 0 and not exported)
        self._cursor.setValue(state.slice_index)
        self._say(state)

    def _label(self, state: ViewState) -> None:
        plot = self.getPlotItem()
        plot.setLabel("left", _axis_title(state), color=theme.MUTED)
        plot.setLabel("bottom", curve_name(state).axis, color=theme.MUTED)

    # -- drawing ------------------------------------------------------------------------------

    def _add(self, box: pg.ViewBox, item: object) -> None:
        box.addItem(item, ignoreBounds=True)
        self._items.append((box, item))

    def _draw(self, state: ViewState) -> None:
        for box, item in self._items:
            box.removeItem(item)
        self._items.clear()
        result, plot = state.result, self.getPlotItem()
        second = _second_values(state)
        plot.showAxis("top", second is not None)
        self._second.setVisible(second is not None)
        if result is None:
            plot.setXRange(0, 0.1, padding=0)
            return
        tops = [float(result.attention.max())]
        if result.rule.slice_score == "attention":
            tops.append(result.slice_threshold)
        if result.attention_sd is not None:
            self._draw_uncertainty(result)
            tops.append(float((result.attention + result.attention_sd).max()))
        other = state.other_result
        if other is not None:
            tops.append(float(other.attention.max()))
        plot.setXRange(0, max(max(tops), 1e-6) * 1.12, padding=0)
        if second is not None:
            self._draw_second(result.rule.slice_score, *second)
        self._draw_runs(result)
        index = np.arange(len(result.attention))
        if other is not None:
            self._draw_other(state, other)
        self._add(
            self._own,
            pg.PlotCurveItem(x=result.attention, y=index, pen=pg.mkPen(theme.ACCENT, width=2)),
        )
        self._add(
            self._own,
            pg.ScatterPlotItem(x=result.attention, y=index, size=5, brush=theme.ACCENT, pen=None),
        )
        positive = result.slice_positive
        self._add(
            self._own,
            pg.ScatterPlotItem(
                x=result.attention[positive],
                y=index[positive],
                size=11,
                brush=theme.SIGNAL,
                pen=theme.GROUND,
            ),
        )
        self._draw_thresholds(state, result)

    def _draw_uncertainty(self, result: ScanResult) -> None:
        """A band of one standard deviation to both sides."""
        sd = result.attention_sd
        assert sd is not None
        low, high = np.clip(result.attention - sd, 0, None), result.attention + sd
        path = QPainterPath(QPointF(float(low[0]), 0))
        for y, x in enumerate(low):
            path.lineTo(float(x), y)
        for y in range(len(high) - 1, -1, -1):
            path.lineTo(float(high[y]), y)
        path.closeSubpath()
        item = QGraphicsPathItem(path)
        item.setPen(pg.mkPen(None))
        item.setBrush(pg.mkBrush(_faint(theme.ACCENT, 0.25)))
        item.setZValue(-5)
        self._add(self._own, item)

    def _draw_second(self, score: str, name: str, values: NDArray[np.float32]) -> None:
        """Evidence around its zero, or the probability of each slice, on the axis at the top."""
        index = np.arange(len(values))
        pen = pg.mkPen(theme.MUTED, width=1.2, style=Qt.PenStyle.DotLine)
        self._add(self._second, pg.PlotCurveItem(x=values, y=index, pen=pen))
        for sign, brush in ((values > 0, theme.MUTED), (values <= 0, theme.GROUND)):
            self._add(
                self._second,
                pg.ScatterPlotItem(
                    x=values[sign], y=index[sign], size=6, symbol="s", brush=brush, pen=theme.MUTED
                ),
            )
        title = "slice probability"
        if name == "evidence":
            reach = max(float(np.abs(values).max()), 1e-6) * 1.12
            self._second.setXRange(-reach, reach, padding=0)
            self._add(self._second, pg.InfiniteLine(0, angle=90, pen=pg.mkPen(theme.LINE)))
            title = "evidence □: left lowers, right raises"
        else:
            self._second.setXRange(0, 1, padding=0.02)
        self.getPlotItem().setLabel("top", title, color=theme.MUTED)

    def _draw_other(self, state: ViewState, other: ScanResult) -> None:
        """The other model's curve, and both names."""
        index = np.arange(len(other.attention))
        pen = pg.mkPen(theme.TEXT, width=1.4, style=Qt.PenStyle.DashDotLine)
        self._add(self._own, pg.PlotCurveItem(x=other.attention, y=index, pen=pen))
        self._add(
            self._own,
            pg.ScatterPlotItem(
                x=other.attention, y=index, size=6, symbol="t", brush=None, pen=theme.TEXT
            ),
        )
        assert state.model is not None
        assert state.attention.other is not None
        lines = [f"● {state.model.header.name}", f"▽ {_told_name(state)}"]
        text = pg.TextItem(
            "\n".join(lines), color=theme.TEXT, anchor=(1, 1), fill=_faint(theme.GROUND, 0.7)
        )
        text.setPos(self.getPlotItem().viewRange()[0][1], -0.5)
        self._add(self._own, text)

    def _draw_runs(self, result: ScanResult) -> None:
        """Bands, a bar at their left edge, and their slices in words where there is room."""
        left, right = self.getPlotItem().viewRange()[0]
        rows_a_label = _LABEL_PX * len(result.attention) / max(self._own.height(), 1.0)
        free_above = np.inf
        for first, last in reversed(positive_runs(result.slice_positive)):
            band = pg.LinearRegionItem(
                (first - 0.5, last + 0.5),
                orientation="horizontal",
                movable=False,
                brush=_faint(theme.SIGNAL, 0.16),
                pen=pg.mkPen(None),
            )
            band.setZValue(-10)
            self._add(self._own, band)
            bar = pg.PlotCurveItem(
                x=[left, left], y=[first - 0.5, last + 0.5], pen=pg.mkPen(theme.SIGNAL, width=6)
            )
            self._add(self._own, bar)
            if last + 0.5 > free_above:
                continue  # the result bar names them all
            # At the left, where the curve of a marked run is not.
            words, veil = run_text(result, first, last), _faint(theme.GROUND, 0.7)
            text = pg.TextItem(words, color=theme.SIGNAL, anchor=(0, 0), fill=veil)
            text.setPos(left + 0.02 * (right - left), last + 0.5)
            self._add(self._own, text)
            free_above = last + 0.5 - rows_a_label

    def _draw_thresholds(self, state: ViewState, result: ScanResult) -> None:
        """The stored threshold; beside it one that is tried out, and what that would mark."""
        box = self._threshold_box(result)
        tried = None if self._exported else state.inquiry.trial_threshold
        pen = pg.mkPen(theme.TEXT, width=1.5, style=Qt.PenStyle.DashLine)
        stored = pg.InfiniteLine(result.slice_threshold, angle=90, pen=pen)
        stored.setOpacity(0.4 if tried is not None or _is_gated_off(result) else 1.0)
        self._add(box, stored)
        self._name_line(box, result.slice_threshold, f"threshold {result.slice_threshold:.3f}")
        if tried is None:
            return
        pen = pg.mkPen(theme.SIGNAL, width=2, style=Qt.PenStyle.DashDotLine)
        self._add(box, pg.InfiniteLine(tried, angle=90, pen=pen))
        self._name_line(box, tried, f"what if {tried:.3f}", row=1)
        pen = pg.mkPen(theme.SIGNAL, width=1.2, style=Qt.PenStyle.DashLine)
        for first, last in positive_runs(result.slice_score > np.float32(tried)):
            outline = pg.LinearRegionItem(
                (first - 0.5, last + 0.5),
                orientation="horizontal",
                movable=False,
                brush=pg.mkBrush(None),
                pen=pen,
            )
            self._add(self._own, outline)

    def _name_line(self, box: pg.ViewBox, value: float, words: str, row: int = 0) -> None:
        (low, high), (_, top) = box.viewRange()
        # On the side where there is room for it.
        anchor = (1 if value > (low + high) / 2 else 0, -row)
        text = pg.TextItem(words, color=theme.TEXT, anchor=anchor, fill=_faint(theme.GROUND, 0.7))
        text.setPos(value, top)
        self._add(box, text)

    def _threshold_box(self, result: ScanResult) -> pg.ViewBox:
        return self._own if result.rule.slice_score == "attention" else self._second

    def axis_extent(self) -> tuple[float, float]:
        """Top and bottom of the slice axis in this widget's coordinates."""
        area = self.getPlotItem().getViewBox().sceneBoundingRect()
        top = self.mapFromScene(QPointF(area.left(), area.top())).y()
        bottom = self.mapFromScene(QPointF(area.left(), area.bottom())).y()
        return float(top), float(bottom)

    def _tick_every_so_often(self, count: int) -> None:
        step = next((s for s in (1, 2, 5, 10, 20, 50, 100) if count / s <= 24), 200)
        ticks = [(i, str(slice_number(i))) for i in range(count) if slice_number(i) % step == 0]
        first = [(0, "1")] if step > 1 else []
        self.getPlotItem().getAxis("left").setTicks([first + ticks])

    def _say(self, state: ViewState) -> None:
        """The empty plot says why it is empty."""
        text = ""
        if state.result is None and state.slice_count:
            running = state.scoring is not None
            text = "the model is reading" if running else "not scored"
            if state.withholds:
                text = "hidden until you\nhave marked the scan"
        self._hint.setVisible(bool(text))
        if text:
            self._hint.setText(text)
            (left, right), (low, high) = self.getPlotItem().viewRange()
            self._hint.setPos((left + right) / 2, low + 0.75 * (high - low))  # clear of the cursor

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Passes the new extent of the axis on."""
        super().resizeEvent(event)
        self.axis_moved.emit()

    def event(self, event: QEvent) -> bool:
        """As above, once the layout has settled."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.LayoutRequest:
            self.axis_moved.emit()
        return handled

    # -- mouse --------------------------------------------------------------------------------

    def _index_at(self, event: QMouseEvent) -> int | None:
        state = self._state
        if state is None or not state.slice_count:
            return None
        spot = self._own.mapSceneToView(self.mapToScene(event.position().toPoint()))
        return int(min(max(round(spot.y()), 0), state.slice_count - 1))

    def threshold_x(self) -> float | None:
        """Where the line that can be dragged stands, in this widget's coordinates."""
        state = self._state
        if state is None or state.result is None:
            return None
        tried = state.inquiry.trial_threshold
        value = state.result.slice_threshold if tried is None else tried
        scene = self._threshold_box(state.result).mapViewToScene(QPointF(value, 0))
        return float(self.mapFromScene(scene).x())

    def _is_on_threshold(self, event: QMouseEvent) -> bool:
        x = self.threshold_x()
        inside = self._own.sceneBoundingRect().contains(self.mapToScene(event.position().toPoint()))
        return x is not None and inside and abs(event.position().x() - x) <= _REACH_PX

    def _try(self, event: QMouseEvent) -> None:
        assert self._state is not None
        result = self._state.result
        if result is None:
            return
        spot = self._threshold_box(result).mapSceneToView(
            self.mapToScene(event.position().toPoint())
        )
        value = float(spot.x())
        self.tried.emit(value if result.rule.slice_score == "evidence" else min(max(value, 0), 1))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Takes hold of the threshold, or moves the stack to the slice that was clicked."""
        self.tip.hide()
        self._drags_threshold = self._is_on_threshold(event)
        index = self._index_at(event)
        if not self._drags_threshold and index is not None:
            self.picked.emit(index)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follows a drag; otherwise shows the slice under the pointer."""
        index = self._index_at(event)
        if event.buttons():
            if self._drags_threshold:
                self._try(event)
            elif index is not None:
                self.picked.emit(index)
            return
        near = self._is_on_threshold(event)
        self.viewport().setCursor(
            Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor
        )
        if self._state is not None and index is not None:
            self.tip.show_slice(self._state, index, event.globalPosition().toPoint())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ends a drag."""
        self._drags_threshold = False

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Goes back to the stored threshold."""
        self.tried.emit(None)

    def leaveEvent(self, event: QEvent) -> None:
        """Takes the tip away."""
        super().leaveEvent(event)
        self.tip.hide()

    def hideEvent(self, event: QEvent) -> None:
        """As above."""
        super().hideEvent(event)
        self.tip.hide()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolls the stack."""
        self.tip.hide()
        steps = self._wheel.of(event)
        if steps:
            self.stepped.emit(steps)


def run_text(result: ScanResult, first: int, last: int) -> str:
    """A run of positive slices in words."""
    peak = slice_number(first + int(result.slice_score[first : last + 1].argmax()))
    if first == last:
        return f"● slice {peak}"
    return f"● slices {slice_number(first)}-{slice_number(last)}, peak {peak}"


def _faint(colour: str, alpha: float) -> QColor:
    faint = QColor(colour)
    faint.setAlphaF(alpha)
    return faint


def _second_values(state: ViewState) -> tuple[str, NDArray[np.float32]] | None:
    """What the axis at the top is for: what the rule judges by, else evidence if asked for."""
    result = state.result
    if result is None:
        return None
    if result.rule.slice_score == "probability" and result.slice_probability is not None:
        return "probability", result.slice_probability
    wanted = state.attention.shows_evidence or result.rule.slice_score == "evidence"
    return ("evidence", result.evidence) if wanted and result.evidence is not None else None


def _told_name(state: ViewState) -> str:
    """The other model's name, and what must be known of it."""
    other = state.attention.other
    assert other is not None
    name = other.header.name
    return f"{name} (synthetic heads only)" if other.header.provenance.phantoms_only else name


def _is_gated_off(result: ScanResult) -> bool:
    """Whether the rule marks no slice because the scan itself is below its threshold."""
    return result.rule.gated and not result.scan_positive


def _axis_title(state: ViewState) -> str:
    if state.entry is None or state.entry.geometry.runs_foot_to_head:
        return "slice, foot to head"
    if not state.entry.geometry.has_positions:
        return "slice, in the order of the files"
    return "slice"
