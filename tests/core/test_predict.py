"""Prediction: the same numbers however it is run, and honest where it cannot be run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sadmil_core.devices import choose_device, is_out_of_memory
from sadmil_core.dicom import CTVolume, WarningCode, index_folder
from sadmil_core.errors import DeviceError, UnscorableError
from sadmil_core.model.trained import TrainedModel
from sadmil_core.predict import Predictor
from sadmil_core.preprocess import make_bag
from sadmil_core.progress import Cancelled
from sadmil_core.reading import read_stack, score_volume
from sadmil_core.result import DecisionRule, ScanResult, sigmoid
from tests.networks import small_header, small_network, trained_small
from tests.synthetic import load, only_entry, write_series


@pytest.fixture
def volume(tmp_path: Path) -> CTVolume:
    """Seven slices of 40 x 36, so that they are resized, too."""
    hu = np.random.default_rng(2).normal(40, 50, (7, 40, 36)).round().astype(np.int16)
    write_series(tmp_path / "scan", hu=hu)
    return load(tmp_path / "scan")


def _predictor(tmp_path: Path, *, chunk: int | None = None, **options: Any) -> Predictor:
    tmp_path.mkdir(exist_ok=True)
    model = trained_small(tmp_path / "m.safetensors", **options)
    return Predictor(model, device="cpu", chunk=chunk)


def _without(volume: CTVolume, index: int) -> CTVolume:
    keep = [i for i in range(len(volume.hu)) if i != index]
    entry = replace(volume.entry, slices=tuple(volume.entry.slices[i] for i in keep))
    return CTVolume(entry=entry, hu=volume.hu[keep])


def test_the_result_is_that_of_the_plain_network(tmp_path: Path, volume: CTVolume) -> None:
    predictor = _predictor(tmp_path, bag_padding=9)
    model = predictor.model
    x = torch.from_numpy(make_bag(volume, model.header.preprocess).instances(0, 7))
    x = torch.cat([x, torch.zeros(2, *x.shape[1:])])
    with torch.no_grad():
        expected = model.module(x, torch.ones(1, 9, dtype=torch.bool))
    result = predictor.run(volume)
    assert result.scan_logit == pytest.approx(float(expected.logit_B), abs=1e-5)
    np.testing.assert_allclose(result.attention, expected.attention_BS[0, :7], atol=1e-6)
    np.testing.assert_allclose(result.evidence, expected.evidence_BS[0, :7], atol=1e-5)
    assert (result.bag_size, result.bag_padding) == (9, 9)
    assert result.contribution is not None
    assert result.padding_contribution is not None
    total = result.contribution.sum() + result.padding_contribution
    assert total == pytest.approx(result.scan_logit, abs=1e-5)


@pytest.mark.parametrize("chunk", [2, 3, 7, 100])
def test_the_number_of_slices_at_once_changes_nothing(
    tmp_path: Path, volume: CTVolume, chunk: int
) -> None:
    one = _predictor(tmp_path, chunk=1).run(volume)
    many = _predictor(tmp_path, chunk=chunk).run(volume)
    np.testing.assert_allclose(many.attention, one.attention, atol=1e-6)
    assert many.scan_logit == pytest.approx(one.scan_logit, abs=1e-5)
    assert many.execution.chunk == chunk


def test_a_second_run_gives_the_same_bits_and_leaves_the_model_alone(
    tmp_path: Path, volume: CTVolume
) -> None:
    predictor = _predictor(tmp_path, bag_padding=9)
    before = {k: v.clone() for k, v in predictor.model.module.state_dict().items()}
    first, second = predictor.run(volume), predictor.run(volume)
    np.testing.assert_array_equal(first.attention, second.attention)
    assert first.scan_logit == second.scan_logit
    for name, tensor in predictor.model.module.state_dict().items():
        assert torch.equal(tensor, before[name])
    with pytest.raises(ValueError, match="read-only"):
        first.attention[0] = 1


@pytest.mark.parametrize("bag_padding", [0, 9])
def test_probability_without_a_slice_is_that_of_the_bag_without_it(
    tmp_path: Path, volume: CTVolume, bag_padding: int
) -> None:
    predictor = _predictor(tmp_path, bag_padding=bag_padding)
    result = predictor.run(volume)
    # Leaving a slice out of a padded bag must not bring in another pad.
    fewer = _predictor(tmp_path / "fewer", bag_padding=max(bag_padding - 1, 0))
    for index in range(7):
        expected = fewer.run(_without(volume, index)).scan_probability
        assert result.probability_without(index) == pytest.approx(expected, abs=1e-5)


def test_probability_without_a_dominating_slice_keeps_its_digits(
    tmp_path: Path, volume: CTVolume
) -> None:
    """With nearly all attention on one slice, 1 - a_s has no correct digit left in float32."""
    result = _predictor(tmp_path).run(volume)
    others = np.array([1e-9, 2e-9, 1e-9], np.float32)
    evidence = np.array([9.0, 1.0, -2.0, 0.5], np.float32)
    attention = np.array([1.0, *others], np.float32)
    dominated = replace(
        result, attention=attention, evidence=evidence, contribution=attention * evidence
    )
    expected = sigmoid((1.0 * 1 - 2.0 * 2 + 0.5 * 1) / 4)
    assert dominated.probability_without(0) == pytest.approx(expected, abs=1e-6)
    assert (
        replace(dominated, attention=np.array([1, 0, 0, 0], np.float32)).probability_without(0)
        is None
    )


def test_a_head_that_is_not_linear_leaves_evidence_blank(tmp_path: Path, volume: CTVolume) -> None:
    result = _predictor(tmp_path, activation="relu", bag_padding=9).run(volume)
    assert result.evidence is result.contribution is result.padding_contribution is None
    assert result.probability_without(0) is None
    assert result.slice_positive.shape == (7,)


@pytest.mark.parametrize("bag_padding", [0, 9])
def test_without_evidence_the_network_is_asked_about_the_other_slices(
    tmp_path: Path, volume: CTVolume, bag_padding: int
) -> None:
    options: dict[str, Any] = {"activation": "relu"}
    predictor = _predictor(tmp_path, bag_padding=bag_padding, **options)
    result = predictor.run(volume)
    fewer = _predictor(tmp_path / "fewer", bag_padding=max(bag_padding - 1, 0), **options)
    for index in range(7):
        expected = fewer.run(_without(volume, index)).scan_probability
        assert predictor.probability_without(result, index) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="another model"):
        fewer.probability_without(replace(result, model=replace(result.model, sha256="")), 0)


def test_the_stored_rule_decides(tmp_path: Path, volume: CTVolume) -> None:
    base = _predictor(tmp_path).run(volume)
    logit, temperature = base.scan_logit, 2.5
    rule = DecisionRule(
        scan_threshold=sigmoid(logit / temperature) - 1e-6,
        temperature=temperature,
        slice_score="evidence",
        slice_threshold=float(np.median(base.evidence)),  # type: ignore[arg-type]
        relative_to_uniform=False,
    )
    result = _predictor(tmp_path, header={"rule": rule}).run(volume)
    assert result.scan_probability == pytest.approx(sigmoid(logit / temperature))
    assert result.scan_positive
    assert result.slice_positive.sum() == 3
    assert result.peak == int(np.argmax(base.evidence))  # type: ignore[arg-type]
    negative = replace(rule, scan_threshold=sigmoid(logit / temperature) + 1e-6)
    assert not replace(result, rule=negative).slice_positive.any()
    assert replace(result, rule=replace(negative, gated=False)).slice_positive.sum() == 3


@pytest.mark.parametrize("size", [3, 7, 41, 57])
def test_an_equal_share_is_never_above_the_equal_share(
    tmp_path: Path, volume: CTVolume, size: int
) -> None:
    result = _predictor(tmp_path).run(volume)
    uniform = torch.softmax(torch.full((size,), 0.3), 0).numpy()
    flat = replace(result, attention=uniform, bag_size=size, scan_probability=0.9)
    assert not flat.slice_positive.any()


@pytest.mark.parametrize("after", [0, 1, 5])
def test_cancelling_stops_between_slices(tmp_path: Path, volume: CTVolume, after: int) -> None:
    calls: list[int] = []

    def progress(done: int, total: int, phase: str) -> None:
        calls.append(done)
        if done == after:
            raise Cancelled

    with pytest.raises(Cancelled):
        _predictor(tmp_path).run(volume, progress)
    assert calls == list(range(after + 1))


class _FullAbove(torch.nn.Module):
    """An encoder on a device with memory for so many slices."""

    def __init__(self, encoder: torch.nn.Module, room: int, error: Exception) -> None:
        super().__init__()
        self.encoder, self.room, self.error = encoder, room, error
        self.seen: list[int] = []

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:  # noqa: N803
        self.seen.append(len(x_NCHW))
        if len(x_NCHW) > self.room:
            raise self.error
        features: torch.Tensor = self.encoder(x_NCHW)
        return features


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    RuntimeError("MPS backend out of memory (MPS allocated: ...)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:8])
def test_full_memory_halves_the_chunk_without_losing_a_slice_and_says_so(
    tmp_path: Path, volume: CTVolume, error: RuntimeError
) -> None:
    assert is_out_of_memory(error)
    expected = _predictor(tmp_path).run(volume)
    predictor = _predictor(tmp_path, chunk=6)
    full = _FullAbove(predictor._encoder, 2, error)
    predictor._encoder = full  # type: ignore[assignment]
    result = predictor.run(volume)
    assert full.seen == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(result.attention, expected.attention, atol=1e-6)
    assert [warning.code for warning in result.warnings] == [WarningCode.DEVICE_FALLBACK] * 2
    assert result.execution.chunk == 1
    # The next scan is tried as wished again, and says so, too, if that does not work.
    again = predictor.run(volume)
    assert [warning.code for warning in again.warnings] == [WarningCode.DEVICE_FALLBACK] * 2


def test_a_device_without_room_for_one_slice_hands_over_to_the_cpu(
    tmp_path: Path, volume: CTVolume
) -> None:
    expected = _predictor(tmp_path, bag_padding=9).run(volume)
    predictor = _predictor(tmp_path, bag_padding=9, chunk=2)
    # "meta" stands in for a card: nothing can be computed on it, as on a full one.
    predictor._device = torch.device("meta")
    predictor._wanted = (predictor._device, 2)
    predictor._encoder = _FullAbove(predictor._encoder, 0, OUT_OF_MEMORY[0])  # type: ignore[assignment]
    result = predictor.run(volume)
    assert result.execution.device == "cpu"
    np.testing.assert_allclose(result.attention, expected.attention, atol=1e-6)
    assert "the CPU was used instead" in result.warnings[-1].message


def test_when_even_the_cpu_is_full_the_scan_is_unscored_and_nothing_crashes(
    tmp_path: Path, volume: CTVolume
) -> None:
    predictor = _predictor(tmp_path)
    predictor._encoder = _FullAbove(predictor._encoder, 0, OUT_OF_MEMORY[2])  # type: ignore[assignment]
    with pytest.raises(DeviceError, match="not enough memory"):
        predictor.run(volume)
    record = score_volume(volume, predictor, score_unfit=True)
    assert record.result is None
    assert record.warning_codes == (WarningCode.NOT_SCORED,)


def test_other_errors_of_the_encoder_are_not_taken_for_full_memory(
    tmp_path: Path, volume: CTVolume
) -> None:
    predictor = _predictor(tmp_path, chunk=4)
    fault = RuntimeError("shapes do not fit")
    predictor._encoder = _FullAbove(predictor._encoder, 0, fault)  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        predictor.run(volume)


def test_bf16_is_close(tmp_path: Path, volume: CTVolume) -> None:
    model = trained_small(tmp_path / "m.safetensors", bag_padding=9)
    exact = Predictor(model, device="cpu").run(volume)
    rough = Predictor(model, device="cpu", precision="bf16").run(volume)
    assert rough.execution.precision == "bf16"
    np.testing.assert_allclose(rough.attention, exact.attention, rtol=0.1)
    assert rough.scan_probability == pytest.approx(exact.scan_probability, abs=0.02)
    assert not np.array_equal(rough.attention, exact.attention)
    assert rough.attention.dtype == np.float32


def test_one_slice_is_refused_and_its_rows_kept(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", slices=1)
    volume = load(tmp_path / "scan")
    predictor = _predictor(tmp_path)
    with pytest.raises(UnscorableError, match="1 slice"):
        predictor.run(volume)
    record = read_stack(only_entry(index_folder(tmp_path / "scan")), predictor)
    assert record.result is None
    assert record.warning_codes == (WarningCode.TOO_FEW_SLICES,)
    assert len(record.entry.slices) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_give_no_number_give_no_negative_scan(
    tmp_path: Path, volume: CTVolume, bad: float
) -> None:
    module = small_network()
    with torch.no_grad():
        module.head.output.weight[0, 0] = bad
    model = TrainedModel(module=module, header=small_header(module))
    record = score_volume(volume, Predictor(model, device="cpu"), score_unfit=True)
    assert record.result is None
    assert record.warning_codes == (WarningCode.NOT_SCORED,)


@pytest.mark.parametrize("phantom", [True, False])
def test_weights_for_phantoms_warn_on_patients_only(tmp_path: Path, phantom: bool) -> None:
    from sadmil_core.checkpoint import Provenance

    write_series(tmp_path / "scan", phantom=phantom)
    header = {"provenance": Provenance(phantoms_only=True)}
    result = _predictor(tmp_path, header=header).run(load(tmp_path / "scan"))
    codes = [warning.code for warning in result.warnings]
    assert codes == ([] if phantom else [WarningCode.MODEL_FOR_PHANTOMS])


def test_devices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    absent = [
        name
        for name, there in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
        )
        if not there
    ]
    for name in absent:
        with pytest.raises(DeviceError, match=f"no {name} device"):
            choose_device(name)  # type: ignore[arg-type]
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device must be"):
        choose_device("gpu")  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_agrees_with_the_cpu(tmp_path: Path, volume: CTVolume) -> None:
    model = trained_small(tmp_path / "m.safetensors", bag_padding=9)
    on_cpu = Predictor(model, device="cpu").run(volume)
    on_card: ScanResult = Predictor(model, device="cuda").run(volume)
    assert on_card.execution.device.startswith("cuda")
    np.testing.assert_allclose(on_card.attention, on_cpu.attention, atol=1e-4)
    assert on_card.scan_probability == pytest.approx(on_cpu.scan_probability, abs=1e-4)
