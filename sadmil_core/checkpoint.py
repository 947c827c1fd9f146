"""Checkpoints: one safetensors file that carries its configs. Nothing pickled is ever loaded.

The file's metadata holds a JSON document under ``sadmil``; its tensors are the network's.
Neither reading the header nor converting weights needs torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import safetensors
import safetensors.numpy

from sadmil_core.atomic import replacing
from sadmil_core.configs import canonical_json, from_mapping, to_mapping
from sadmil_core.errors import CheckpointError, CheckpointVersionError
from sadmil_core.model.config import ModelConfig
from sadmil_core.preprocess import PreprocessConfig
from sadmil_core.result import DecisionRule, ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
_KEY = "sadmil"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where weights come from, in words; shown before a model is used.

    Attributes:
        description: What the model is, one or two sentences.
        training_data: What it was trained on.
        license: Of the weights.
        citation: What to cite.
        limits: What it must not be used for.
        source: Where the weights were converted or downloaded from, or the training command.
        phantoms_only: True for weights that only mean something on synthetic heads.
    """

    description: str = ""
    training_data: str = ""
    license: str = ""
    citation: str = ""
    limits: str = ""
    source: str = ""
    phantoms_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointHeader:
    """Everything about a checkpoint but its tensors.

    Attributes:
        name: The model's name, the model_id of reports.
        model: The network.
        preprocess: What the network was trained to see; means nothing where its slices come
            as features.
        rule: Its decision rule.
        supervision: The finest labels it was trained with.
        provenance: Where it comes from.
        model_sha256: SHA-256 over the tensors in name order and the canonical JSON of the
            model, preprocess and rule; empty until written.
    """

    name: str
    model: ModelConfig
    preprocess: PreprocessConfig
    rule: DecisionRule
    supervision: Literal["scan", "slice", "mask"]
    provenance: Provenance = field(default_factory=Provenance)
    model_sha256: str = ""

    def __post_init__(self) -> None:
        channels = self.model.in_channels
        if channels is not None and len(self.preprocess.windows) != channels:
            raise ValueError(
                f"{len(self.preprocess.windows)} windows do not fit an encoder of "
                f"{channels} channels"
            )
        if self.model.reads_images and self.preprocess.size != self.model.input_size:
            raise ValueError(
                f"slices of {self.preprocess.size} do not fit a network for {self.model.input_size}"
            )
        given = {"evidence": self.model.gives_evidence, "probability": self.model.instance}
        if not given.get(self.rule.slice_score, True):
            raise ValueError(f"the network gives no {self.rule.slice_score} to judge slices by")

    @property
    def identity(self) -> ModelIdentity:
        """What a result remembers of its model."""
        return ModelIdentity(model_id=self.name, sha256=self.model_sha256)


def hash_model(tensors: Mapping[str, NDArray[Any]], header: CheckpointHeader) -> str:
    """The SHA-256 that identifies weights and the configs they mean something with."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name], order="C")
        digest.update(f"{name}:{tensor.dtype.str}:{tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    configs = [to_mapping(config) for config in (header.model, header.preprocess, header.rule)]
    digest.update(canonical_json(configs).encode())
    return digest.hexdigest()


def write_checkpoint(
    path: Path, header: CheckpointHeader, tensors: Mapping[str, NDArray[Any]]
) -> CheckpointHeader:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: The file; an older one is replaced.
        header: Its ``model_sha256`` is computed here.
        tensors: The network's state by parameter name.

    Returns:
        The header as written.

    Raises:
        ValueError: The header holds a value that could not be read back.
        WriteError: The system refused; nothing is left behind.
    """
    # As a reader will see it: a 40 in place of 40.0 would change the hash.
    header = from_mapping(CheckpointHeader, to_mapping(header), "header")
    header = replace(header, model_sha256=hash_model(tensors, header))
    document = {"format_version": FORMAT_VERSION, "header": to_mapping(header)}
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    payload = safetensors.numpy.save(arrays, metadata={_KEY: canonical_json(document)})
    with replacing(path) as stream:
        stream.write(payload)
    return header


def read_header(path: Path) -> CheckpointHeader:
    """Reads a checkpoint's header; fast, and without torch.

    Raises:
        CheckpointError: The file cannot be read or is not a checkpoint.
        CheckpointVersionError: It is of a newer format.
    """
    _require_file(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
    except safetensors.SafetensorError as error:
        raise _not_a_checkpoint(path, str(error)) from error
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}.",
            remedy="Check that you may read the file.",
        ) from error
    return _parse(path, metadata)


def read_checkpoint(path: Path) -> tuple[CheckpointHeader, dict[str, NDArray[Any]]]:
    """Reads a checkpoint and checks its hash.

    Returns:
        The header and the tensors by name.

    Raises:
        CheckpointError: As for :func:`read_header`, or the tensors do not match the hash.
        CheckpointVersionError: It is of a newer format.
    """
    header = read_header(path)
    try:
        tensors = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError) as error:
        raise _not_a_checkpoint(path, str(error)) from error
    if hash_model(tensors, header) != header.model_sha256:
        raise CheckpointError(
            f"{path} is damaged or was altered: its weights do not match their SHA-256.",
            remedy="Download or train it again.",
        )
    return header, tensors


def _require_file(path: Path) -> None:
    if not path.is_file():
        kind = "is a folder, not a checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"{path} {kind}.",
            remedy="Give a .safetensors file; `sadmil weights list` names models.",
        )


def _not_a_checkpoint(path: Path, detail: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of this program.",
        remedy="Checkpoints are .safetensors files written by sadmil; a TensorFlow one can be "
        "brought in with `sadmil weights import`.",
        detail=detail,
    )


def _parse(path: Path, metadata: Mapping[str, str]) -> CheckpointHeader:
    try:
        document = json.loads(metadata[_KEY])
        version = document["format_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _not_a_checkpoint(path, f"no {_KEY!r} document in its metadata") from error
    if not isinstance(version, int) or version < 1:
        raise _not_a_checkpoint(path, f"format version {version!r}")
    if version > FORMAT_VERSION:
        raise CheckpointVersionError(
            f"{path} is of checkpoint format {version}; this program reads up to {FORMAT_VERSION}.",
            remedy="Update sadmil-viewer.",
        )
    try:
        return from_mapping(CheckpointHeader, document["header"], "header")
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a header this program does not understand: {error}.",
            remedy="Update sadmil-viewer, or convert the weights again.",
        ) from error
