"""torchvision, where the build from PyPI stands beside a torch without CUDA.

Its compiled operators cannot be loaded then, and its Python code fails at import since it wants to
say more about two of them. Their bare schemas are all it takes; no network needs them.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings

import pytest
import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_kept: list[torch.library.Library] = []


def require_backbone_library(name: str) -> None:
    """Makes torchvision or timm importable, or skips the test with the reason."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision says that its operators are not there
        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            if not _kept:
                _kept.append(torch.library.Library("torchvision", "DEF"))
                for operator, schema in _SCHEMAS.items():
                    _kept[0].define(operator + schema)
        try:
            importlib.import_module(name)
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"{name} cannot be imported here: {error}")
