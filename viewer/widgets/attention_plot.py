"""The attention curve: one row a slice, head at the top, the threshold as a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QColor

from sadmil_core.result import positive_runs, slice_number
from viewer import theme
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
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


class AttentionPlot(pg.PlotWidget):  # type: ignore[misc]
    """Draws a_s by slice, with threshold, positive runs and the cursor of the stack."""

    picked = Signal(int)
    """The slice that was clicked or dragged to."""
    stepped = Signal(int)
    """Slices to move by; positive is towards the head."""
    axis_moved = Signal()
    """The vertical extent of the axis has changed; see :meth:`axis_extent`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            parent, background=theme.GROUND, axisItems={"left": _SliceAxis(orientation="left")}
        )
        self._state: ViewState | None = None
        self.setAccessibleName("Attention curve")
        self.setMinimumWidth(220)
        plot = self.getPlotItem()
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        for side in ("left", "bottom"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        self._wheel = WheelSteps()
        self._bands: list[pg.LinearRegionItem] = []
        self._curve = plot.plot()
        self._dots = pg.ScatterPlotItem(size=5, pen=None)
        self._marks = pg.ScatterPlotItem(size=11)
        self._threshold = pg.InfiniteLine(angle=90)
        self._threshold_text = pg.TextItem(anchor=(0, 0))
        self._cursor = pg.InfiniteLine(angle=0)
        self._hint = pg.TextItem(anchor=(0.5, 0.5))
        for item in (
            self._dots,
            self._marks,
            self._threshold,
            self._threshold_text,
            self._cursor,
            self._hint,
        ):
            plot.addItem(item, ignoreBounds=True)
        self._restyle()
        self._show(None)

    def _restyle(self) -> None:
        """Takes over the colours of the theme."""
        plot = self.getPlotItem()
        self.setBackground(theme.GROUND)
        plot.setLabel("bottom", "a weight, not a probability", color=theme.MUTED)
        for side in ("left", "bottom"):
            plot.getAxis(side).setTextPen(theme.MUTED)
            plot.getAxis(side).setPen(theme.MUTED)
        self._curve.setPen(pg.mkPen(theme.ACCENT, width=2))
        self._dots.setBrush(theme.ACCENT)
        self._marks.setBrush(theme.SIGNAL)
        self._marks.setPen(theme.GROUND)
        dashed = pg.mkPen(theme.TEXT, width=1.5, style=Qt.PenStyle.DashLine)
        self._threshold.setPen(dashed)
        self._threshold_text.setColor(theme.TEXT)
        self._threshold_text.fill = pg.mkBrush(theme.GROUND)
        self._cursor.setPen(pg.mkPen(theme.TEXT, width=1))
        self._hint.setColor(theme.MUTED)

    def changeEvent(self, event: QEvent) -> None:
        """Draws everything anew in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and hasattr(self, "_hint"):
            self._restyle()
            state = self._state
            if state is not None:
                self.getPlotItem().setLabel("left", _axis_title(state), color=theme.MUTED)
                self._show(state.result)

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        if old is None or old.slice_count != state.slice_count:
            count = max(state.slice_count, 1)
            self.getPlotItem().setYRange(-0.5, count - 0.5, padding=0)
            self._tick_every_so_often(state.slice_count)
        if old is None or old.entry is not state.entry:
            self.getPlotItem().setLabel("left", _axis_title(state), color=theme.MUTED)
        if old is None or old.result is not state.result:
            self._show(state.result)
        self._cursor.setVisible(state.slice_count > 0)
        self._cursor.setValue(state.slice_index)
        self._say(state)

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

    def _show(self, result: ScanResult | None) -> None:
        plot = self.getPlotItem()
        for band in self._bands:
            plot.removeItem(band)
        self._bands.clear()
        shown = result is not None
        for item in (self._curve, self._dots, self._marks):
            item.setVisible(shown)
        by_attention = result is not None and result.rule.slice_score == "attention"
        self._threshold.setVisible(by_attention)
        self._threshold_text.setVisible(by_attention)
        if result is None:
            plot.setXRange(0, 0.1, padding=0)
            return
        index = np.arange(len(result.attention))
        self._curve.setData(result.attention, index)
        self._dots.setData(result.attention, index)
        positive = result.slice_positive
        self._marks.setData(result.attention[positive], index[positive])
        if by_attention:
            self._threshold.setValue(result.slice_threshold)
            self._threshold_text.setText(f"threshold {result.slice_threshold:.3f}")
        colour = QColor(theme.SIGNAL)
        colour.setAlphaF(0.16)
        for first, last in positive_runs(positive):
            band = pg.LinearRegionItem(
                (first - 0.5, last + 0.5),
                orientation="horizontal",
                movable=False,
                brush=colour,
                pen=pg.mkPen(None),
            )
            band.setZValue(-10)
            plot.addItem(band, ignoreBounds=True)
            self._bands.append(band)
        limit = max(float(result.attention.max()), result.slice_threshold if by_attention else 0)
        plot.setXRange(0, limit * 1.12, padding=0)
        if by_attention:
            # On the side where there is room for it.
            self._threshold_text.setAnchor((1 if result.slice_threshold > 0.5 * limit else 0, 0))
            self._threshold_text.setPos(result.slice_threshold, len(index) - 0.5)
            self._threshold.setOpacity(0.4 if _is_gated_off(result) else 1.0)
            self._threshold_text.setOpacity(0.6 if _is_gated_off(result) else 1.0)

    def _say(self, state: ViewState) -> None:
        """The empty plot says why it is empty."""
        text = ""
        if state.result is None and state.slice_count:
            running = state.scoring is not None
            text = "the model is reading" if running else "not scored"
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

    def _pick(self, event: QMouseEvent) -> None:
        state = self._state
        if state is None or not state.slice_count:
            return
        spot = (
            self.getPlotItem()
            .getViewBox()
            .mapSceneToView(self.mapToScene(event.position().toPoint()))
        )
        self.picked.emit(min(max(round(spot.y()), 0), state.slice_count - 1))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Moves the stack to the slice that was clicked."""
        self._pick(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follows a drag."""
        if event.buttons():
            self._pick(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ends a drag."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolls the stack."""
        steps = self._wheel.of(event)
        if steps:
            self.stepped.emit(steps)


def _is_gated_off(result: ScanResult) -> bool:
    """Whether the rule marks no slice because the scan itself is below its threshold."""
    return result.rule.gated and not result.scan_positive


def _axis_title(state: ViewState) -> str:
    if state.entry is None or state.entry.geometry.runs_foot_to_head:
        return "slice, foot to head"
    if not state.entry.geometry.has_positions:
        return "slice, in the order of the files"
    return "slice"
