"""Converts the authors' TensorFlow checkpoints to checkpoints of this program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sadmil_core.checkpoint import CheckpointHeader, write_checkpoint
from sadmil_core.errors import WeightsError
from sadmil_core.model.config import published_config
from sadmil_core.modelstore import model_path_for
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.published.catalogue import describe_bundle
from sadmil_core.published.statedict import OtherNetworkError, to_state_dict
from sadmil_core.published.tensorbundle import bundle_prefix, index_path, read_tensor_bundle
from sadmil_core.result import DecisionRule

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_REMEDY = (
    "Only checkpoints of the published SA-DMIL network can be converted: "
    "`sadmil weights fetch published` gets the authors' own."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedBundle:
    """A bundle in this program's terms, not yet written.

    Attributes:
        header: Without its hash, which writing fills in.
        tensors: By the parameter names of ``SaDmil``.
    """

    header: CheckpointHeader
    tensors: dict[str, NDArray[Any]]


def import_bundle(prefix: Path, name: str, *, overwrite: bool = False) -> Path:
    """Converts a TensorFlow checkpoint and installs it among the user's models.

    Args:
        prefix: What the files' names begin with, with or without ``.index``.
        name: What to call the model.
        overwrite: Replace a model of that name.

    Returns:
        The checkpoint written.

    Raises:
        WeightsError: The bundle is missing, damaged or of another network, or a model of
            that name exists.
        CheckpointError: The name cannot be a model's name.
        WriteError: The checkpoint could not be written; nothing is left behind.
    """
    converted = convert_bundle(prefix, name)
    path = model_path_for(name)
    require_free(path, overwrite=overwrite)
    write_checkpoint(path, converted.header, converted.tensors)
    return path


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuses to replace a model unasked.

    Raises:
        WeightsError: The file exists and ``overwrite`` is not set.
    """
    if os.path.lexists(path) and not overwrite:
        raise WeightsError(
            f"There is a model of that name already: {path}.",
            remedy="Choose another name, or replace it with --overwrite.",
        )


def convert_bundle(prefix: Path, name: str) -> ConvertedBundle:
    """Reads and converts a TensorFlow checkpoint.

    Args:
        prefix: What the files' names begin with, with or without ``.index``.
        name: What to call the model.

    Raises:
        WeightsError: The bundle is missing, damaged or of another network.
    """
    prefix = bundle_prefix(prefix)
    try:
        tensors = to_state_dict(read_tensor_bundle(prefix))
    except OtherNetworkError as error:
        raise WeightsError(
            f"{index_path(prefix)} does not hold the published network: {error}.", remedy=_REMEDY
        ) from error
    header = CheckpointHeader(
        name=name,
        model=published_config(),
        preprocess=PreprocessConfig(),
        rule=DecisionRule(),
        supervision="scan",
        provenance=describe_bundle(prefix),
    )
    return ConvertedBundle(header=header, tensors=tensors)
