"""Twelve-bit values wrapped around at 4096: mended, said, and left alone where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadmil_core.dicom import (
    WarningCode,
)
from tests.synthetic import (
    load,
    set_to,
    write_series,
)


def test_the_rsna_defect_is_mended_and_said(tmp_path: Path) -> None:
    hu = np.linspace(-1000, 3095, 96).round().astype(np.int16).reshape(2, 6, 8)
    write_series(tmp_path, hu=hu, rsna_quirk=True)
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.entry.warning_codes == (WarningCode.RSNA_12BIT_QUIRK,)
    unmended = load(tmp_path, mend_quirk=False)
    np.testing.assert_array_equal(unmended.hu, hu % 4096)
    assert unmended.entry.warning_codes == (WarningCode.RSNA_12BIT_UNMENDED,)


@pytest.mark.parametrize(
    ("options", "fires"),
    [
        ({"signed": False, "bits_stored": 12, "intercept": -1024}, False),
        ({"signed": False, "bits_stored": 12, "intercept": -100}, False),
        ({"signed": True, "bits_stored": 12, "intercept": 0}, False),
        ({"signed": False, "bits_stored": 16, "intercept": 0}, False),
        ({"signed": False, "bits_stored": 12, "intercept": -99}, True),
    ],
    ids=str,
)
def test_the_mending_fires_on_its_signature_alone(
    tmp_path: Path, options: dict[str, Any], fires: bool
) -> None:
    hu = np.full((2, 6, 8), 40)
    write_series(tmp_path, hu=hu, **options)
    codes = load(tmp_path).entry.warning_codes
    assert (WarningCode.RSNA_12BIT_QUIRK in codes) == fires


def test_values_that_are_said_to_be_no_hounsfield_units_are_not_mended(tmp_path: Path) -> None:
    """As a lossy compression leaves them that has rescaled them first."""
    hu = np.arange(96).reshape(2, 6, 8)
    write_series(tmp_path, hu=hu, rsna_quirk=True, change=set_to(RescaleType="US"))
    volume = load(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.entry.warning_codes == (WarningCode.NOT_HOUNSFIELD,)
