"""The main window: wires widgets and actions to the session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QSize, Qt, QUrl
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.fitness import FitnessLevel
from sadmil_core.result import MIN_SLICES
from viewer.model.bindings import Bindings
from viewer.model.cine import Cine
from viewer.privacy import names_of
from viewer.widgets.actions import WindowActions
from viewer.widgets.attention_panel import AttentionPanel
from viewer.widgets.bindings_dialog import BindingsDialog
from viewer.widgets.cheat_sheet import CheatSheet
from viewer.widgets.error_dialog import ErrorDialog
from viewer.widgets.exports import Exports
from viewer.widgets.file_dialogs import ask_file, ask_folder
from viewer.widgets.files_dialog import FilesDialog
from viewer.widgets.label_panel import LabelPanel
from viewer.widgets.labelling import Labelling
from viewer.widgets.layouts import Layouts
from viewer.widgets.model_box import ModelBox
from viewer.widgets.model_dialog import ModelDialog
from viewer.widgets.result_panel import ResultPanel
from viewer.widgets.series_details import SeriesDetails
from viewer.widgets.series_list import SeriesList
from viewer.widgets.settings_dialog import SettingsDialog
from viewer.widgets.slice_slider import SliceSlider
from viewer.widgets.slice_strip import SliceStrip
from viewer.widgets.slice_view import SliceView
from viewer.widgets.start_page import StartPage
from viewer.widgets.studies import Studies

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent

    from sadmil_core.errors import SadmilError
    from viewer.model.session import Session
    from viewer.model.state import ModelItem, ViewState
    from viewer.settings import Settings

_TITLE = "sadmil-viewer"
_SIZE = QSize(1280, 800)
_FILE_KINDS = ";;".join(
    (
        "All files (*)",
        "DICOM (*.dcm *.dicom *.ima DICOMDIR)",
        "Zip archives (*.zip)",
        "Volumes (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd)",
    )
)
_FRAME = QSize(16, 48)  # px that a window manager adds, about


class MainWindow(QMainWindow):
    """Series list, slice, strip, attention curve and result bar around one session."""

    def __init__(self, session: Session, settings: Settings) -> None:
        super().__init__()
        self._session, self._settings = session, settings
        self.setWindowTitle(f"{_TITLE} ({RESEARCH_USE_NOTICE.lower()})")
        self.setAcceptDrops(True)
        self.series_list = SeriesList()
        self.details = SeriesDetails()
        self.label_panel = LabelPanel()
        self.slice_view = SliceView()
        self.slider = SliceSlider()
        self.strip = SliceStrip()
        self.attention = AttentionPanel()
        self.plot = self.attention.plot
        self.result_panel = ResultPanel()
        self.model_box = ModelBox()
        self._error_dialog: ErrorDialog | None = None
        self.keeps_geometry = True  # not where the window is only rendered for a picture
        self._state: ViewState | None = None
        self._lay_out()
        self.bindings = Bindings(settings.bindings, self)
        self.commands = WindowActions(self, self.bindings, Cine(session, settings.cine_hz))
        self.commands.fill()
        self._connect()
        self.start_page = StartPage(self.slice_view, self.commands.beginnings)
        self.layouts = Layouts(self, self._middle, self._sides)
        self.exports = Exports(self)
        self.labelling = Labelling(self, settings)
        self.studies = Studies(self, self._left)
        if settings.geometry is None or not self.restoreGeometry(settings.geometry):
            # No larger than the screen: the result bar must not hang below its edge.
            self.resize(_SIZE.boundedTo(self.screen().availableSize() - _FRAME))
        session.reads_unasked = settings.reads_unasked
        session.set_options(
            shows_texts=settings.shows_texts,
            hides_identifiers=settings.hides_identifiers,
            reads_first=settings.reads_first,
        )
        session.labels.set_reader(settings.reader)
        self.render_state(session.state)

    def sizeHint(self) -> QSize:
        """Fits a laptop."""
        return _SIZE

    # -- building -----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        middle = QWidget()
        self._middle = across = QHBoxLayout(middle)
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(0)
        across.addWidget(self.slice_view, 1)
        across.addWidget(self.slider)
        across.addWidget(self.strip)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        self._left = left = QSplitter(Qt.Orientation.Vertical)
        left.addWidget(self.series_list)
        left.addWidget(self.details)
        left.addWidget(self.label_panel)
        left.setSizes([330, 190, 200])
        left.setChildrenCollapsible(False)
        left.setHandleWidth(3)
        self._sides = {
            "series": left,
            "slider": self.slider,
            "strip": self.strip,
            "curve": self.attention,
        }
        splitter.addWidget(left)
        splitter.addWidget(middle)
        splitter.addWidget(self.attention)
        for index, stretch in enumerate((1, 5, 2)):
            splitter.setStretchFactor(index, stretch)
            splitter.setCollapsible(index, index != 1)
        splitter.setSizes([260, 700, 320])
        splitter.setHandleWidth(3)
        splitter.splitterMoved.connect(self._align_strip)
        centre = QWidget()
        page = QVBoxLayout(centre)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(3)
        page.addWidget(splitter, 1)
        page.addWidget(self.result_panel)
        self.setCentralWidget(centre)

    def _action(
        self, text: str, keys: str | list[str], run: Callable[[], object], tip: str = ""
    ) -> QAction:
        """Adds an action with its keys; every part of the window makes its own by this."""
        return self.commands.add(text, keys, run, tip)

    def _connect(self) -> None:
        session = self._session
        session.changed.connect(self.render_state)
        session.failed.connect(self.show_error)
        self.series_list.picked.connect(session.select_series)
        self.details.files_wanted.connect(self.show_files)
        self.slice_view.stepped.connect(session.step_slice)
        self.slice_view.window_dragged.connect(session.set_window)
        self.slice_view.bindings = self.bindings
        self.slice_view.use(session.annotations)
        self.slice_view.menu_wanted.connect(self.commands.show_menu)
        session.annotations.revisited.connect(self.commands.go_to)
        self.bindings.changed.connect(self._keep_bindings)
        for widget in (self.slider, self.strip, self.plot):
            widget.picked.connect(session.set_slice)
            widget.stepped.connect(session.step_slice)
        self.plot.axis_moved.connect(self._align_strip)
        self.plot.tried.connect(session.inquirer.try_threshold)
        self.attention.opacity_wanted.connect(session.inquirer.set_opacity)
        self.model_box.picked.connect(self._on_model_picked)
        self.model_box.opened.connect(session.refresh_models)

    @property
    def session(self) -> Session:
        """The session behind the window."""
        return self._session

    # -- drawing ------------------------------------------------------------------------------

    def render_state(self, state: ViewState) -> None:
        """Passes a new state to every widget."""
        self.slice_view.render_state(state)
        self.start_page.render_state(state)
        self.strip.render_state(state)
        self.attention.render_state(state)
        self.series_list.render_state(state)
        self.details.render_state(state)
        self.label_panel.render_state(state)
        self.result_panel.render_state(state)
        self.slider.render_state(state)
        self.model_box.render_state(state)
        old, self._state = self._state, state
        if old is None or old.slice_count != state.slice_count:
            self._align_strip()
        self.commands.render_state(state)
        self.layouts.render_state(state)
        self.labelling.render_state(state)
        self.studies.render_state(state)

    def _align_strip(self) -> None:
        """Gives strip and slider the same vertical axis as the curve."""
        top, bottom = self.plot.axis_extent()
        for widget in (self.strip, self.slider):
            shift = self.plot.mapTo(self, QPoint(0, 0)).y() - widget.mapTo(self, QPoint(0, 0)).y()
            widget.set_axis(top + shift, bottom + shift)

    def resizeEvent(self, event: object) -> None:
        """Keeps strip and curve aligned."""
        super().resizeEvent(event)  # type: ignore[arg-type]
        self._align_strip()

    def showEvent(self, event: object) -> None:
        """As above, for the first layout."""
        super().showEvent(event)  # type: ignore[arg-type]
        self._align_strip()

    # -- doing --------------------------------------------------------------------------------

    def ask_folder(self) -> None:
        """Lets the user choose a folder to open."""
        folder = ask_folder(self, "Open a folder of head CT")
        if folder:
            self._session.open_path(folder)

    def ask_file(self) -> None:
        """Lets the user choose one file to open."""
        file = ask_file(self, "Open a file of head CT", _FILE_KINDS)
        if file:
            self._session.open_path(file)

    def ask_model(self) -> None:
        """Lets the user choose a checkpoint file."""
        file = ask_file(self, "Choose a checkpoint", "Checkpoints (*.safetensors);;All files (*)")
        if file:
            self._session.choose_model(str(file))

    def ask_export(self) -> None:
        """Lets the user choose what to export, and where to."""
        self.exports.ask()

    def reset_view(self) -> None:
        """Fits the slice again, upright, and returns to the brain window."""
        self.slice_view.reset_view()
        self.layouts.reset_view()
        self._session.set_options(is_inverted=False, is_flipped_across=False, is_flipped_down=False)
        self._session.set_preset("Brain")

    def _on_model_picked(self, item: ModelItem) -> None:
        self._settings.model = item.name  # never a path: it may name a patient
        self._session.choose_model(str(item.path))

    def run_model(self) -> None:
        """Scores the series; an unfit one only after the user has been told why not to."""
        state = self._session.state
        fitness = state.fitness
        # Of too few slices even insistence makes no bag.
        if fitness is None or not fitness.is_unfit or state.slice_count < MIN_SLICES:
            self._session.run_model(asked=True)
            return
        asking = QMessageBox(self)
        asking.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        asking.setIcon(QMessageBox.Icon.Warning)
        asking.setWindowTitle("Unfit for the model")
        asking.setText("This series is unfit: a number from the model would mislead.")
        reasons = [r.message for r in fitness.reasons if r.level is FitnessLevel.UNFIT]
        asking.setInformativeText("\n".join(f"✕ {reason}" for reason in reasons))
        score = asking.addButton("Score it all the same", QMessageBox.ButtonRole.AcceptRole)
        cancel = asking.addButton(QMessageBox.StandardButton.Cancel)
        asking.setDefaultButton(cancel)
        asking.setEscapeButton(cancel)
        score.clicked.connect(lambda: self._session.run_model(asked=True, insist=True))
        asking.open()

    def keep_options(self) -> None:
        """Remembers for the next start how things are shown."""
        options = self._session.state.options
        self._settings.shows_texts = options.shows_texts
        self._settings.hides_identifiers = options.hides_identifiers
        self._settings.reads_first = options.reads_first

    def _keep_bindings(self) -> None:
        self._settings.bindings = self.bindings.chosen

    def show_cheat_sheet(self) -> None:
        """Shows what keys and mouse do now."""
        sheet = CheatSheet(self.bindings, self)
        sheet.change_wanted.connect(self.show_bindings)
        sheet.show()

    def show_bindings(self) -> None:
        """Lets the user choose other keys and gestures."""
        BindingsDialog(self.bindings, self).show()

    def show_settings(self) -> None:
        """Lets the user change the settings."""
        dialog = SettingsDialog(self._settings, self._session, self.commands.cine, self)
        dialog.bindings_wanted.connect(self.show_bindings)
        self.labelling.add_settings(dialog)
        self.studies.add_settings(dialog)
        dialog.show()

    def show_files(self) -> None:
        """Lists the files that are no part of any series."""
        state = self._session.state
        hides = state.options.hides_identifiers
        FilesDialog(state.skipped, state.root, self, hides=hides).show()

    def show_error(self, error: SadmilError) -> None:
        """Shows an error in a dialog that can be copied; the window goes on answering.

        A newer error takes the place of the older one.
        """
        if self._error_dialog is not None:
            self._error_dialog.close()
        state, root = self._session.state, self._session.asked_path
        hides, names = state.options.hides_identifiers, names_of(state.identities)
        dialog = ErrorDialog(error, root, self, hides=hides, names=names)
        dialog.finished.connect(self._forget_dialog)
        self._error_dialog = dialog
        dialog.show()

    def _forget_dialog(self) -> None:
        if self.sender() is self._error_dialog:
            self._error_dialog = None

    def show_model(self) -> None:
        """Shows what the chosen model is, from its header."""
        model = self._session.state.model
        if model is None:
            QMessageBox.information(self, "Model", "No model is chosen.")
            return
        ModelDialog(model.header, self).show()

    def show_about(self) -> None:
        """Says what the program is and is not."""
        QMessageBox.about(
            self,
            "About sadmil-viewer",
            f"sadmil-viewer {__version__}\n\nReads head CT beside SA-DMIL (Wu et al., MICCAI "
            f"2023, arXiv 2307.09457): attention over slices, learned from scan labels.\n\n"
            f"{RESEARCH_USE_NOTICE}.",
        )

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accepts a file or folder from the desktop."""
        if _dropped(event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Opens what was dropped: files and folders as one."""
        paths = _dropped(event.mimeData().urls())
        if paths:
            event.acceptProposedAction()
            self._session.open_paths(paths)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Asks first while work is under way; then stops it."""
        if (self._session.is_working or self.studies.worklist.is_running) and self.isVisible():
            answer = QMessageBox.question(
                self, "Close", "Work is still under way. Stop it and close?"
            )
            if answer != QMessageBox.StandardButton.Yes:
                event.ignore()
                return
        if self.keeps_geometry:
            self._settings.geometry = self.saveGeometry()
        self._settings.cine_hz = self.commands.cine.speed_hz
        self.hide()
        self.studies.worklist.close()
        self._session.close()
        event.accept()


def _dropped(urls: list[QUrl]) -> tuple[Path, ...]:
    """The paths to open for what was dropped."""
    return tuple(Path(url.toLocalFile()) for url in urls if url.isLocalFile())
