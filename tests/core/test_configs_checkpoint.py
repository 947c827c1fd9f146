"""Checkpoints: whole, unaltered, understood, or refused with a reason."""

from __future__ import annotations

import errno
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from sadmil_core.atomic import replacing
from sadmil_core.checkpoint import (
    FORMAT_VERSION,
    CheckpointHeader,
    Provenance,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from sadmil_core.configs import canonical_json, from_mapping, to_mapping
from sadmil_core.errors import CheckpointError, CheckpointVersionError, WriteError
from sadmil_core.model.config import ModelConfig, published_config
from sadmil_core.model.trained import load_checkpoint, save_checkpoint
from sadmil_core.modelstore import installed_models, model_path_for, resolve_model
from sadmil_core.preprocess import PreprocessConfig, Window
from sadmil_core.result import DecisionRule
from tests.networks import save_small, small_config, small_header, small_network


def _document(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with safetensors.safe_open(path, framework="numpy") as opened:
        return json.loads(opened.metadata()["sadmil"]), safetensors.numpy.load_file(path)


def _rewrite(path: Path, text: str, tensors: dict[str, Any]) -> None:
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"sadmil": text}))


def _edit(path: Path, *keys: str, value: Any) -> None:
    """Sets one value of the header, as a hand with an editor would."""
    document, tensors = _document(path)
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    _rewrite(path, json.dumps(document), tensors)


def test_weights_and_configs_come_back_as_they_were(tmp_path: Path) -> None:
    module = small_network(bag_padding=9, activation="relu", gated=False)
    header = small_header(
        module,
        rule=DecisionRule(scan_threshold=0.25, temperature=1.5, slice_threshold=0.1 + 0.2),
        provenance=Provenance(description="é “x”", phantoms_only=True),
        supervision="mask",
        preprocess=PreprocessConfig(
            size=(32, 32), windows=tuple(Window(level_hu=h / 3, width_hu=80) for h in range(3))
        ),
    )
    written = save_checkpoint(tmp_path / "m.safetensors", module, header)
    back = load_checkpoint(tmp_path / "m.safetensors")
    assert back.header == written == replace(header, model_sha256=written.model_sha256)
    assert len(written.model_sha256) == 64
    assert not back.module.training
    for name, tensor in module.state_dict().items():
        assert torch.equal(back.module.state_dict()[name], tensor), name


def test_the_hash_depends_on_weights_and_rule_but_not_on_words(tmp_path: Path) -> None:
    module = small_network()
    path = tmp_path / "m.safetensors"
    base = save_checkpoint(path, module, small_header(module)).model_sha256
    same = save_checkpoint(path, module, small_header(module, name="another")).model_sha256
    rule = small_header(module, rule=DecisionRule(scan_threshold=0.4))
    assert same == base != save_checkpoint(path, module, rule).model_sha256
    with torch.no_grad():
        module.head.output.bias.add_(1e-6)
    assert save_checkpoint(path, module, small_header(module)).model_sha256 != base


@pytest.mark.parametrize("config", [small_config(), published_config(), DecisionRule()])
def test_configs_survive_json(config: Any) -> None:
    text = canonical_json(to_mapping(config))
    assert from_mapping(type(config), json.loads(text)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden": 3}, "no key 'hiden'"),
        ({"bag_padding": 57.0}, "bag_padding is 57.0; it must be int"),
        ({"bag_padding": True}, "bag_padding"),
        ({"bag_padding": "57"}, "bag_padding"),
        ({"input_size": [32]}, "input_size has 1 values"),
        ({"input_size": 32}, "must be a list"),
        ({"head": {"activation": "gelu"}}, "head.activation is 'gelu'"),
        ({"head": None}, "must be a table"),
        ({"attention": {"hidden": 0}}, "hidden must be positive"),
        ({"head": {"hidden": -1}}, "hidden must not be negative"),
        ({"head": {"dropout": 1.0}}, "dropout"),
        ({"input_size": [4, 4]}, "too small"),
        ({"bag_padding": -1}, "negative"),
    ],
)
def test_configs_refuse_what_they_do_not_know(changes: dict[str, Any], message: str) -> None:
    mapping = to_mapping(small_config())
    with pytest.raises(ValueError, match=message):
        from_mapping(ModelConfig, mapping | changes)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "1" + "0" * 400], ids=len)
@pytest.mark.parametrize("key", ["slice_threshold", "temperature"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, key: str, value: str) -> None:
    path = save_small(tmp_path / "m.safetensors")
    document, tensors = _document(path)
    document["header"]["rule"][key] = 123.5
    _rewrite(path, json.dumps(document).replace("123.5", value), tensors)
    with pytest.raises(CheckpointError, match=key):
        read_header(path)


def test_a_newer_format_is_named_as_such_even_where_its_header_is_unknown(tmp_path: Path) -> None:
    path = save_small(tmp_path / "m.safetensors")
    _edit(path, "header", value={"something": "else"})
    _edit(path, "format_version", value=FORMAT_VERSION + 1)
    with pytest.raises(CheckpointVersionError, match=r"format 2; .* up to 1\. Update"):
        read_header(path)


@pytest.mark.parametrize(
    "keys",
    [("header", "surprise"), ("header", "rule", "surprise"), ("header", "model", "surprise")],
)
def test_unknown_keys_of_the_header_are_refused(tmp_path: Path, keys: tuple[str, ...]) -> None:
    path = save_small(tmp_path / "m.safetensors")
    _edit(path, *keys, value=1)
    with pytest.raises(CheckpointError, match="surprise"):
        read_header(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"format_version": "1"}', '{"format_version": 0}', "{" * 9, "["],
)
def test_safetensors_of_another_program_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.safetensors"
    _rewrite(path, text, {"a": np.zeros(2, np.float32)})
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        read_header(path)
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(2, np.float32)}))
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        read_header(path)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_never_loaded(
    tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.safetensors"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(_Trap()))
    else:
        torch.save({"a": _Trap()}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        load_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kept", [0, 7, 8, 200, 0.5, 0.999])
def test_a_cut_off_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    path = save_small(tmp_path / "m.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_checkpoint(path)


def test_one_flipped_bit_in_the_weights_is_found(tmp_path: Path) -> None:
    path = save_small(tmp_path / "m.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged or was altered"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("rule", "scan_threshold"), 0.1),
        (("preprocess", "windows"), [{"level_hu": 1, "width_hu": 2}] * 3),
        (("model", "bag_padding"), 5),
    ],
)
def test_an_altered_rule_or_window_is_found(
    tmp_path: Path, keys: tuple[str, ...], value: Any
) -> None:
    path = save_small(tmp_path / "m.safetensors")
    _edit(path, "header", *keys, value=value)
    with pytest.raises(CheckpointError, match="damaged or was altered"):
        load_checkpoint(path)


@pytest.mark.parametrize("change", ["lacks", "has more", "other shape"])
def test_weights_of_another_network_are_refused(tmp_path: Path, change: str) -> None:
    module = small_network()
    tensors = {name: t.numpy() for name, t in module.state_dict().items()}
    if change == "lacks":
        del tensors["head.output.bias"]
    elif change == "has more":
        tensors["extra"] = np.zeros(3, np.float32)
    else:
        tensors["attention.weight.weight"] = np.zeros((1, 3), np.float32)
    path = tmp_path / "m.safetensors"
    write_checkpoint(path, small_header(module), tensors)
    with pytest.raises(CheckpointError, match="another network"):
        load_checkpoint(path)


def test_configs_that_do_not_fit_each_other_are_refused() -> None:
    module = small_network()
    with pytest.raises(ValueError, match="windows do not fit"):
        small_header(
            module,
            preprocess=PreprocessConfig(size=(32, 32), windows=(Window(level_hu=1, width_hu=1),)),
        )
    with pytest.raises(ValueError, match="do not fit a network"):
        small_header(module, preprocess=PreprocessConfig(size=(32, 33)))
    assert isinstance(small_header(module), CheckpointHeader)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("older", [False, True])
def test_a_full_disk_leaves_the_older_file_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, older: bool
) -> None:
    path = tmp_path / "m.safetensors"
    before = save_small(path, seed=1).read_bytes() if older else None

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(WriteError, match=r"m\.safetensors could not .* free some space"):
        save_small(path, seed=2)
    assert [p.name for p in tmp_path.iterdir()] == (["m.safetensors"] if older else [])
    assert not older or path.read_bytes() == before


def test_an_interruption_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "out.csv") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_named_and_devices_are_not_replaced(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("absent/out.csv", "folder", "pipe"):
        with pytest.raises(WriteError, match=name), replacing(tmp_path / name) as stream:
            stream.write(b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_models_are_found_by_file_then_among_the_users_own(tmp_path: Path) -> None:
    mine = save_small(model_path_for("mine"))
    elsewhere = save_small(tmp_path / "elsewhere.safetensors")
    assert resolve_model("mine") == mine
    assert resolve_model(str(elsewhere)) == elsewhere
    mine.with_name("broken.safetensors").write_bytes(b"no")
    listed = {model.name: model for model in installed_models()}
    assert listed["mine"].header is not None
    assert listed["broken"].header is None
    assert "not a checkpoint" in listed["broken"].problem
    with pytest.raises(CheckpointError, match=r"no model or file 'absent'.*mine"):
        resolve_model("absent")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "é", "x" * 65, "a.safetensors"])
def test_names_that_no_file_can_carry_everywhere_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be a model's name"):
        model_path_for(name)


def test_what_a_killed_run_left_of_a_file_goes_with_the_next_write(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".a[1].csv.0123.part", tmp_path / ".a[1].csv.4567.part"
    other = tmp_path / ".b.csv.0123.part"
    for path in (old, fresh, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, 0))
    with replacing(tmp_path / "a[1].csv") as stream:
        stream.write(b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [fresh.name, other.name, "a[1].csv"]
