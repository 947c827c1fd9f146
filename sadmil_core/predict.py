"""Reading a scan: CTVolume to ScanResult."""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sadmil_core.devices import (
    DeviceChoice,
    Precision,
    check_precision,
    choose_device,
    is_out_of_memory,
)
from sadmil_core.dicom import CodedWarning, WarningCode
from sadmil_core.errors import DeviceError, ModelError, UnscorableError
from sadmil_core.preprocess import make_bag
from sadmil_core.progress import Progress, no_progress
from sadmil_core.result import MIN_SLICES, Execution, ScanResult, sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume, StackEntry
    from sadmil_core.model.sadmil import PooledBag
    from sadmil_core.model.trained import TrainedModel

DEFAULT_CHUNK = {"cpu": 1, "cuda": 16, "mps": 8}
_log = logging.getLogger(__name__)
_PHASE = "reading with the model"


class Instances(Protocol):
    """What can be encoded: a scan's slices, or variants of one."""

    def __len__(self) -> int:
        """How many there are."""

    def instances(self, start: int, stop: int) -> NDArray[np.float32]:
        """Those from ``start`` to ``stop`` as (n, channels, rows, columns) in [0, 1]."""


def require_scorable(entry: StackEntry) -> None:
    """Checks that a stack can be asked about at all.

    Raises:
        UnscorableError: It has fewer than ``MIN_SLICES`` slices.
    """
    count = len(entry.slices)
    if count < MIN_SLICES:
        raise UnscorableError(
            f"The series has {count} slice: attention weighs slices against each other, so at "
            f"least {MIN_SLICES} are needed.",
            remedy="Open the whole series.",
        )


class Predictor:
    """Reads volumes with one model on one device.

    Slices are encoded a few at a time, channels last, and pooled on the CPU. A full device
    memory halves the number of slices encoded at once, and at last moves the model to the
    CPU; either is said in the result's warnings.

    Args:
        model: From a checkpoint; not changed.
        device: ``auto`` takes CUDA, then MPS, then the CPU.
        precision: ``bf16`` runs the encoder in bfloat16; pooling and head stay in fp32.
        chunk: Slices encoded at once; None for what suits the device.

    Raises:
        DeviceError: The device is not there, or lacks the precision.
        ModelError: The model reads something other than images.
    """

    def __init__(
        self,
        model: TrainedModel,
        *,
        device: DeviceChoice = "auto",
        precision: Precision = "fp32",
        chunk: int | None = None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be positive, not {chunk}")
        _require_images(model)
        self.model = model
        self._precision = precision
        self._dtype = torch.float32
        self._chunk = chunk or 1
        self._move_to(choose_device(device))
        self._chunk = chunk or DEFAULT_CHUNK[self._device.type]
        self._wanted = (self._device, self._chunk)
        self._lock = threading.Lock()

    def _move_to(self, device: torch.device) -> None:
        self._dtype = check_precision(self._precision, device)
        self._device = device
        self._encoder = copy.deepcopy(self.model.module.encoder).eval().to(device)
        self._encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._encoder.set_convolution_dtype(self._dtype)
        self._h_pad: torch.Tensor | None = None

    @property
    def device(self) -> str:
        """The device the next slice would be encoded on."""
        return str(self._device)

    def run(self, volume: CTVolume, progress: Progress = no_progress) -> ScanResult:
        """Reads one volume.

        Args:
            volume: Hounsfield units, foot to head.
            progress: Called after each chunk of slices; may raise Cancelled.

        Returns:
            The result, of NumPy arrays.

        Raises:
            UnscorableError: The volume has too few slices, or the model's answer is no number.
            DeviceError: Memory does not suffice for a single slice, even on the CPU.
            Cancelled: From ``progress``.
        """
        require_scorable(volume.entry)
        with self._lock:  # a cancelled run may still be at its last chunk
            if self._device != self._wanted[0]:
                self._move_to(self._wanted[0])
            # Every scan starts as wished, so that each one that had to fall back says so.
            self._chunk = self._wanted[1]
            return self._run(volume, progress)

    def _run(self, volume: CTVolume, progress: Progress) -> ScanResult:
        warnings: list[CodedWarning] = []
        if self.model.header.provenance.phantoms_only and not volume.entry.is_phantom:
            warnings.append(
                CodedWarning(
                    WarningCode.MODEL_FOR_PHANTOMS,
                    f"the model {self.model.header.name!r} was trained on synthetic heads only: "
                    "its numbers mean nothing on a patient's scan",
                )
            )
        bag = make_bag(volume, self.model.header.preprocess)
        start = time.perf_counter()
        with torch.inference_mode():
            h_SD = self._encode(bag, progress, warnings)
            encoded = time.perf_counter()
            pooled = self.model.module.pool(
                h_SD,
                self._pad_features(len(bag), warnings),
                position_mm_S=_positions(volume.entry),
            )
        seconds = {"encode": encoded - start, "pool": time.perf_counter() - encoded}
        return self._result(volume, h_SD, pooled, seconds, tuple(warnings))

    def probability_without(self, result: ScanResult, index: int) -> float | None:
        """The scan probability if one slice were not in the bag, all else unchanged.

        From the evidence where that says it, else by pooling the other slices again.

        Args:
            result: Of this predictor's model.
            index: The slice, 0-based.
        """
        if result.model != self.model.header.identity:
            raise ValueError("the result is of another model")
        if result.features is None:
            return result.probability_without(index)
        others = torch.arange(len(result.features)) != index
        position_mm_S = _positions(result.entry)
        with self._lock, torch.inference_mode():
            pooled = self.model.module.pool(
                torch.from_numpy(result.features[others.numpy()]),
                self._pad_features(len(others), []),
                position_mm_S=None if position_mm_S is None else position_mm_S[others],
                # Leaving a slice out brings in no other pad.
                pads=result.bag_size - len(others),
            )
        return sigmoid(float(pooled.logit) / result.rule.temperature)

    def encode(
        self, bag: Instances, progress: Progress = no_progress, phase: str = _PHASE
    ) -> torch.Tensor:
        """Encodes slices in order.

        Args:
            bag: The slices as the network sees them.
            progress: Called after each chunk; may raise Cancelled.
            phase: What progress calls it.

        Returns:
            (S, D) fp32 on the CPU.

        Raises:
            DeviceError: Memory does not suffice for a single slice, even on the CPU.
            Cancelled: From ``progress``.
        """
        with self._lock, torch.no_grad():
            return self._encode(bag, progress, [], phase)

    def pool(self, h_SD: torch.Tensor, entry: StackEntry) -> PooledBag:
        """Pools encoded slices of a stack; differentiable outside ``torch.inference_mode``."""
        with self._lock, torch.no_grad():
            h_pad_D = self._pad_features(len(h_SD), [])
        if h_pad_D is not None:
            h_pad_D = h_pad_D.clone()  # made in inference mode it could not be differentiated
        return self.model.module.pool(h_SD, h_pad_D, position_mm_S=_positions(entry))

    def _encode(
        self,
        bag: Instances,
        progress: Progress,
        warnings: list[CodedWarning],
        phase: str = _PHASE,
    ) -> torch.Tensor:
        """As :meth:`encode`, noting what had to be departed from."""
        parts: list[torch.Tensor] = []
        done, total = 0, len(bag)
        progress(0, total, phase)
        while done < total:
            x = bag.instances(done, done + self._chunk)
            h_ND = self._try_chunk(x, warnings)
            if h_ND is None:
                continue  # with smaller chunks, or on the CPU
            parts.append(h_ND)
            done += len(x)
            progress(done, total, phase)
        return torch.cat(parts)

    def _try_chunk(
        self, x: NDArray[np.float32], warnings: list[CodedWarning]
    ) -> torch.Tensor | None:
        """Encodes a chunk; None where memory was short and room has been made."""
        try:
            return self._encode_chunk(x)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._make_room(warnings, error)
            return None

    def _encode_chunk(self, x: NDArray[np.float32]) -> torch.Tensor:
        x_NCHW = torch.from_numpy(x).to(
            self._device, self._dtype, memory_format=torch.channels_last
        )
        h_ND: torch.Tensor = self._encoder(x_NCHW)
        return h_ND.float().cpu()

    def _make_room(self, warnings: list[CodedWarning], error: RuntimeError) -> None:
        """Takes less of the device's memory.

        Raises:
            DeviceError: Nothing is left to try.
        """
        if self._chunk > 1:
            self._chunk //= 2
            message = f"{self._device} ran out of memory; {self._chunk} slice(s) encoded at once"
        elif self._device.type != "cpu":
            message = f"{self._device} ran out of memory; the CPU was used instead"
            self._move_to(torch.device("cpu"))
        else:
            raise DeviceError(
                "There is not enough memory to encode even one slice.",
                remedy="Close other programs.",
                detail=str(error),
            ) from error
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.append(CodedWarning(WarningCode.DEVICE_FALLBACK, message))

    def _pad_features(self, slices: int, warnings: list[CodedWarning]) -> torch.Tensor | None:
        """The encoded all-zero slice, where the checkpoint pads a bag of this size."""
        config = self.model.header.model
        if slices >= config.bag_padding:
            return None
        zero = np.zeros((1, config.in_channels or 0, *config.input_size), dtype=np.float32)
        while self._h_pad is None:
            h_ND = self._try_chunk(zero, warnings)
            self._h_pad = None if h_ND is None else h_ND[0]
        return self._h_pad

    def _result(
        self,
        volume: CTVolume,
        h_SD: torch.Tensor,
        pooled: PooledBag,
        seconds: dict[str, float],
        warnings: tuple[CodedWarning, ...],
    ) -> ScanResult:
        header = self.model.header
        attention = _frozen(pooled.attention_S)
        evidence = contribution = padding = None
        if pooled.evidence_S is not None:
            evidence = _frozen(pooled.evidence_S)
            contribution = _frozen(pooled.attention_S * pooled.evidence_S)
        if pooled.padding_contribution is not None:
            padding = float(pooled.padding_contribution)
        # What pools without attention has no logits, and zeros would pass for some.
        logits = pooled.attention_logit_S
        if header.model.pooling not in ("attention", "mean"):
            logits = torch.full_like(logits, math.nan)
        exact = header.model.gives_evidence and pooled.attention_sd_S is None
        logit = float(pooled.logit)
        _log.info(
            "%d slices read on %s in %.2f s", len(attention), self.device, sum(seconds.values())
        )
        if not (math.isfinite(logit) and np.isfinite(attention).all()):
            # Compared with a threshold, NaN would pass for a negative scan.
            raise UnscorableError(
                f"The model {header.name!r} gives no finite number for series "
                f"{volume.entry.series_instance_uid}.",
                remedy="The weights are damaged, or diverged in training: use another model.",
            )
        return ScanResult(
            entry=volume.entry,
            attention=attention,
            attention_logit=_frozen(logits),
            evidence=evidence,
            contribution=contribution,
            padding_contribution=padding,
            attention_sd=_frozen_or_none(pooled.attention_sd_S),
            slice_probability=_frozen_or_none(
                None if pooled.slice_logit_S is None else torch.sigmoid(pooled.slice_logit_S)
            ),
            bag_size=max(len(attention), header.model.bag_padding),
            bag_padding=header.model.bag_padding,
            scan_logit=logit,
            scan_probability=sigmoid(logit / header.rule.temperature),
            rule=header.rule,
            model=header.identity,
            execution=Execution(
                device=self.device,
                precision=self._precision,
                threads=torch.get_num_threads(),
                chunk=self._chunk,
                seconds=seconds,
            ),
            warnings=warnings,
            features=None if exact else _frozen(h_SD),
        )


def _require_images(model: TrainedModel) -> None:
    config, name = model.header.model, model.header.name
    if not config.reads_images:
        raise ModelError(
            f"The model {name!r} reads features that another network has computed, not images.",
            remedy="It can be evaluated on a manifest with features; to read a CT choose a model "
            "with an encoder.",
        )
    if config.needs_graph and config.graph.edges == "bag":
        raise ModelError(
            f"The model {name!r} needs edges between the instances of a bag, and a CT has none.",
            remedy="It can be evaluated on a manifest with edges.",
        )


def _positions(entry: StackEntry) -> torch.Tensor | None:
    """(S,) float64, the slices' positions along their stack; None where unknown."""
    if not entry.geometry.has_positions:
        return None
    return torch.tensor(np.asarray(entry.geometry.position_mm, dtype=np.float64))


def _frozen_or_none(values: torch.Tensor | None) -> NDArray[np.float32] | None:
    return None if values is None else _frozen(values)


def _frozen(values: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy().copy()
    array.flags.writeable = False
    return array
