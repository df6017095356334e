"""Where in a file the model is: entries, prefixes, averages, and what lies beside it."""

import argparse
import datetime
import decimal
import uuid
from collections import defaultdict, deque
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import VisionTransformer

from .test_adapters_files import BASE, backbone_tensors, foreign_tensors

OTHERS = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "epoch": 3}


def saved(path: Path, content) -> Path:
    torch.save(content, path)
    return path


def prefixed(prefix: str, tensors: dict) -> dict:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def check_loads(path: Path, tensors: dict, **options) -> list[str]:
    """The file fills a backbone with these tensors; returns the notes of the report."""
    backbone = VisionTransformer(**BASE)
    report = load_backbone(backbone, read_checkpoint(path, **options))
    assert report.share == 1.0
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, tensors[name]), name
    return report.notes


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model.", "backbone."]
    + ["encoder.", "model.encoder.", "module.backbone.", "net.", "image_encoder.trunk."],
)
def test_prefixes_of_wrappers_are_found_and_named(tmp_path, prefix):
    tensors = backbone_tensors()
    head = {"criterion.weight": torch.ones(3)}
    notes = check_loads(saved(tmp_path / "c.pth", prefixed(prefix, tensors) | head), tensors)
    # What ends in "backbone." is a whole model, which has that name for it.
    wrapper = prefix.removesuffix("backbone.")
    assert notes == ([f"read with --prefix {wrapper}"] if wrapper else [])


@pytest.mark.parametrize(
    "key",
    [
        "model",
        "state_dict",
        "net",
        "module",
        "model_state_dict",
        "weights",
        "ema",
        "model.state_dict",
    ]
    + ["checkpoint.model.weights"],
)
def test_entries_are_found_and_named(tmp_path, key):
    tensors = backbone_tensors()
    content = tensors
    for part in reversed(key.split(".")):
        content = {part: content, **OTHERS}
    notes = check_loads(saved(tmp_path / "c.pth", content), tensors)
    assert notes[0] == f"read with --key {key}"
    assert notes[1:] == (["took the average of the weights (EMA)"] if key == "ema" else [])


@pytest.mark.parametrize("name", ["hf_vit", "mmpretrain_vit", "mmseg_mae", "beit", "moco_v3"])
def test_every_format_is_found_behind_a_prefix(tmp_path, name):
    foreign = foreign_tensors(name)
    path = saved(tmp_path / "c.pth", {"state_dict": prefixed("_orig_mod.module.", foreign)})
    read = read_checkpoint(path)
    assert (read.format, set(read.stored)) == (name, set(foreign))


def test_average_beside_the_weights_is_named_and_taken_on_demand(tmp_path):
    plain, average = backbone_tensors(), backbone_tensors()
    average["cls_token"] = average["cls_token"] + 1
    content = {"model": plain, "model_ema": average, **OTHERS}
    path = saved(tmp_path / "c.pth", content)
    notes = check_loads(path, plain)
    assert notes == [
        "read with --key model",
        "has an average of the weights (EMA) too: --key model_ema",
    ]
    notes = check_loads(path, average, key="model_ema")
    assert notes == ["read with --key model_ema", "took the average of the weights (EMA)"]
    # Lightning: side by side in one entry.
    content = {"state_dict": prefixed("model.", plain) | prefixed("ema_model.", average)}
    path = saved(tmp_path / "c.pth", content)
    assert "has an average of the weights (EMA) too: --key state_dict --prefix ema_model." in (
        check_loads(path, plain)
    )
    check_loads(path, average, prefix="ema_model")
    # Names without dots, as of latent diffusion's average: not read, but said.
    flat = {f"model_ema.{name.replace('.', '')}": value for name, value in average.items()}
    path = saved(tmp_path / "c.pth", {"state_dict": prefixed("model.", plain) | flat})
    (note,) = [note for note in check_loads(path, plain) if "EMA" in note]
    assert note.startswith("left out an average of the weights (EMA) by its name: model_ema.")


@pytest.mark.parametrize(
    "wrapper", ["_orig_mod.", "_fsdp_wrapped_module._checkpoint_wrapped_module."]
)
def test_wrappers_of_single_blocks_are_taken_off(tmp_path, wrapper):
    tensors = backbone_tensors()
    wrapped = {name.replace("blocks.1.", f"blocks.1.{wrapper}"): v for name, v in tensors.items()}
    assert any(wrapper in name for name in wrapped)
    check_loads(saved(tmp_path / "c.pth", {"model": prefixed("module.", wrapped)}), tensors)


def test_several_models_are_not_guessed_between(tmp_path):
    tensors = backbone_tensors()
    path = saved(tmp_path / "c.pth", {"net_a": tensors, "net_b": tensors})
    with pytest.raises(ValueError, match=r"c\.pth: holds several models: take .* --key net_a or"):
        read_checkpoint(path)
    check_loads(path, tensors, key="net_b")
    with pytest.raises(ValueError, match="has no entry 'net_c' of tensors by name; has net_a"):
        read_checkpoint(path, key="net_c")
    path = saved(tmp_path / "c.pth", prefixed("online.", tensors) | prefixed("target.", tensors))
    with pytest.raises(ValueError, match=r"--prefix online\. or --prefix target\."):
        read_checkpoint(path)
    check_loads(path, tensors, prefix="target")
    with pytest.raises(ValueError, match="no name starts with 'other.': the first is online.c"):
        read_checkpoint(path, prefix="other")


def test_what_lies_beside_the_weights_is_dropped_by_type(tmp_path):
    tensors = backbone_tensors()
    settings = ConfigDict(lr=1e-3, data=dict(root=Path("/data")))
    content = {
        "model": defaultdict(dict, tensors),
        "args": argparse.Namespace(out=Path("x"), windows=PureWindowsPath("y"), started=None),
        "when": [datetime.datetime.now(), datetime.timedelta(1), datetime.timezone.utc],
        "numbers": {decimal.Decimal("1.5"), 3 + 4j},
        "numpy": [np.float64(1.5), np.arange(3), np.dtype("f4")],
        "history": defaultdict(list, loss=[0.1]),
        "more": [uuid.UUID(int=3), deque([1, 2]), settings, range(3), frozenset([1])],
    }
    check_loads(saved(tmp_path / "c.pth", content), tensors)
