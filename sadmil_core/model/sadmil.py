"""SA-DMIL and its family: encoder, context, pooling and head, on batches and on single bags."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from sadmil_core.model.attention import Attention, masked_softmax, padded_softmax
from sadmil_core.model.backbone import BackboneEncoder
from sadmil_core.model.bigru import BiGruContext
from sadmil_core.model.config import BackboneConfig, ConvEncoderConfig
from sadmil_core.model.context_config import SmConfig, TransformerConfig
from sadmil_core.model.encoder import ConvEncoder, FeaturesEncoder, SliceEncoder
from sadmil_core.model.graph import build_graph
from sadmil_core.model.pooling import instance_max, noisy_or, pool_max, pool_mean
from sadmil_core.model.probabilistic import ProbabilisticAttention, divergence
from sadmil_core.model.sm_operator import SmOperator
from sadmil_core.model.transformer import TransformerContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sadmil_core.model.config import HeadConfig, ModelConfig
    from sadmil_core.model.graph import EdgeList, SliceGraph

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BagOutput:
    """What the network says of B bags.

    Attributes:
        logit_B: Scan logits.
        attention_BS: Weights, 0 outside the mask; where the pooling has none, the slices'
            shares of its answer (see ``sadmil_core.model.pooling``).
        attention_logit_BS: f, before the softmax; zeros where the pooling has no attention.
        evidence_BS: e_s = head(h_s); None where the scan logit is not a sum over slices.
        attention_sd_BS: Standard deviation of the weights; None where the attention is not
            probabilistic. Zeros in training, which takes one draw.
        slice_logit_BS: Of each slice's own probability; None without an instance head.
        features_BSD: Of the encoder, 0 outside the mask.
        cell_logit_NHW: By cell of the last feature map of the real slices, where asked for.
        padding_contribution_B: The pads' part of the logit; None without pads or evidence.
        extra_loss: What training minimises besides, (B,) each.
    """

    logit_B: Tensor
    attention_BS: Tensor
    attention_logit_BS: Tensor
    evidence_BS: Tensor | None = None
    attention_sd_BS: Tensor | None = None
    slice_logit_BS: Tensor | None = None
    features_BSD: Tensor | None = None
    cell_logit_NHW: Tensor | None = None
    padding_contribution_B: Tensor | None = None
    extra_loss: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledBag:
    """What the network says of one bag of S encoded slices; the fields of ``BagOutput``."""

    logit: Tensor
    attention_S: Tensor
    attention_logit_S: Tensor
    evidence_S: Tensor | None
    attention_sd_S: Tensor | None
    slice_logit_S: Tensor | None
    padding_contribution: Tensor | None
    extra_loss: Mapping[str, Tensor]


class Head(nn.Module):
    """An embedding to a logit, through an optional hidden layer."""

    def __init__(self, features: int, config: HeadConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(features, config.hidden) if config.hidden else None
        self.output = nn.Linear(config.hidden or features, 1)
        self._relu = config.activation == "relu"

    def forward(self, z_BD: Tensor) -> Tensor:
        """Returns logits, of the leading dimensions of the input."""
        z_BD = self.dropout(z_BD)
        if self.hidden is not None:
            z_BD = self.hidden(z_BD)
            if self._relu:
                z_BD = torch.relu(z_BD)
        logit_B: Tensor = self.output(z_BD).squeeze(-1)
        return logit_B


class SaDmil(nn.Module):
    """The network of arXiv 2307.09457, a_s = softmax(f_s), z = sum a_s h_s, logit = head(z).

    Its relatives mix the slices first (``context``), pool them otherwise (``pooling``), or give
    each a probability of its own (``instance``); docs/models.md says what goes with what.

    Weights are random; ``sadmil_core.model.trained.initial_model`` gives a backbone the ones
    that training is to start from, and ``load_checkpoint`` those of a checkpoint.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _make_encoder(config)
        self.context: nn.Module | None = None
        features = self.encoder.features
        if isinstance(config.context, SmConfig):
            self.context = SmOperator(config.context)
        elif config.context is not None:
            mixing = (
                TransformerContext(features, config.context)
                if isinstance(config.context, TransformerConfig)
                else BiGruContext(features, config.context)
            )
            self.context, features = mixing, mixing.features
        # Only what takes part is built: parameters without a gradient would stall training on
        # several processes.
        self.attention: Attention | None = None
        if config.has_attention:
            kind = ProbabilisticAttention if config.attention.probabilistic else Attention
            self.attention = kind(features, config.attention)
        self.head: Head | None = None
        if config.pooling not in ("instance-max", "noisy-or"):
            self.head = Head(features, config.head)
        self.instance = Head(features, config.instance) if config.instance else None

    def encode(self, x_NCHW: Tensor) -> Tensor:
        """Encodes slices of any bags: (N, C, H, W) in [0, 1] to h_ND."""
        h_ND: Tensor = self.encoder(x_NCHW)
        return h_ND

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Trades time for memory in training; neither gradients nor statistics change."""
        self.encoder.set_activation_checkpointing(enabled)

    def forward(
        self,
        x_N: Tensor,
        mask_BS: Tensor,
        *,
        edges: EdgeList | None = None,
        position_mm_BS: Tensor | None = None,
        cells: bool = False,
    ) -> BagOutput:
        """Reads whole bags.

        Args:
            x_N: The real slices of all bags one after another: (N, C, H, W) in [0, 1], or
                (N, D) features.
            mask_BS: True for real slices.
            edges: The bags' own, for a graph that takes them; indices into B * S places.
            position_mm_BS: Along the stack, NaN or None where unknown.
            cells: Whether to give a logit for each cell of the last feature map, too.

        Raises:
            ValueError: The slices do not fit the mask, or the graph lacks something.
        """
        real = int(mask_BS.sum())
        if len(x_N) != real:
            raise ValueError(f"{len(x_N)} slices do not fit a mask of {real}")
        pads = bool((mask_BS.sum(dim=-1) < self.config.bag_padding).any())
        if pads:
            # Encoded with the others: alone it would have statistics of its own in training.
            x_N = torch.cat([x_N, x_N.new_zeros((1, *x_N.shape[1:]))])
        y_NDhw = self.encoder.cells(x_N) if cells else None
        h_ND = self.encode(x_N) if y_NDhw is None else self.encoder.reduce(y_NDhw)
        with torch.autocast(h_ND.device.type, enabled=False):
            h_ND = h_ND if h_ND.dtype == torch.float64 else h_ND.float()
            h_BSD = h_ND.new_zeros((*mask_BS.shape, h_ND.shape[-1]))
            h_BSD[mask_BS] = h_ND[:real]
            out = self.pool_batch(
                h_BSD,
                mask_BS,
                h_pad_D=h_ND[-1] if pads else None,
                edges=edges,
                position_mm_BS=position_mm_BS,
            )
            if y_NDhw is None:
                return out
            return replace(out, cell_logit_NHW=self.cell_logits(y_NDhw[:real].to(h_ND.dtype)))

    def cell_logits(self, y_NDhw: Tensor) -> Tensor:
        """What the instance head, or else the scan's, says of each cell of feature maps.

        Returns:
            (N, h, w).

        Raises:
            ValueError: A cell has other features than the head knows.
        """
        if not self.config.gives_cells:
            raise ValueError(
                "only a convolutional encoder with output `max` or `mean`, and no context that "
                "changes its features, gives a logit for each cell"
            )
        head = self.instance if self.instance is not None else _built(self.head)
        logit_NHW: Tensor = head(y_NDhw.permute(0, 2, 3, 1))
        return logit_NHW

    def pool_batch(
        self,
        h_BSD: Tensor,
        mask_BS: Tensor,
        h_pad_D: Tensor | None = None,
        graph: SliceGraph | None = None,
        *,
        edges: EdgeList | None = None,
        position_mm_BS: Tensor | None = None,
        pads_B: Tensor | None = None,
    ) -> BagOutput:
        """Pools encoded bags and asks the head, with the checkpoint's own padding.

        The authors pad each bag with all-zero slices that take part in the softmax. All pads
        are alike, so one encoded zero slice, counted as often as there are pads, gives the
        same result.

        Args:
            h_BSD: Encoded slices; what stands outside the mask does not matter.
            mask_BS: True for real slices.
            h_pad_D: An encoded all-zero slice; needed where ``bag_padding`` exceeds a bag.
            graph: Over the slices; made as the config says if None and needed.
            edges: As for :meth:`forward`.
            position_mm_BS: As for :meth:`forward`.
            pads_B: How many pads each bag has, if not what is missing to ``bag_padding``.

        Raises:
            ValueError: The pad, or something of the graph, is needed and missing.
        """
        h_BSD = _only_real(h_BSD, mask_BS)
        if self.config.needs_graph and graph is None:
            graph = build_graph(
                self.config.graph,
                mask_BS,
                position_mm_BS=position_mm_BS,
                h_BSD=h_BSD,
                edges=edges,
            )
        if pads_B is None:
            pads_B = (self.config.bag_padding - mask_BS.sum(dim=-1)).clamp(min=0)
        mixed_BSD = _only_real(self._mix(h_BSD, mask_BS, graph, position_mm_BS), mask_BS)
        slice_logit_BS = None if self.instance is None else self.instance(mixed_BSD)
        if self.config.has_attention:
            out = self._pool_by_attention(mixed_BSD, mask_BS, graph, h_pad_D, pads_B)
        else:
            out = self._pool_otherwise(mixed_BSD, mask_BS, slice_logit_BS)
        return replace(out, features_BSD=h_BSD, slice_logit_BS=slice_logit_BS)

    def pool(
        self,
        h_SD: Tensor,
        h_pad_D: Tensor | None = None,
        graph: SliceGraph | None = None,
        *,
        edges: EdgeList | None = None,
        position_mm_S: Tensor | None = None,
        pads: int | None = None,
    ) -> PooledBag:
        """Pools one encoded bag; see :meth:`pool_batch`.

        Args:
            h_SD: Encoded slices.
            h_pad_D: An encoded all-zero slice.
            graph: Over the slices.
            edges: Indices into the S slices.
            position_mm_S: Along the stack.
            pads: How many pads there are, if not what is missing to ``bag_padding``.
        """
        mask_BS = torch.ones((1, len(h_SD)), dtype=torch.bool, device=h_SD.device)
        out = self.pool_batch(
            h_SD[None],
            mask_BS,
            h_pad_D=h_pad_D,
            graph=graph,
            edges=edges,
            position_mm_BS=None if position_mm_S is None else position_mm_S[None],
            pads_B=None if pads is None else torch.full_like(mask_BS[:, 0], pads, dtype=torch.long),
        )
        return PooledBag(
            logit=out.logit_B[0],
            attention_S=out.attention_BS[0],
            attention_logit_S=out.attention_logit_BS[0],
            evidence_S=_first(out.evidence_BS),
            attention_sd_S=_first(out.attention_sd_BS),
            slice_logit_S=_first(out.slice_logit_BS),
            padding_contribution=_first(out.padding_contribution_B),
            extra_loss={name: loss_B[0] for name, loss_B in out.extra_loss.items()},
        )

    def _mix(
        self,
        h_BSD: Tensor,
        mask_BS: Tensor,
        graph: SliceGraph | None,
        position_mm_BS: Tensor | None,
    ) -> Tensor:
        if isinstance(self.context, TransformerContext):
            h_BSD = self.context(h_BSD, mask_BS, position_mm_BS)
        elif isinstance(self.context, BiGruContext):
            h_BSD = self.context(h_BSD, mask_BS)
        elif self.context is not None and not self.config.smooths_logits:
            h_BSD = self.context(h_BSD, graph)
        return h_BSD

    def _pool_by_attention(
        self,
        h_BSD: Tensor,
        mask_BS: Tensor,
        graph: SliceGraph | None,
        h_pad_D: Tensor | None,
        pads_B: Tensor,
    ) -> BagOutput:
        attention, head = _built(self.attention), _built(self.head)
        evidence_BS = head(h_BSD) if self.config.gives_evidence else None
        sd_BS = padding_B = None
        extra_loss = {}
        if isinstance(attention, ProbabilisticAttention):
            f_BS, f_sd_BS = attention.distribution(h_BSD)
            a_BS, sd_BS = attention.weigh(f_BS, f_sd_BS, mask_BS)
            prior = self.config.attention.prior_smoothness
            extra_loss["attention_kl"] = divergence(f_BS, f_sd_BS, mask_BS, graph, prior)
        else:
            f_BS = attention(h_BSD)
            if self.context is not None and self.config.smooths_logits:
                f_BS = self.context(_only_real(f_BS, mask_BS), graph)
        if not bool((pads_B > 0).any()):
            a_BS = masked_softmax(f_BS, mask_BS) if sd_BS is None else a_BS
            z_BD = torch.einsum("bs,bsd->bd", a_BS, h_BSD)
        elif h_pad_D is None:
            raise ValueError("this checkpoint pads its bags: the encoded zero slice is needed")
        else:
            a_BS, share_B = padded_softmax(f_BS, mask_BS, attention(h_pad_D), pads_B)
            z_BD = torch.einsum("bs,bsd->bd", a_BS, h_BSD) + share_B[:, None] * h_pad_D
            padding_B = None if evidence_BS is None else share_B * head(h_pad_D)
        return BagOutput(
            logit_B=head(z_BD),
            attention_BS=a_BS,
            attention_logit_BS=f_BS,
            evidence_BS=evidence_BS,
            attention_sd_BS=sd_BS,
            padding_contribution_B=padding_B,
            extra_loss=extra_loss,
        )

    def _pool_otherwise(
        self, h_BSD: Tensor, mask_BS: Tensor, slice_logit_BS: Tensor | None
    ) -> BagOutput:
        if not bool(mask_BS.any(dim=-1).all()):
            raise ValueError("a bag without a real slice cannot be pooled")
        if self.head is not None:
            pool = pool_mean if self.config.pooling == "mean" else pool_max
            z_BD, share_BS = pool(h_BSD, mask_BS)
            logit_B = self.head(z_BD)
        else:
            combine = instance_max if self.config.pooling == "instance-max" else noisy_or
            logit_B, share_BS = combine(_built(slice_logit_BS), mask_BS)
        evidence = self.config.gives_evidence and self.head is not None
        return BagOutput(
            logit_B=logit_B,
            attention_BS=share_BS,
            attention_logit_BS=torch.zeros_like(share_BS),
            evidence_BS=_built(self.head)(h_BSD) if evidence else None,
        )


def _make_encoder(config: ModelConfig) -> SliceEncoder:
    if isinstance(config.encoder, ConvEncoderConfig):
        return ConvEncoder(config.encoder, config.input_size)
    if isinstance(config.encoder, BackboneConfig):
        return BackboneEncoder(config.encoder, config.input_size)
    return FeaturesEncoder(config.encoder)


def _built(part: _T | None) -> _T:
    if part is None:
        raise ValueError("this network has no such part")
    return part


def _first(values: Tensor | None) -> Tensor | None:
    return None if values is None else values[0]


def _only_real(values: Tensor, mask_BS: Tensor) -> Tensor:
    """Zeros outside the mask, whatever stands there: 0 * NaN would be NaN."""
    mask = mask_BS if values.ndim == mask_BS.ndim else mask_BS[..., None]
    return torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))
