"""Frozen dataclasses to plain mappings and back, strictly.

What a checkpoint or a TOML file says is taken at its word: an unknown key, a missing one or
a value of another type is refused, never coerced.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")

OMIT_DEFAULT: Mapping[str, bool] = types.MappingProxyType({"omit_default": True})
"""Metadata of a field that a mapping leaves out while it has its default: configs can grow
without changing the mapping, and so the hash, of what was written before."""


def to_mapping(config: Any) -> dict[str, Any]:
    """A config as nested plain values that JSON and TOML can hold.

    Args:
        config: An instance of a dataclass. Fields with ``OMIT_DEFAULT`` are left out at their
            default.
    """
    return {
        field.name: _to_plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if not _is_omitted(field, getattr(config, field.name))
    }


def _is_omitted(field: dataclasses.Field[Any], value: Any) -> bool:
    if not field.metadata.get("omit_default"):
        return False
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return bool(value == field.default)


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_to_plain(item) for item in value)
    return value


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces; tuples are lists."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_mapping(cls: type[T], mapping: Any, where: str = "") -> T:
    """Builds a config from plain values.

    Args:
        cls: A dataclass whose fields are str, int, float, bool, Literal, optional ones,
            tuples, other dataclasses, or unions of dataclasses that a field
            ``kind: Literal[...]`` tells apart.
        mapping: Its values by field name; fields with a default may be left out.
        where: The dotted name of the config, for messages.

    Raises:
        ValueError: Naming the key, the value and what was expected.
    """
    name = where or cls.__name__
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{name} must be a table of values, not {mapping!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(mapping) - set(fields))
    if unknown:
        raise ValueError(f"{name} has no key {', '.join(map(repr, unknown))}")
    missing = [
        key
        for key, field in fields.items()
        if key not in mapping
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    values = {k: _convert(hints[k], v, f"{name}.{k}") for k, v in mapping.items()}
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast("type[Any]", hint), value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(
                f"{where} is {value!r}; it must be one of {', '.join(map(repr, arguments))}"
            )
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        members = [a for a in arguments if a is not type(None)]
        return _convert(_member(members, value, where), value, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, where)
    if not isinstance(value, hint) or (hint in (int, float) and isinstance(value, bool)):
        raise ValueError(f"{where} is {value!r}; it must be {hint.__name__}")
    return value


def _member(members: list[Any], value: Any, where: str) -> Any:
    """The member of a union that a value is of."""
    if len(members) == 1:
        return members[0]
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a table of values, not {value!r}")
    kinds: dict[Any, Any] = {}
    implied = []
    for member in members:
        (kind,) = (f for f in dataclasses.fields(member) if f.name == "kind")
        kinds |= dict.fromkeys(typing.get_args(typing.get_type_hints(member)["kind"]), member)
        if kind.metadata.get("omit_default"):
            implied.append(member)
    if "kind" not in value and implied:
        return implied[0]
    if "kind" not in value:
        raise ValueError(f"{where} lacks kind")
    if not isinstance(value["kind"], str) or value["kind"] not in kinds:
        raise ValueError(
            f"{where}.kind is {value['kind']!r}; it must be one of {', '.join(map(repr, kinds))}"
        )
    return kinds[value["kind"]]


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{where} is not a finite number")
    return number


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where} is {value!r}; it must be a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(arguments):
        raise ValueError(f"{where} has {len(value)} values; it must have {len(arguments)}")
    return tuple(
        _convert(kind, v, f"{where}[{i}]")
        for i, (kind, v) in enumerate(zip(arguments, value, strict=True))
    )
