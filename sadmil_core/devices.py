"""Where a network runs, and at which precision."""

from __future__ import annotations

import re
from typing import Literal, get_args

import torch

from sadmil_core.errors import DeviceError

DeviceChoice = str
"""``auto``, ``cpu``, ``cuda``, ``mps``, or one of several cards: ``cuda:0``, ``cuda:1``..."""
_CHOICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,3})?")
_FULL = ("out of memory", "can't allocate memory", "not enough memory")
"""How CUDA and MPS, and torch's CPU allocators on Linux and Windows, say it."""

Precision = Literal["fp32", "bf16"]


def choose_device(choice: DeviceChoice = "auto") -> torch.device:
    """The device for a choice: CUDA, then Apple MPS, then the CPU for ``auto``.

    Raises:
        DeviceError: The chosen device is not on this machine.
    """
    if not _CHOICE.fullmatch(choice):
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, not {choice!r}")
    kind, _, number = choice.partition(":")
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if kind == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[kind] or (number and int(number) >= torch.cuda.device_count()):
        raise DeviceError(
            f"There is no {choice} device that torch {torch.__version__} can use here.",
            remedy="Choose `auto` or `cpu`, or install the torch build for your graphics card.",
        )
    return torch.device(choice)


def device_of_rank(choice: DeviceChoice, local_rank: int) -> DeviceChoice:
    """The card of one of several processes on a machine; they share the cards in turn.

    Args:
        choice: What was asked for; anything but CUDA, and ``cuda:N``, stays as it is.
        local_rank: Of the process, on its machine.
    """
    if choice in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{local_rank % torch.cuda.device_count()}"
    return choice


def check_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype convolutions run in.

    Raises:
        DeviceError: The device has no bfloat16.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {get_args(Precision)}, not {precision!r}")
    if precision == "fp32":
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError("This graphics card has no bfloat16.", remedy="Use fp32.")
    return torch.bfloat16


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that the device's memory is full, whatever the backend."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in _FULL)
