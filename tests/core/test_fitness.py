"""Input-fitness: heads are fit, other things are not, and every reason says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sadmil_core.dicom import CodedWarning, CTVolume, WarningCode, index_folder, load_volume
from sadmil_core.dicom.stacks import make_stack
from sadmil_core.fitness import (
    Fitness,
    FitnessCode,
    FitnessLevel,
    FitnessReason,
    fitness_of_entry,
    fitness_of_volume,
)
from sadmil_core.fitness.anatomy import look_at
from tests.bodies import (
    AIR,
    BONE,
    BRAIN,
    PIXEL_MM,
    belly,
    chest,
    disc,
    head,
    knees,
    water,
    write_head,
)
from tests.reference import reference_data
from tests.synthetic import AXIAL, delete, load, only_entry, set_to, tilted, write_series

OK, CAUTION, UNFIT = FitnessLevel


def _fitness(folder: Path, hu: NDArray[Any], pixel_mm: float = PIXEL_MM, **options: Any) -> Fitness:
    write_series(folder, hu=hu, pixel_spacing_mm=(pixel_mm, pixel_mm), **options)
    return fitness_of_volume(load(folder))


def _levels(fitness: Fitness) -> dict[str, FitnessLevel]:
    return {str(reason.code): reason.level for reason in fitness.reasons}


# -- the verdict ------------------------------------------------------------------------------


def test_the_worst_reason_decides_and_stands_first() -> None:
    doubt = FitnessReason(FitnessCode.TILT, CAUTION, "leans")
    end = FitnessReason(FitnessCode.NOT_CT, UNFIT, "no CT")
    assert Fitness().level is OK
    assert Fitness(reasons=(doubt,)).level is CAUTION
    both = Fitness(reasons=(doubt, end))
    assert (both.level, both.is_unfit) == (UNFIT, True)
    assert both.reasons == (end, doubt)
    assert both.codes == ("NOT_CT", "TILT")
    assert both.messages(UNFIT) == "no CT"


# -- tags and geometry ------------------------------------------------------------------------

HEADERS: dict[str, tuple[dict[str, Any], dict[str, FitnessLevel]]] = {
    "an ordinary head": ({}, {}),
    "a head by its tag": ({"change": set_to(BodyPartExamined="HEAD")}, {}),
    "a head in other words": ({"change": set_to(BodyPartExamined="SCHAEDEL")}, {}),
    "a tag nobody knows": ({"change": set_to(BodyPartExamined="TRAUMA")}, {}),
    "a chest by its tag": (
        {"change": set_to(BodyPartExamined="CHEST")},
        {"OTHER_BODY_PART": UNFIT},
    ),
    "a lumbar spine": ({"change": set_to(BodyPartExamined="LSPINE")}, {"OTHER_BODY_PART": UNFIT}),
    "a heart, which has no ear": (
        {"change": set_to(BodyPartExamined="HEART")},
        {"OTHER_BODY_PART": UNFIT},
    ),
    "next to the head": (
        {"change": set_to(BodyPartExamined="CSPINE")},
        {"OTHER_BODY_PART": CAUTION},
    ),
    "head and neck": ({"change": set_to(BodyPartExamined="HEADNECK")}, {}),
    "tag and words at odds": (
        {"change": set_to(BodyPartExamined="CHEST", SeriesDescription="Head 5.0")},
        {"OTHER_BODY_PART": CAUTION},
    ),
    "a belly in words only": (
        {"change": set_to(SeriesDescription="abd/pelvis 3mm")},
        {"OTHER_BODY_PART": CAUTION},
    ),
    "a trauma protocol": ({"change": set_to(ProtocolName="HEAD_C-SPINE_TRAUMA")}, {}),
    "contrast": ({"change": set_to(ContrastBolusAgent="Iohexol 350")}, {"CONTRAST": CAUTION}),
    "contrast of one slice": (
        {"change": lambda d, z: set_to(ContrastBolusAgent="X")(d, z) if z == 3 else None},
        {"CONTRAST": CAUTION},
    ),
    "no contrast, said": ({"change": set_to(ContrastBolusAgent="NON-CONTRAST")}, {}),
    "no contrast, left empty": ({"change": set_to(ContrastBolusAgent="")}, {}),
    "none": ({"change": set_to(ContrastBolusAgent="None")}, {}),
    "an agent that starts like no": (
        {"change": set_to(ContrastBolusAgent="NOVOPAQUE")},
        {"CONTRAST": CAUTION},
    ),
    "an angiogram in words": (
        {"change": set_to(SeriesDescription="CTA HEAD")},
        {"CONTRAST": CAUTION},
    ),
    "a bone kernel of Siemens": (
        {"change": set_to(ConvolutionKernel=["Hr64h", "3"])},
        {"SHARP_KERNEL": CAUTION},
    ),
    "a bone kernel of GE": (
        {"change": set_to(ConvolutionKernel="BONEPLUS")},
        {"SHARP_KERNEL": CAUTION},
    ),
    "a bone kernel of Canon": (
        {"change": set_to(ConvolutionKernel="FC81")},
        {"SHARP_KERNEL": CAUTION},
    ),
    "a brain kernel of Siemens": ({"change": set_to(ConvolutionKernel="J40s")}, {}),
    "a brain kernel of Canon": ({"change": set_to(ConvolutionKernel="FC64")}, {}),
    "a kernel of GE": ({"change": set_to(ConvolutionKernel="STANDARD")}, {}),
    "no rescale": (
        {"change": delete("RescaleSlope", "RescaleIntercept")},
        {"UNCERTAIN_UNITS": CAUTION},
    ),
    "other units": ({"change": set_to(RescaleType="US")}, {"UNCERTAIN_UNITS": CAUTION}),
    "seven slices": ({"slices": 7}, {"TOO_FEW_SLICES": UNFIT}),
    "eight slices": ({"slices": 8}, {}),
    "one slice": ({"slices": 1}, {"TOO_FEW_SLICES": UNFIT}),
    "a gap": ({"slices": 12, "left_out": [6]}, {"MISSING_SLICES": CAUTION}),
    "two blocks of a protocol": ({"offsets_mm": [0, 2.5, 5, 7.5, 8, 13, 18, 23, 28, 33]}, {}),
    "wild spacing": (
        {"offsets_mm": [0, 1, 2, 3, 4, 5, 11, 17, 23, 29]},
        {"UNEVEN_SPACING": CAUTION},
    ),
    "ten millimetres": ({"spacing_mm": 10, "change": set_to(SliceThickness="10")}, {}),
    "thicker": ({"change": set_to(SliceThickness="10.5")}, {"THICK_SLICES": CAUTION}),
    "farther apart": ({"spacing_mm": 12}, {"THICK_SLICES": CAUTION}),
    "an ordinary tilt": ({"orientation": tilted(-28)}, {}),
    "more than a tilt": ({"orientation": tilted(33)}, {"TILT": CAUTION}),
    "coronal": ({"orientation": (1, 0, 0, 0, 0, -1)}, {"NOT_AXIAL": UNFIT}),
    "sagittal": ({"orientation": (0, 1, 0, 0, 0, -1)}, {"NOT_AXIAL": UNFIT}),
    "no positions": ({"change": delete("ImagePositionPatient")}, {"NO_POSITIONS": CAUTION}),
    "no orientation": ({"change": delete("ImageOrientationPatient")}, {"NO_ORIENTATION": CAUTION}),
    "no pixel spacing": ({"change": delete("PixelSpacing")}, {"NO_PIXEL_SPACING": CAUTION}),
    "a narrow field": ({"pixel_spacing_mm": (2.7, 2.7)}, {"FIELD_OF_VIEW": CAUTION}),
    "a wide field": ({"pixel_spacing_mm": (5.1, 5.1)}, {"FIELD_OF_VIEW": CAUTION}),
    "an oblong field": ({"pixel_spacing_mm": (3.6, 4.2)}, {"FIELD_OF_VIEW": CAUTION}),
}


@pytest.mark.parametrize(("options", "expected"), HEADERS.values(), ids=HEADERS)
def test_what_tags_and_geometry_say(
    tmp_path: Path, options: dict[str, Any], expected: dict[str, FitnessLevel]
) -> None:
    write_head(tmp_path, **options)
    fitness = fitness_of_entry(only_entry(index_folder(tmp_path)))
    assert _levels(fitness) == expected
    assert fitness.brain_slices is None
    assert all(reason.message and reason.level is not OK for reason in fitness.reasons)


@pytest.mark.parametrize(("options", "expected"), HEADERS.values(), ids=HEADERS)
def test_pixels_add_to_what_tags_say(
    tmp_path: Path, options: dict[str, Any], expected: dict[str, FitnessLevel]
) -> None:
    write_head(tmp_path, **options)
    volume = load(tmp_path)
    fitness = fitness_of_volume(volume)
    assert set(expected) <= set(fitness.codes)
    assert set(fitness_of_entry(volume.entry).codes) <= set(fitness.codes)


@pytest.mark.parametrize(("modality", "level"), [("", CAUTION), ("MR", UNFIT), ("PT", UNFIT)])
def test_what_does_not_say_it_is_ct(tmp_path: Path, modality: str, level: FitnessLevel) -> None:
    write_head(tmp_path)
    entry = only_entry(index_folder(tmp_path))
    other = replace(entry, slices=tuple(replace(h, modality=modality) for h in entry.slices))
    code = "NOT_CT" if modality else "NO_MODALITY"
    assert _levels(fitness_of_entry(other)) == {code: level}


def test_files_of_the_series_that_were_lost_are_a_caution(tmp_path: Path) -> None:
    last = write_head(tmp_path, slices=11)[-1]
    last.write_bytes(last.read_bytes()[:-9])
    fitness = fitness_of_entry(only_entry(index_folder(tmp_path)))
    # At the end of the stack no gap shows.
    assert _levels(fitness) == {"SLICES_LOST": CAUTION}


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize(("items", "expected"), [(1, ("CONTRAST",)), (0, ())])
def test_a_contrast_sequence_counts_where_something_is_in_it(
    tmp_path: Path, items: int, expected: tuple[str, ...], undefined_length: bool
) -> None:
    def change(dataset: Dataset, z: int) -> None:
        dataset.ContrastBolusAgentSequence = Sequence([Dataset() for _ in range(items)])
        dataset["ContrastBolusAgentSequence"].is_undefined_length = undefined_length

    write_head(tmp_path, change=change)
    assert fitness_of_entry(only_entry(index_folder(tmp_path))).codes == expected


def test_a_stack_that_may_be_mixed_is_a_caution(tmp_path: Path) -> None:
    write_head(tmp_path)
    entry = only_entry(index_folder(tmp_path))
    mixed = replace(entry, warnings=(CodedWarning(WarningCode.MIXED_STACKS, "mixed"),))
    assert _levels(fitness_of_entry(mixed)) == {"MIXED_STACKS": CAUTION}


def test_no_reason_quotes_free_text(tmp_path: Path) -> None:
    write_head(
        tmp_path, change=set_to(SeriesDescription="Abdomen of Secret^Name", ProtocolName="CTA")
    )
    fitness = fitness_of_entry(only_entry(index_folder(tmp_path)))
    assert fitness.codes == ("CONTRAST", "OTHER_BODY_PART")
    assert not any("secret" in reason.message.lower() for reason in fitness.reasons)


# -- pixels -----------------------------------------------------------------------------------


def _headrest(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """A shell that touches the back of the head, and a table."""
    outer, inner = (disc(64, PIXEL_MM, r, r, y_mm=0) for r in (106, 99))
    hu[:, outer & ~inner & (np.arange(64) > 40)[:, None]] = 100
    hu[:, 61:63, 5:59] = 200
    return hu


def _open(degrees: float) -> NDArray[np.int16]:
    """A skull without a flap of bone on one side, in all slices but the lowest."""
    hu = head(14)
    y, x = np.indices((64, 64)) - 31.5
    gone = np.abs(np.degrees(np.arctan2(y, x))) < degrees
    hu[3:-1][:, gone & (hu[3] == BONE)] = BRAIN
    return hu


def _padded(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """Nothing but padding outside the scanner's circle."""
    hu[:, ~disc(64, PIXEL_MM, 114, 114)] = -3024
    return hu


FIT: dict[str, tuple[NDArray[np.int16], float]] = {
    "a head": (head(14, noise_hu=5), PIXEL_MM),
    "fine pixels": (head(10, size=256, pixel_mm=0.9, noise_hu=5), 0.9),
    "many slices": (head(130), PIXEL_MM),
    "on a head rest": (_headrest(head(14)), PIXEL_MM),
    "in a circle": (_padded(head(14)), PIXEL_MM),
    "after a craniectomy": (_open(60), PIXEL_MM),
    "with a large bleed": (
        np.where(disc(64, PIXEL_MM, 40, 50) & (head(14) == BRAIN), 70, head(14)),
        3.6,
    ),
    "a child": (head(14, scale=0.8), PIXEL_MM),
    "a thin skull": (head(14, size=230, pixel_mm=1.0, skull_mm=2.0), 1.0),
}


@pytest.mark.parametrize(("hu", "pixel_mm"), FIT.values(), ids=FIT)
def test_heads_are_fit(tmp_path: Path, hu: NDArray[np.int16], pixel_mm: float) -> None:
    fitness = _fitness(tmp_path, hu.astype(np.int16), pixel_mm)
    assert fitness.reasons == ()
    assert fitness.brain_slices is not None
    assert fitness.brain_slices > len(hu) // 2


def test_a_newborns_head_is_only_doubted_for_its_small_field(tmp_path: Path) -> None:
    hu = head(14, size=128, pixel_mm=1.1, scale=0.55, skull_mm=1.5)
    weak = np.where(hu == BONE, 260, hu).astype(np.int16)
    assert _levels(_fitness(tmp_path, weak, 1.1)) == {"FIELD_OF_VIEW": CAUTION}


NOT_FIT: dict[str, tuple[NDArray[Any], float, str]] = {
    "a belly": (belly(), 4.0, "NOT_A_HEAD"),
    "a chest": (chest(), 4.0, "NOT_A_HEAD"),
    "knees": (knees(), 4.0, "NOT_A_HEAD"),
    "water": (water(), 2.5, "NOT_A_HEAD"),
    "air": (np.full((10, 64, 64), AIR), PIXEL_MM, "NOT_A_HEAD"),
    "a skull far too large": (head(10, size=80, pixel_mm=5.0, scale=1.7), 5.0, "NOT_A_HEAD"),
    "a skull far too small": (head(10, size=64, pixel_mm=1.0, scale=0.25), 1.0, "NOT_A_HEAD"),
    "a neck with one slice of brain": (
        np.concatenate([belly(19, size=64, pixel_mm=3.6), head(1, whole=False)]),
        PIXEL_MM,
        "NOT_A_HEAD",
    ),
    "no rescale": (head(10) + 1024, PIXEL_MM, "NOT_HU"),
    "eight bits": (np.clip(head(10) * 3, 0, 255), PIXEL_MM, "NOT_HU"),
    "one value": (np.zeros((10, 64, 64)), PIXEL_MM, "NOT_HU"),
    "padding only": (np.full((10, 64, 64), -3024), PIXEL_MM, "NOT_HU"),
}


@pytest.mark.parametrize(("hu", "pixel_mm", "code"), NOT_FIT.values(), ids=NOT_FIT)
def test_other_things_are_unfit(
    tmp_path: Path, hu: NDArray[Any], pixel_mm: float, code: str
) -> None:
    fitness = _fitness(tmp_path, hu.astype(np.int16), pixel_mm)
    assert fitness.level is UNFIT
    assert _levels(fitness)[code] is UNFIT


@pytest.mark.parametrize("shape", [(9, 1, 1), (9, 6, 8), (2, 3, 700), (9, 700, 3)])
@pytest.mark.parametrize("pixel_mm", [0.01, 0.5, 40.0])
def test_odd_matrices_are_judged_too(
    tmp_path: Path, shape: tuple[int, int, int], pixel_mm: float
) -> None:
    hu = np.random.default_rng(1).integers(-1000, 1000, shape).astype(np.int16)
    assert _fitness(tmp_path, hu, pixel_mm).level is UNFIT


def test_values_that_are_no_numbers_are_no_head(tmp_path: Path) -> None:
    write_head(tmp_path)
    volume = load(tmp_path)
    for value in (np.nan, np.inf):
        hu = np.full(volume.hu.shape, value, np.float32)
        assert fitness_of_volume(CTVolume(entry=volume.entry, hu=hu)).is_unfit


def _cut_off_left(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """The field of the same size, moved so that its edge lies 45 mm inside the head."""
    return np.concatenate([hu[:, :, 23:], np.full_like(hu[:, :, :23], AIR)], axis=2)


DOUBTED: dict[str, tuple[NDArray[Any], str, str]] = {
    "cropped at the vertex": (head(14)[:-1], "TRUNCATED_HEAD", "above the last slice"),
    "cropped at the base": (head(14)[1:], "TRUNCATED_HEAD", "below the first slice"),
    "cut by the field": (_cut_off_left(head(14)), "TRUNCATED_HEAD", "outside the field of view"),
    "mostly neck": (
        np.concatenate([belly(20, size=64, pixel_mm=3.6), head(7)]),
        "LITTLE_BRAIN",
        "only 5 of 27",
    ),
    "noise": (head(14, noise_hu=25), "NOISY", "noise of 2"),
    "an offset": (np.where(head(14) > -500, head(14) + 40, AIR), "NOT_HU", "brain is at 72 HU"),
    "half a slope": (head(14) * 0.6, "NOT_HU", "air is at -600 HU"),
}


@pytest.mark.parametrize(("hu", "code", "words"), DOUBTED.values(), ids=DOUBTED)
def test_doubtful_heads_are_a_caution(
    tmp_path: Path, hu: NDArray[Any], code: str, words: str
) -> None:
    fitness = _fitness(tmp_path, hu.astype(np.int16))
    assert _levels(fitness) == {code: CAUTION}
    assert words in fitness.reasons[0].message


def test_a_circular_field_can_cut_a_head_too(tmp_path: Path) -> None:
    pixel_mm = 2.7
    inside = disc(64, pixel_mm, 32 * pixel_mm, 32 * pixel_mm)
    hu = np.where(inside, head(14, pixel_mm=pixel_mm), -2000).astype(np.int16)
    assert not (hu[:, 0] > AIR).any(axis=0)[:24].any()
    fitness = _fitness(tmp_path, hu, pixel_mm)
    assert _levels(fitness) == {"TRUNCATED_HEAD": CAUTION, "FIELD_OF_VIEW": CAUTION}


def test_a_field_that_touches_the_scalp_is_no_cut(tmp_path: Path) -> None:
    hu = np.roll(head(14), 11, axis=2)
    assert (hu[:, :, -1] > AIR).any()
    assert _fitness(tmp_path, hu).reasons == ()


def test_pixels_that_show_a_head_overrule_a_tag_that_names_a_chest(tmp_path: Path) -> None:
    wrong = set_to(BodyPartExamined="CHEST")
    fitness = _fitness(tmp_path / "head", head(14), change=wrong)
    assert _levels(fitness) == {"OTHER_BODY_PART": CAUTION}
    assert "pixels" in fitness.reasons[0].message
    right = _fitness(tmp_path / "chest", chest(), 4.0, change=wrong)
    assert _levels(right)["OTHER_BODY_PART"] is UNFIT


def test_sizes_that_are_not_known_are_assumed(tmp_path: Path) -> None:
    fitness = _fitness(tmp_path, head(14), change=delete("PixelSpacing"))
    assert _levels(fitness) == {"NO_PIXEL_SPACING": CAUTION}


def test_tilt_changes_nothing(tmp_path: Path) -> None:
    assert _fitness(tmp_path, head(14), orientation=tilted(25)).reasons == ()


def test_fractional_values_are_read_too(tmp_path: Path) -> None:
    fitness = _fitness(tmp_path, head(14), slope=0.5, intercept=-1024.0)
    volume = load(tmp_path)
    assert fitness.reasons == ()
    floats = CTVolume(entry=volume.entry, hu=volume.hu.astype(np.float32))
    assert fitness_of_volume(floats) == fitness


def test_the_anatomy_is_measured(tmp_path: Path) -> None:
    write_series(tmp_path, hu=head(9, noise_hu=6), pixel_spacing_mm=(3.6, 3.6), orientation=AXIAL)
    seen = look_at(load(tmp_path))
    middle = seen.slices[4]
    assert middle.width_mm == pytest.approx(150, abs=4)
    assert middle.length_mm == pytest.approx(190, abs=4)
    assert middle.ring == 1.0
    assert middle.noise_hu == pytest.approx(6, rel=0.1)
    assert middle.tissue_hu == pytest.approx(BRAIN, abs=1)
    assert seen.air_hu == pytest.approx(AIR, abs=2)
    # The ellipse inside the skull, drawn in to .85 of its half axes of 70 and 90 mm.
    assert middle.cavity_cm2 == pytest.approx(np.pi * 7.0 * 9.0 * 0.85**2, rel=0.06)
    assert [each.shows_brain for each in seen.slices] == [False, *[True] * 7, False]


# -- real scans -------------------------------------------------------------------------------


def _series_folders() -> list[Path]:
    ct = reference_data() / "ct"
    alone = [ct / name for name in ("rsna_pos_ID_b026766696", "rsna_neg_ID_1acc4b6d6c")]
    groups = [ct / "rsna_normal_looking", ct / "rsna_unlabelled"]
    found = [*alone, ct / "dcm_qa_ct_GE_tilt", *(f for g in groups for f in sorted(g.iterdir()))]
    return [folder for folder in found if folder.is_dir()]


@pytest.mark.reference
def test_ordinary_head_scans_are_fit() -> None:
    """Tilted, in two blocks of spacing, padded or not; one has a slice missing, and says so."""
    folders = _series_folders()
    assert len(folders) >= 20
    doubted = {}
    for folder in folders:
        (entry,) = index_folder(folder).entries
        fitness = fitness_of_volume(load_volume(entry))
        assert fitness.brain_slices is not None
        assert 14 <= fitness.brain_slices <= 26
        if fitness.reasons:
            doubted[folder.name] = _levels(fitness)
    assert doubted == {"ID_7d13021685": {"MISSING_SLICES": CAUTION}}


@pytest.mark.reference
def test_real_heads_cropped_and_opened() -> None:
    (entry,) = index_folder(reference_data() / "ct" / "rsna_pos_ID_b026766696").entries
    volume = load_volume(entry)
    neck = CTVolume(entry=make_stack(entry.slices[:8]), hu=volume.hu[:8])
    assert _levels(fitness_of_volume(neck))["NOT_A_HEAD"] is UNFIT
    brain = CTVolume(entry=make_stack(entry.slices[10:20]), hu=volume.hu[10:20])
    assert _levels(fitness_of_volume(brain)) == {"TRUNCATED_HEAD": CAUTION}
    y, x = np.indices((512, 512)) - 256
    hu = volume.hu.copy()
    hu[10:] = np.where((np.abs(np.arctan2(y, x)) < np.pi / 3) & (hu[10:] > 150), 30, hu[10:])
    assert fitness_of_volume(CTVolume(entry=entry, hu=hu)).level is OK


@pytest.mark.reference
def test_a_map_of_blood_flow_is_unfit() -> None:
    path = reference_data() / "ct" / "robustness" / "eCT_Supplemental.dcm"
    (entry,) = index_folder(path).entries
    fitness = fitness_of_volume(load_volume(entry))
    assert fitness.level is UNFIT
    assert "UNCERTAIN_UNITS" in fitness.codes


@pytest.mark.reference
def test_single_slices_are_unfit_for_being_single() -> None:
    entries = index_folder(reference_data() / "ct" / "robustness").entries
    assert entries
    for entry in entries:
        assert _levels(fitness_of_volume(load_volume(entry)))["TOO_FEW_SLICES"] is UNFIT
