"""Formats are told apart by their keys, and files that are not to be trusted are refused."""

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mae_bench.checkpoint.adapters import ADAPTERS, candidates
from mae_bench.checkpoint.adapters.adapter import rename
from mae_bench.checkpoint.adapters.writing import write_foreign_file
from mae_bench.checkpoint.format import CheckpointMetadata, save_checkpoint
from mae_bench.checkpoint.metadata import Unseen, describe
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import VisionTransformer
from mae_bench.models.position import sincos_position_table

BASE = dict(
    arch=dict(embed_dim=16, depth=2, num_heads=2), img_size=32, patch_size=8, output="tokens"
)
# With these names a file may be of each of them, and none converts a tensor differently.
SHARED_NAMES = {"timm", "deit", "dino_backbone", "official_mae"}


def backbone_tensors(**changes) -> dict[str, torch.Tensor]:
    """Of a backbone with positions that are nobody's table."""
    generator = torch.Generator().manual_seed(1)
    state = VisionTransformer(**{**BASE, **changes}).state_dict()
    return {
        name: 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in state.items()
    }


def is_beits(name: str) -> bool:
    """Whether a format has BEiT's attention, without a bias for keys."""
    return "beit" in name or name in ("simmim", "hf_data2vec")


def foreign_tensors(name: str) -> dict[str, torch.Tensor]:
    """What identifies a format, made with its own export."""
    tensors = backbone_tensors()
    if name == "hf_deit":  # which cannot be written
        foreign = ADAPTERS["hf_vit"].from_ours(tensors, 2).tensors
        foreign = {key.replace("vit.", "deit."): value for key, value in foreign.items()}
        table = torch.cat([tensors["pos_embed"][:, :1], tensors["pos_embed"]], dim=1)
        foreign["deit.embeddings.position_embeddings"] = table
        return foreign | {"deit.embeddings.distillation_token": torch.ones(1, 1, 16)}
    if "ijepa" in name:
        tensors = backbone_tensors(class_token=False)
    if "dinov2" in name:
        tensors = backbone_tensors(layer_scale_init=1.0, register_tokens=2)
    beits = is_beits(name)
    if beits or name == "mmseg_mae":
        tensors = backbone_tensors(rel_pos_bias="per_block")
    if beits:
        tensors["pos_embed"].zero_()
        for key in tensors:
            if key.endswith("qkv.bias"):
                tensors[key][16:32] = 0
    if name == "mmpretrain_beit":
        tensors["fc_norm.weight"] = tensors.pop("norm.weight")
        tensors["fc_norm.bias"] = tensors.pop("norm.bias")
    if name == "mmseg_beit":
        del tensors["norm.weight"], tensors["norm.bias"]
    if name == "mmdet_vitdet":
        tensors = {key: value for key, value in tensors.items() if "norm." not in key}
        del tensors["cls_token"]
        tensors["neck.levels.0.0.weight"] = torch.ones(16, 8, 2, 2)
    if name in ("official_mae", "hf_vit_mae", "mmpretrain_mae"):
        tensors["decoder.embed.weight"] = torch.ones(8, 16)
    if name == "mmpretrain_moco_v3":
        foreign = ADAPTERS[name].from_ours(tensors, 2).tensors
        return {**foreign, "momentum_encoder.module.0.cls_token": torch.ones(1, 1, 16)}
    foreign = ADAPTERS[name].from_ours(tensors, 2).tensors
    extra = {
        "dinov2_teacher": "teacher.backbone.mask_token",
        "simmim": "encoder.mask_token",
        "ijepa": "encoder.patch_embed.proj.weight",
    }
    return foreign | ({extra[name]: torch.ones(1, 16)} if name in extra else {})


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - SHARED_NAMES | {"official_mae"}))
def test_each_format_is_told_from_all_others(name):
    assert formats(foreign_tensors(name)) == [name]


@pytest.mark.parametrize("head", [False, True])
def test_names_that_many_share_are_timms_and_prove_nothing(tmp_path, head):
    path = tmp_path / "c.pth"
    tensors = backbone_tensors()
    if head:
        tensors |= {"head.weight": torch.ones(5, 16), "head.bias": torch.ones(5)}
    torch.save({"model": tensors}, path)
    read = read_checkpoint(path)
    assert read.facts == dict(method="unknown", data=None, epochs=None, format="timm")
    assert read.statistics is None  # DeiT's are ImageNet's, AugReg's 0.5
    assert load_backbone(VisionTransformer(**BASE), path).share == 1.0
    asked = read_checkpoint(path, adapter=ADAPTERS["deit"])
    assert asked.facts["method"] == "as DeiT (guessed from names)"


def test_mae_is_known_by_its_positions_where_names_say_nothing():
    tensors = backbone_tensors()
    table = sincos_position_table(16, (4, 4))
    tensors["pos_embed"] = torch.cat([torch.zeros(1, 1, 16), table], dim=1)
    assert formats(tensors) == ["official_mae"]
    # MoCo v3's table has the halves swapped: the same values, another order.
    swapped = torch.cat([table[..., 8:], table[..., :8]], dim=2)
    tensors["pos_embed"][:, 1:] = swapped
    assert formats(tensors) == ["timm"]


def test_unknown_format_says_what_was_seen(tmp_path):
    path = tmp_path / "c.pth"
    torch.save({"stem.0.weight": torch.ones(1)}, path)
    message = r"c\.pth: unknown format: 1 tensors, such as stem\.\*; known are official_mae, .*"
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path).describe(Unseen())


@pytest.mark.parametrize(
    "name, extra",
    [
        ("timm", "norm_pre.weight"),
        ("deit", "blocks.0.attn.gate"),
        ("moco_v3", "module.base_encoder.patch_embed.proj.0.weight"),
        ("hf_vit", "vit.encoder.layer.0.lambda_1"),
        ("jax_vit", "Transformer/encoderblock_0/Adapter_0/kernel"),
    ],
)
def test_a_tensor_the_format_does_not_know_is_never_dropped_in_silence(tmp_path, name, extra):
    tensors = foreign_tensors(name) | {extra: torch.ones(2)}
    with pytest.raises(ValueError, match=f"{name} has no {extra}"):
        ADAPTERS[name].to_ours(tensors)


def test_what_the_other_side_cannot_hold_is_refused():
    tables = backbone_tensors(rel_pos_bias="per_block")
    with pytest.raises(ValueError, match="timm has no place for blocks.0.attn.rel_pos_bias"):
        ADAPTERS["timm"].from_ours(tables)
    with pytest.raises(ValueError, match="pos_embed is not zero"):
        ADAPTERS["beit"].from_ours(tables)
    tables["pos_embed"].zero_()
    with pytest.raises(ValueError, match="blocks.0.attn.qkv.bias has a bias for keys"):
        ADAPTERS["beit"].from_ours(tables)
    with pytest.raises(ValueError, match="hf_vit cannot do without cls_token"):
        ADAPTERS["hf_vit"].from_ours(backbone_tensors(class_token=False, output="mean"))
    for name in ("ijepa", "hf_ijepa"):
        with pytest.raises(ValueError, match="a class token, which the format has no place for"):
            ADAPTERS[name].from_ours(backbone_tensors())
    with pytest.raises(ValueError, match="axis for the heads"):
        ADAPTERS["jax_vit"].from_ours(backbone_tensors())


def test_decoder_and_heads_without_a_place_are_named():
    tensors = backbone_tensors() | {"decoder.norm.bias": torch.ones(8), "neck.x": torch.ones(1)}
    exported = ADAPTERS["hf_vit"].from_ours(tensors)
    assert exported.dropped == ["decoder.norm.bias", "neck.x"]


def test_two_tensors_for_one_name_are_refused():
    tensors = {"a.x": torch.ones(1), "b.x": torch.ones(1)}
    with pytest.raises(ValueError, match="two tensors would be c.x"):
        rename(tensors, [("a.*", "c.*"), ("b.*", "c.*")])


def formats(tensors: dict) -> list[str]:
    return [adapter.name for adapter in candidates(tensors)]


def metadata_of(name: str, tensors: dict, **unseen) -> CheckpointMetadata:
    return describe(ADAPTERS[name], ADAPTERS[name].to_ours(tensors), Unseen(**unseen))


def vit(width: int, heads: int, **changes) -> dict[str, torch.Tensor]:
    arch = dict(embed_dim=width, depth=12, num_heads=heads)
    return dict(VisionTransformer(**{**BASE, "arch": arch, **changes}).state_dict())


def test_metadata_is_read_from_the_tensors():
    found = metadata_of("official_mae", vit(192, 3, img_size=48))
    assert found.architecture == dict(
        arch="tiny", img_size=48, patch_size=8, in_channels=3, class_token=True
    )
    assert (found.img_size, found.patch_size, found.method) == (
        48,
        8,
        "as MAE (guessed from names)",
    )
    assert (found.data, found.epochs, found.source) == ("unknown", None, None)
    # ImageNet's statistics, in torchvision's numbers.
    assert found.mean == pytest.approx([255 * v for v in (0.485, 0.456, 0.406)])
    assert found.std == pytest.approx([255 * v for v in (0.229, 0.224, 0.225)])


def test_moco_v3_small_has_twelve_heads():
    """As official vits.py builds it; DeiT's has 6, and nothing in the tensors tells."""
    tensors = vit(384, 12)
    foreign = ADAPTERS["moco_v3"].from_ours(tensors).tensors
    assert metadata_of("moco_v3", foreign).architecture["arch"]["num_heads"] == 12
    assert metadata_of("deit", tensors).architecture["arch"] == "small"


def test_another_number_of_heads_is_refused_when_a_task_loads(tmp_path):
    path = tmp_path / "c.pth"
    foreign = ADAPTERS["moco_v3"].from_ours(vit(384, 12)).tensors
    torch.save({"state_dict": foreign}, path)
    with pytest.raises(ValueError, match="num_heads 12, model 6"):
        load_backbone(VisionTransformer(**{**BASE, "arch": "small"}), path)


def test_what_does_not_show_has_to_be_said():
    tensors = backbone_tensors()
    with pytest.raises(ValueError, match="width 16 is none of our sizes: give --num-heads"):
        metadata_of("deit", tensors)
    with pytest.raises(ValueError, match="timm differ in their input mean and std.*imagenet or"):
        metadata_of("timm", tensors, num_heads=2)
    found = metadata_of("timm", tensors, num_heads=2, normalization="half", method="clip")
    assert found.mean == found.std == [127.5] * 3
    assert found.method == "clip"
    oblong = backbone_tensors(img_size=(16, 24))
    with pytest.raises(ValueError, match="no square grid: give --img-size"):
        metadata_of("deit", oblong, num_heads=2)
    assert metadata_of("deit", oblong, num_heads=2, img_size=(16, 24)).grid == (2, 3)


def test_heads_of_jax_and_beit_show_in_shapes():
    jax = foreign_tensors("jax_vit")
    assert metadata_of("jax_vit", jax).architecture["arch"]["num_heads"] == 2
    beit = metadata_of("beit", foreign_tensors("beit"), normalization="imagenet")
    assert beit.architecture["arch"]["num_heads"] == 2
    assert beit.architecture["rel_pos_bias"] == "per_block"


class Evil:
    """Makes a folder when a careless reader rebuilds it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("where", ["beside", "in a namespace", "as a tensor"])
def test_code_in_a_pickle_is_named_and_not_run(tmp_path, where):
    mark = tmp_path / "executed"
    evil = Evil(mark)
    content = {"model": backbone_tensors()}
    if where == "beside":
        content["extra"] = evil
    elif where == "in a namespace":
        content["args"] = argparse.Namespace(output_dir=evil)
    else:
        content["model"]["cls_token"] = evil
    path = tmp_path / "c.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"c\.pth: holds more than tensors \((posix|nt)\.mk"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the bait is live
    assert mark.exists()


def test_arguments_of_a_training_script_are_allowed_and_dropped(tmp_path):
    path = tmp_path / "c.pth"
    args = argparse.Namespace(lr=1e-3, betas=(0.9, 0.95), nested=argparse.Namespace(x=None))
    content = {"model": OrderedDict(backbone_tensors()), "optimizer": {"state": {}}, "args": args}
    torch.save(content, path)
    assert set(read_checkpoint(path).stored) == set(backbone_tensors())
    assert load_backbone(VisionTransformer(**BASE), path).share == 1.0
    # The allowance ends with the read.
    with pytest.raises(Exception, match="Namespace"):
        torch.load(path, weights_only=True)


def test_objects_in_npz_are_refused(tmp_path):
    path = tmp_path / "c.npz"
    mark = tmp_path / "executed"
    np.savez(path, cls=np.array([Evil(mark)], dtype=object))
    with pytest.raises(ValueError, match=r"c\.npz: holds more than arrays of numbers"):
        read_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_of_arrays_as_detectron2_publishes(tmp_path, protocol):
    path = tmp_path / "model_final.pkl"
    tensors = foreign_tensors("detectron2_vitdet")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    key = "backbone.net.blocks.0.mlp.fc1.weight"
    arrays[key] = np.asfortranarray(arrays[key]).astype(">f4")
    content = {"model": arrays, "__author__": "third_party", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content, protocol))
    read = read_checkpoint(path).stored
    assert set(read) == set(tensors)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert formats(read) == ["detectron2_vitdet"]


def test_pickle_of_anything_else_is_named_and_not_run(tmp_path):
    path, mark = tmp_path / "c.pkl", tmp_path / "executed"
    path.write_bytes(pickle.dumps({"model": {"a": np.ones(2)}, "x": Evil(mark)}))
    with pytest.raises(ValueError, match=r"c\.pkl: holds more than arrays \((posix|nt)\.mkdir\)"):
        read_checkpoint(path)
    assert not mark.exists()
    path.write_bytes(pickle.dumps({"a": np.array(["x", None], dtype=object)}))
    with pytest.raises(ValueError, match=r"c\.pkl: "):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"a": np.ones(2)})[:-9])
    with pytest.raises(ValueError, match=r"c\.pkl: truncated"):
        read_checkpoint(path)


def test_damaged_npz_and_nan_are_refused(tmp_path):
    path = tmp_path / "c.npz"
    adapter = ADAPTERS["jax_vit"]
    tensors = foreign_tensors("jax_vit")
    write_foreign_file(path, tensors, adapter)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"c\.npz: truncated"):
        read_checkpoint(path)
    tensors["cls"][0, 0, 0] = float("nan")
    write_foreign_file(path, tensors, adapter)
    with pytest.raises(ValueError, match="tensor cls holds NaN"):
        read_checkpoint(path)


def test_files_are_written_whole_and_by_their_suffix(tmp_path):
    tensors = foreign_tensors("hf_vit")
    path = tmp_path / "model.safetensors"
    write_foreign_file(path, tensors, ADAPTERS["hf_vit"])
    assert set(load_file(path)) == set(tensors)
    with pytest.raises(ValueError, match=r"a file of hf_vit ends in \.safetensors or \.pth"):
        write_foreign_file(tmp_path / "c.npz", tensors, ADAPTERS["hf_vit"])
    with pytest.raises(ValueError, match=r"a file of jax_vit ends in \.npz"):
        write_foreign_file(path, tensors, ADAPTERS["jax_vit"])
    teacher = tmp_path / "c.pth"
    write_foreign_file(teacher, foreign_tensors("dino"), ADAPTERS["dino"])
    assert "backbone.cls_token" in torch.load(teacher, weights_only=True)["teacher"]
    assert sorted(os.listdir(tmp_path)) == ["c.pth", "model.safetensors"]


def test_our_own_format_is_read_as_before(tmp_path):
    path = tmp_path / "c.safetensors"
    metadata = metadata_of("deit", backbone_tensors(), num_heads=2)
    save_checkpoint(path, backbone_tensors(), metadata)
    read = read_checkpoint(path)
    assert read.stated == read.metadata == metadata and read.imported.dropped == {}
    assert set(read.imported.tensors) == set(backbone_tensors())


def test_report_names_what_the_adapter_left_out(tmp_path):
    path = tmp_path / "c.pth"
    foreign = foreign_tensors("moco_v3") | {"module.predictor.0.weight": torch.ones(2)}
    torch.save({"state_dict": foreign}, path)
    report = load_backbone(VisionTransformer(**BASE), path)
    assert report.dropped == ["module.predictor.0.weight"]
    values = sum(tensor.numel() for tensor in foreign.values())
    assert report.shares["dropped"] == pytest.approx(2 / values)


@pytest.mark.parametrize("name", ["hf_vit", "jax_vit"])
def test_positions_of_a_foreign_file_are_resized(tmp_path, name):
    path = tmp_path / ("c.npz" if name == "jax_vit" else "c.safetensors")
    write_foreign_file(path, foreign_tensors(name), ADAPTERS[name])
    report = load_backbone(VisionTransformer(**{**BASE, "img_size": 48}), path)
    assert [r.name for r in report.resized] == ["pos_embed"]
