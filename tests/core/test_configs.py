"""Configs grow without changing what was written before, and unions say what they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from sadmil_core.checkpoint import read_checkpoint
from sadmil_core.configs import OMIT_DEFAULT, canonical_json, from_mapping, to_mapping
from sadmil_core.paths import resource_path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    kind: Literal["round"] = field(default="round", metadata=OMIT_DEFAULT)
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Square:
    kind: Literal["square", "box"] = "square"
    side: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    shape: _Round | _Square
    extra: _Square | None = field(default=None, metadata=OMIT_DEFAULT)
    sizes: tuple[int, ...] = field(default_factory=tuple, metadata=OMIT_DEFAULT)
    inner: tuple[_Round, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Star:
    kind: Literal["star"] = "star"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Explicit:
    shape: _Square | _Star | None = None


def test_a_field_is_left_out_at_its_default_and_only_there() -> None:
    config = _Config(shape=_Round(radius=2.0), inner=(_Round(radius=1.0),))
    assert to_mapping(config) == {"shape": {"radius": 2.0}, "inner": ({"radius": 1.0},)}
    grown = _Config(shape=_Square(), extra=_Square(side=3.0), sizes=(1,))
    assert to_mapping(grown) == {
        "shape": {"kind": "square", "side": 1.0},
        "extra": {"kind": "square", "side": 3.0},
        "sizes": (1,),
        "inner": (),
    }
    for value in (config, grown):
        assert from_mapping(_Config, to_mapping(value)) == value


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"radius": 1}, _Round(radius=1.0)),
        ({"kind": "round", "radius": 1}, _Round(radius=1.0)),
        ({"kind": "box"}, _Square(kind="box")),
    ],
)
def test_the_kind_tells_the_members_of_a_union_apart(shape: Any, expected: Any) -> None:
    assert from_mapping(_Config, {"shape": shape}).shape == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"kind": "star"}, r"_Config.shape.kind is 'star'; .* 'round', 'square', 'box'"),
        ({"kind": 3}, "kind is 3"),
        ({"kind": ["round"]}, "kind is"),
        ({"side": 1.0}, "has no key 'side'"),
        ({"kind": "square", "radius": 1.0}, "has no key 'radius'"),
        ("round", "must be a table"),
        (None, "must be a table"),
    ],
)
def test_a_union_refuses_what_is_none_of_its_members(shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(_Config, {"shape": shape})


def test_without_an_implied_member_the_kind_is_needed() -> None:
    assert from_mapping(_Explicit, {"shape": None}).shape is None
    assert from_mapping(_Explicit, {"shape": {"kind": "star"}}).shape == _Star()
    with pytest.raises(ValueError, match="shape lacks kind"):
        from_mapping(_Explicit, {"shape": {"side": 1.0}})


def test_the_demo_model_still_has_the_hash_it_was_written_with() -> None:
    """read_checkpoint compares the hash of tensors and configs with the one in the file."""
    header, _ = read_checkpoint(resource_path("models", "demo.safetensors"))
    text = canonical_json(to_mapping(header.model))
    assert '"kind"' not in text
    assert from_mapping(type(header.model), to_mapping(header.model)) == header.model
