"""Which files the authors published, and what is known of the models in them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.checkpoint import Provenance
from sadmil_core.errors import WeightsError
from sadmil_core.published.tensorbundle import index_path, shard_path

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = "https://github.com/YunanWu2168/SA-MIL"
COMMIT = "8af56f404d64407004a81040ef99ea417a0d3058"
BASE_URL = f"https://raw.githubusercontent.com/YunanWu2168/SA-MIL/{COMMIT}/models"

_CITATION = (
    "Wu Y., Castro-Macias F. M., Morales-Alvarez P., Molina R., Katsaggelos A. K. Smooth "
    "Attention for Deep Multiple Instance Learning: Application to CT Intracranial Hemorrhage "
    "Detection. MICCAI 2023. arXiv:2307.09457."
)
_LIMITS = (
    "Research use only, not for diagnosis. Trained on non-contrast head CT of adults; the "
    "probability is not calibrated, and bags are padded to 57 slices that take part in the "
    "attention."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of the authors' repository.

    Attributes:
        name: Its name in the folder ``models``.
        sha256: Of its bytes, at the pinned commit.
        size: In bytes.
    """

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One of the authors' checkpoints.

    Attributes:
        name: What it is called here and, with ``.ckpt``, there.
        description: What it is, one sentence.
        index: The file that lists its tensors.
        data: The file that holds them.
    """

    name: str
    description: str
    index: RemoteFile
    data: RemoteFile

    @property
    def bundle(self) -> str:
        """What the names of its files begin with."""
        return f"{self.name}.ckpt"


def _model(
    name: str, description: str, index: tuple[str, int], data: tuple[str, int]
) -> PublishedModel:
    return PublishedModel(
        name=name,
        description=description,
        index=RemoteFile(name=f"{name}.ckpt.index", sha256=index[0], size=index[1]),
        data=RemoteFile(name=f"{name}.ckpt.data-00000-of-00001", sha256=data[0], size=data[1]),
    )


PUBLISHED = {
    model.name: model
    for model in (
        _model(
            "baseline",
            "The paper's network without smoothing (gated Att-MIL), as published by its authors.",
            ("20a76eb1953b88905ff2974124e10214a78331b313d7d18edfe983840d6b1af3", 7563),
            ("fc734d204520a3f38b34131edad05c4e742544c3f85205e4cec455d10bfe823d", 4078812),
        ),
        _model(
            "att_0_5",
            "The paper's network with smooth attention, the authors' setting 0.5; its two-way "
            "softmax head is folded to one logit.",
            ("c8ef555878677202304d3e7c22458b2da27385d7d141b413da7073f546adfaf0", 7563),
            ("bc43e206fdeaead16290d822e33ff07cf5fdccb2dea06aa313592d5b26ef519a", 4080360),
        ),
        _model(
            "att_0_9",
            "The paper's network with smooth attention, the authors' setting 0.9.",
            ("3007a655622cf897717280cff820066dceeca6d92f1346014153ce57232ef1ae", 7563),
            ("57ae38f086c7484d943662f38b3641321ce13742218e5ce5daa9ac2b92a4d34c", 4078926),
        ),
    )
}
"""The authors' three checkpoints by name."""


def describe_bundle(prefix: Path) -> Provenance:
    """What is known of a bundle: much of a published one, recognised by its hash.

    Args:
        prefix: What its files' names begin with, without ``.index``.

    Raises:
        WeightsError: The files cannot be read.
    """
    index = _sha256(index_path(prefix))
    for model in PUBLISHED.values():
        # That index means one data file, so there is no need to look for more.
        if index == model.index.sha256 and _sha256(shard_path(prefix, 0, 1)) == model.data.sha256:
            return Provenance(
                description=model.description,
                training_data="RSNA Intracranial Hemorrhage Detection 2019, scan labels only.",
                license="MIT (the authors' repository)",
                citation=_CITATION,
                limits=_LIMITS,
                source=f"{REPOSITORY} models/{model.bundle} at commit {COMMIT}, converted "
                "from TensorFlow",
            )
    return Provenance(
        description="A TensorFlow checkpoint of the paper's network; not one of the three "
        "its authors published.",
        training_data="unknown",
        license="unknown",
        citation=_CITATION,
        limits="Research use only, not for diagnosis. Nothing is known of its training.",
        source=f"{prefix.name} (index SHA-256 {index}), converted from TensorFlow",
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path} could not be read: {error.strerror or error}.",
            remedy="Check that you may read it.",
        ) from error
