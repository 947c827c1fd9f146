"""Layouts of the window: one slice, slice with curve, reformats, two series; and their actions."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QActionGroup
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from sadmil_core.reformat import Plane, Projection
from viewer.model.companion import COMPANION, Companion
from viewer.model.cursor import Cursor
from viewer.model.places import frame_of_slice
from viewer.model.reformats import PLANES, Reformats
from viewer.model.sight import ModelSight, sees_slices
from viewer.model.slabs import SLABS, Slabs
from viewer.model.state import MODEL_PRESET
from viewer.widgets.crosshair import Crosshair
from viewer.widgets.plane_view import PlaneView
from viewer.widgets.series_rows import series_name
from viewer.widgets.slice_view import SliceView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sadmil_core.dicom.header import Triple
    from viewer.model.places import ImageFrame
    from viewer.model.sight import SeenSlice
    from viewer.model.state import ViewState
    from viewer.widgets.main_window import MainWindow
    from viewer.widgets.slice_view import Pixels

_THICKNESSES_MM = (3.0, 5.0, 10.0, 20.0, 30.0)


class Layout(StrEnum):
    """What stands in the window."""

    READ = "Slice and attention"
    SINGLE = "Slice alone"
    REFORMATS = "Reformats"
    COMPARE = "Two series"


class SecondSeries(QWidget):
    """The second series: which one, how it is linked, and its slice."""

    def __init__(self, companion: Companion, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._companion = companion
        self.view = SliceView()
        self.view.setAccessibleName("CT slice of the second series")
        self.choice = QComboBox()
        self.choice.setAccessibleName("Second series")
        self.choice.activated.connect(lambda row: companion.show(self.choice.itemData(row)))
        self.link = QCheckBox("Link")
        self.link.setToolTip("Scroll both by position; off and on again links what is shown")
        self.link.clicked.connect(companion.set_linked)
        self._how = QLabel()
        self._how.setProperty("role", "muted")
        top = QHBoxLayout()
        top.setContentsMargins(6, 3, 6, 3)
        top.addWidget(self.choice, 1)
        top.addWidget(self.link)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(top)
        column.addWidget(self._how)
        column.addWidget(self.view, 1)
        self._how.setContentsMargins(10, 0, 10, 3)
        self.view.stepped.connect(companion.step)

    def render_state(self, base: ViewState) -> None:
        """Shows the companion's state, or says why there is none."""
        names = [
            (series_name(entry, base.identities[index]), index)
            for index, entry in enumerate(base.entries)
            if index != base.selected
        ]
        hides = base.options.hides_identifiers
        shown = [(f"Series {i + 1}" if hides else name, i) for name, i in names]
        if shown != [
            (self.choice.itemText(i), self.choice.itemData(i)) for i in range(self.choice.count())
        ]:
            self.choice.clear()
            for name, index in shown:
                self.choice.addItem(name, index)
        companion, state = self._companion, self._companion.state
        self.choice.setCurrentIndex(self.choice.findData(companion.index))
        self.choice.setEnabled(bool(names))
        self.link.setEnabled(companion.can_link)
        self.link.setChecked(companion.is_linked and companion.can_link)
        self._how.setText(companion.problem or (companion.link_text if state else ""))
        self.view.setVisible(state is not None)
        if state is not None:
            self.view.render_state(state)


class Layouts(QObject):
    """Owns the views beside the slice, and what they show.

    Args:
        window: The window; its actions and its slice are there already.
        middle: The layout the slice stands in.
        sides: What stands beside it: series, slider, strip, curve.
    """

    def __init__(self, window: MainWindow, middle: QHBoxLayout, sides: dict[str, QWidget]) -> None:
        super().__init__(window)
        self._window, self._session, self._sides = window, window.session, sides
        session = self._session
        self.cursor = Cursor(session, self)
        self.slabs = Slabs(session, self)
        self.sight = ModelSight(session, self)
        self.reformats = Reformats(session, self.cursor, self.slabs, self)
        self.companion = Companion(session, self)
        self.layout = Layout.READ
        self.planes = {plane: PlaneView(plane) for plane in PLANES}
        self.second = SecondSeries(self.companion)
        self._column = QWidget()
        column = QVBoxLayout(self._column)
        column.setContentsMargins(2, 0, 0, 0)
        column.setSpacing(2)
        for view in self.planes.values():
            column.addWidget(view, 1)
        middle.insertWidget(1, self._column, 2)
        middle.insertWidget(2, self.second, 3)
        middle.setStretch(0, 3)
        self._make_crosshairs()
        self._make_actions()
        self._connect()
        self.set_layout(Layout.READ)

    # -- building -----------------------------------------------------------------------------

    def _make_crosshairs(self) -> None:
        view = self._window.slice_view
        self.axial_cross = Crosshair(
            view,
            self.cursor,
            frame=self._axial_frame,
            transform=view.to_widget,
            planes=partial(self._planes_but, None),
            is_free=lambda: not view.measures.is_busy,
        )
        view.overlays.append(self.axial_cross.paint)
        self.crosses = [self.axial_cross]
        for plane, pane in self.planes.items():
            cross = Crosshair(
                pane,
                self.cursor,
                frame=partial(getattr, pane, "frame"),
                transform=pane.to_widget,
                planes=partial(self._planes_but, plane),
            )
            pane.overlays.append(cross.paint)
            self.crosses.append(cross)

    def _axial_frame(self) -> ImageFrame | None:
        state = self._session.state
        return frame_of_slice(state.entry, state.slice_index) if state.entry else None

    def _planes_but(self, own: Plane | None) -> Sequence[tuple[Triple, Triple]]:
        """The other planes than that of a view: reformats through the cursor, the slice itself."""
        state, at = self._session.state, self.cursor.mm
        if state.entry is None or at is None:
            return ()
        planes = [(plane.normal, at) for plane in PLANES if plane is not own]
        if own is not None:
            geometry = state.entry.geometry
            planes.append((geometry.normal, geometry.origins_mm[state.slice_index]))
        return planes

    def _make_actions(self) -> None:
        commands = self._window.commands
        group = QActionGroup(self)
        self.actions = {}
        for key, layout in zip(("F5", "F6", "F7", "F8"), Layout, strict=True):
            run = partial(self.set_layout, layout)
            action = commands.add(layout.value, key, run, menu="Layout", checkable=True)
            group.addAction(action)
            self.actions[layout] = action
        commands.menu("Layout").addSeparator()
        add = partial(commands.add, menu="Layout")
        add("Slab: single, average, MIP", "S", self.slabs.cycle, "A thick slab of slices")
        add("Slab thicker", "Shift+S", lambda: self._thicken(1))
        add("Slab thinner", "Alt+S", lambda: self._thicken(-1))
        sight = commands.add(
            MODEL_PRESET,
            "7",
            self._see,
            "The model's own input: windowed and resized; again for each channel",
            menu="View",
            checkable=True,
        )
        sight.setIconText("Model")
        commands.presets[MODEL_PRESET] = sight
        bar = commands.tool_bar
        bar.insertAction(
            bar.actions()[bar.actions().index(commands.presets["Soft tissue"]) + 1], sight
        )
        self._button = QToolButton()
        self._button.setText("Layout")
        self._button.setMenu(commands.menu("Layout"))
        self._button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._button.setToolTip("Layouts and thick slabs")
        bar.insertWidget(commands.run, self._button)

    def _connect(self) -> None:
        session, view = self._session, self._window.slice_view
        view.stand_in = self._slab_pixels
        view.seen = self._seen
        view.caption = self._caption
        for signal in (self.slabs.changed, self.sight.changed, self.cursor.moved):
            signal.connect(lambda: self.render_state(session.state))
        for signal in (self.slabs.changed, self.sight.changed):
            signal.connect(lambda: view.render_state(session.state))
        self.slabs.failed.connect(session.failed)
        self.reformats.changed.connect(lambda: self.render_state(session.state))
        self.companion.changed.connect(lambda: self.render_state(session.state))
        for plane, pane in self.planes.items():
            pane.bindings = self._window.bindings
            pane.stepped.connect(partial(self._step_plane, plane))
            pane.window_dragged.connect(session.set_window)
            pane.retried.connect(self.reformats.restart)
        self.second.view.bindings = self._window.bindings
        self.second.view.use(session.annotations)
        self.second.view.window_dragged.connect(session.set_window)

    # -- commands -----------------------------------------------------------------------------

    def set_layout(self, layout: Layout) -> None:
        """Shows one of the layouts."""
        self.layout = layout
        self.actions[layout].setChecked(True)
        reformats, compares = layout is Layout.REFORMATS, layout is Layout.COMPARE
        self._sides["series"].setVisible(layout is Layout.READ)
        for name in ("slider", "strip", "curve"):
            self._sides[name].setVisible(layout is not Layout.SINGLE)
        self._column.setVisible(reformats)
        self.second.setVisible(compares)
        for cross in self.crosses:
            cross.is_on = reformats
        self.reformats.set_active(reformats)
        self.companion.set_active(compares)
        self.render_state(self._session.state)
        self._window.slice_view.update()

    @property
    def panes(self) -> tuple[QWidget, ...]:
        """The slice and what may stand beside it, from left to right."""
        return self._window.slice_view, self._column, self.second

    def reset_view(self) -> None:
        """Fits what is shown beside the slice."""
        for pane in self.planes.values():
            pane.reset_view()
        self.second.view.reset_view()

    def cancel(self) -> bool:
        """Stops the work of these views; whether there was any."""
        jobs = self._session.jobs
        busy = self.reformats.is_busy or any(map(jobs.is_busy, (COMPANION, SLABS)))
        self.reformats.cancel()
        self.companion.cancel()
        self.slabs.cancel()
        return busy

    def _step_plane(self, plane: Plane, way_mm: float) -> None:
        """Moves one plane along its normal."""
        at = self.cursor.mm
        if at is not None:
            x, y, z = (a + way_mm * n for a, n in zip(at, plane.normal, strict=True))
            self.cursor.place((x, y, z))

    def _thicken(self, steps: int) -> None:
        ladder = _THICKNESSES_MM
        now = min(range(len(ladder)), key=lambda i: abs(ladder[i] - self.slabs.slab.thickness_mm))
        self.slabs.set_thickness(ladder[min(max(now + steps, 0), len(ladder) - 1)])
        if self.slabs.slab.projection is None:
            self.slabs.set_projection(Projection.MEAN)

    def _see(self) -> None:
        """The model's input; once it is shown, its next channel."""
        state = self._session.state
        if state.preset == MODEL_PRESET:
            self._window.commands.presets[MODEL_PRESET].setChecked(True)
            self.sight.cycle(state)
        elif sees_slices(state):
            self._session.set_preset(MODEL_PRESET)

    # -- showing ------------------------------------------------------------------------------

    def _slab_pixels(self, state: ViewState) -> Pixels | None:
        if state.preset == MODEL_PRESET:
            return None  # the model sees single slices
        image = self.slabs.image_of(state)
        return image.hu if image is not None else None

    def _seen(self, state: ViewState) -> SeenSlice | None:
        return self.sight.picture_of(state) if state.preset == MODEL_PRESET else None

    def _caption(self, state: ViewState) -> str:
        if state.preset == MODEL_PRESET:
            seen = self.sight.picture_of(state)
            return seen.caption if seen is not None else "No model input to show yet"
        return self.slabs.caption_of(state)

    def render_state(self, state: ViewState) -> None:
        """Passes a state to what is shown."""
        self._window.commands.presets[MODEL_PRESET].setEnabled(sees_slices(state))
        if self.layout is Layout.REFORMATS:
            slab = self.slabs.slab
            for plane, pane in self.planes.items():
                pane.render_plane(
                    self.reformats.images.get(plane),
                    state,
                    text=self._why_empty(state),
                    caption=str(slab) if slab.projection else "",
                )
            self._window.slice_view.update()
        elif self.layout is Layout.COMPARE:
            self.second.render_state(state)

    def _why_empty(self, state: ViewState) -> str:
        progress = self.reformats.progress
        if self.reformats.problem:
            return self.reformats.problem
        if progress is not None and progress.total:
            share = 100 * progress.done // progress.total
            return f"{progress.phase.capitalize()}: {share} %\nEsc cancels"
        if state.entry is None:
            return "No series is open"
        return "Reformatting" if state.volume is not None else "Once the series is loaded"
