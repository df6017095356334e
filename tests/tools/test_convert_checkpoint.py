"""tools/convert_checkpoint.py, as people call it."""

import argparse
import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mae_bench.checkpoint.format import load_checkpoint
from mae_bench.models import VisionTransformer

ARCH = dict(embed_dim=16, depth=2, num_heads=2)


@pytest.fixture
def official(workplace) -> dict[str, torch.Tensor]:
    """A tiny file as MAE's code leaves it after pre-training, ``mae.pth``."""
    backbone = VisionTransformer(arch=ARCH, img_size=32, patch_size=8, output="tokens")
    tensors = dict(backbone.state_dict())
    tensors["decoder_embed.weight"] = torch.randn(8, 16)
    tensors["mask_token"] = torch.randn(1, 1, 8)
    args = argparse.Namespace(model="mae_vit", lr=1e-3)
    torch.save({"model": tensors, "optimizer": {"state": {}}, "args": args}, "mae.pth")
    return tensors


def check_refused(ended, *words: str) -> None:
    assert ended.code == 2
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), ended.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_official_file_to_ours_and_back(run_tool, official):
    ended = run_tool("convert_checkpoint.py", "mae.pth", "c.safetensors", "--num-heads", "2")
    assert ended.code == 0, ended.stderr
    assert "mae.pth (official_mae) -> c.safetensors (mae_bench)" in ended.stdout
    assert "dropped: nothing" in ended.stdout
    tensors, metadata = load_checkpoint("c.safetensors")
    assert torch.equal(tensors["decoder.mask_token"], official["mask_token"])
    assert metadata.architecture["arch"] == ARCH
    assert (metadata.method, metadata.img_size) == ("as MAE (guessed from names)", 32)
    assert metadata.source.converter == "official_mae"
    assert metadata.source.file_name == "mae.pth"
    assert metadata.source.sha256 == hashlib.sha256(Path("mae.pth").read_bytes()).hexdigest()

    ended = run_tool("convert_checkpoint.py", "c.safetensors", "back.pth", "--to", "official_mae")
    assert ended.code == 0, ended.stderr
    assert "not held by official_mae: input mean [123.675" in ended.stdout
    back = torch.load("back.pth", weights_only=True)["model"]
    assert set(back) == set(official)
    for name, tensor in official.items():
        assert torch.equal(back[name], tensor), name


def test_between_two_foreign_formats(run_tool, official):
    ended = run_tool("convert_checkpoint.py", "mae.pth", "hf.safetensors", "--to", "hf_vit")
    assert ended.code == 0, ended.stderr
    assert "dropped: decoder.embed (1), decoder.mask_token (1)" in ended.stdout
    key = load_file("hf.safetensors")["vit.encoder.layer.1.attention.attention.key.weight"]
    assert torch.equal(key, official["blocks.1.attn.qkv.weight"][16:32])


def test_mistakes_end_in_one_line_and_write_nothing(run_tool, official):
    def convert(*arguments: str):
        return run_tool("convert_checkpoint.py", *arguments)

    check_refused(convert("absent.pth", "c.safetensors"), "absent.pth", "no such checkpoint")
    check_refused(convert("mae.pth", "c.safetensors"), "mae.pth", "--num-heads")
    check_refused(convert("mae.pth", "c.safetensors", "--from", "mea"), "mea", "official_mae")
    check_refused(
        convert("mae.pth", "c.safetensors", "--from", "hf_vit"), "mae.pth", "hf_vit has no"
    )
    check_refused(convert("mae.pth", "mae.pth", "--to", "timm"), "same file")
    check_refused(convert("mae.pth", "c.npz", "--to", "timm"), "c.npz", ".safetensors")
    assert not list(Path().glob("c.*"))

    assert convert("mae.pth", "c.safetensors", "--num-heads", "2").code == 0
    check_refused(convert("c.safetensors", "d.safetensors"), "of our format already", "--to")
    check_refused(
        convert("c.safetensors", "d.pth", "--to", "timm", "--epochs", "3"), "these options"
    )
    assert not list(Path().glob("d.*"))
