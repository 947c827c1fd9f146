from __future__ import annotations

import re

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtGui import QColor

from viewer import theme
from viewer.settings import Settings
from viewer.theme import THEMES, Colours, Theme, apply_theme, contrast, style_sheet
from viewer.widgets.settings_dialog import SettingsDialog


@pytest.fixture
def restored(qapp):
    yield qapp
    apply_theme(qapp)


def test_the_measure_of_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#abcdef", "#abcdef") == pytest.approx(1)


@pytest.mark.parametrize("name", list(Theme))
def test_text_reaches_the_contrast_of_wcag_aa_on_every_surface(name):
    c = THEMES[name]
    least = 7.0 if name is Theme.HIGH_CONTRAST else 4.5
    surfaces = (c.ground, c.panel, c.raised, c.hover)
    for text in (c.text, c.muted, c.signal, c.accent):
        for surface in surfaces:
            assert contrast(text, surface) >= least, (text, surface)
    assert contrast(c.text, c.checked) >= least
    assert contrast(c.on_signal, c.signal) >= least


@pytest.mark.parametrize("name", list(Theme))
def test_marks_and_disabled_text_can_be_told_from_what_they_stand_on(name):
    c = THEMES[name]
    for surface in (c.ground, c.panel, c.raised):
        assert contrast(c.disabled, surface) >= 3
        assert contrast(c.muted, surface) >= 3  # the edge of a check box
        assert contrast(c.accent, surface) >= 3  # the edge of what has the focus
    assert contrast(c.bar, c.raised) >= 2


def test_texts_on_the_slice_can_be_read_on_black_and_on_white():
    light = 255 - theme.IMAGE_VEIL
    for ground in ("#000000", QColor(light, light, light).name()):
        for text in (theme.IMAGE_TEXT, theme.IMAGE_DRAWN, theme.IMAGE_PICKED):
            assert contrast(text, ground) >= 4.5
    assert contrast(theme.IMAGE_ON_SIGNAL, theme.IMAGE_SIGNAL) >= 4.5
    assert contrast(theme.IMAGE_MUTED, "#000000") >= 4.5


@pytest.mark.parametrize("name", list(Theme))
def test_a_style_sheet_has_no_colours_but_its_own(name):
    colours = {getattr(THEMES[name], each) for each in Colours.__slots__}
    colours.add(theme.IMAGE_MUTED)  # of what stands on the slice, which is black in each
    assert set(re.findall(r"#[0-9a-f]{6}\b", style_sheet(THEMES[name]))) <= colours


def test_the_module_has_the_colours_of_the_theme_in_force(restored):
    apply_theme(restored, Theme.LIGHT)
    assert THEMES[Theme.LIGHT].text == theme.TEXT
    apply_theme(restored)
    assert THEMES[Theme.DARK].text == theme.TEXT
    with pytest.raises(AttributeError):
        _ = theme.NO_SUCH_COLOUR


def test_choosing_a_theme_changes_the_open_window_and_is_kept(restored, qtbot, window, settings):
    window.show_settings()
    dialog = window.findChild(SettingsDialog)
    dark = window.grab().toImage().pixelColor(3, window.height() - 3)
    dialog.theme.setCurrentText("Light")
    light = window.grab().toImage().pixelColor(3, window.height() - 3)
    assert dark.name() == THEMES[Theme.DARK].panel
    assert light.name() == THEMES[Theme.LIGHT].panel
    plot = window.plot.grab().toImage().pixelColor(2, 2)
    assert plot.name() == THEMES[Theme.LIGHT].ground
    assert settings.theme is Theme.LIGHT
    dialog.close()


def test_settings_survive_what_they_cannot_read(tmp_path):
    store = QSettings(str(tmp_path / "broken.ini"), QSettings.Format.IniFormat)
    for key, value in (
        ("window/theme", "mauve"),
        ("view/cine_hz", "fast"),
        ("window/bindings", "{not json"),
        ("view/shows_texts", "perhaps"),
    ):
        store.setValue(key, value)
    settings = Settings(store)
    assert settings.theme is Theme.DARK
    assert settings.cine_hz == 10
    assert settings.bindings == {}
    store.setValue("window/bindings", '["a list"]')
    assert settings.bindings == {}


def test_settings_come_back_from_the_file_as_they_were_kept(tmp_path):
    path = str(tmp_path / "settings.ini")
    store = QSettings(path, QSettings.Format.IniFormat)
    kept = Settings(store)
    kept.theme, kept.cine_hz, kept.reads_unasked = Theme.HIGH_CONTRAST, 20.0, False
    kept.shows_texts, kept.hides_identifiers = False, True
    kept.bindings = {"invert": ["J", "Ctrl+,"]}
    store.sync()
    again = Settings(QSettings(path, QSettings.Format.IniFormat))
    assert (again.theme, again.cine_hz, again.reads_unasked) == (Theme.HIGH_CONTRAST, 20.0, False)
    assert (again.shows_texts, again.hides_identifiers) == (False, True)
    assert again.bindings == {"invert": ["J", "Ctrl+,"]}
