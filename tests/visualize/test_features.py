"""Components against NumPy's SVD, attention against timm's layers written out, and the command."""

import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from torch import Tensor

import mae_bench
from mae_bench.checkpoint.format import CheckpointMetadata, save_checkpoint
from mae_bench.models.vit import VisionTransformer
from mae_bench.visualize.feature_model import load_feature_model
from mae_bench.visualize.features import (
    TAILS,
    class_attention,
    colour_maps,
    principal_components,
)

ROOT = Path(__file__).parents[2]
SIZE = dict(embed_dim=24, depth=3, num_heads=4)
ARCH = dict(arch=SIZE, img_size=32, patch_size=8)
MEAN, STD = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]


@pytest.mark.parametrize("seed", range(4))
def test_components_are_those_of_the_svd(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 9)) * np.arange(1, 10) + 5
    scores, shares = principal_components(torch.from_numpy(x))
    centred = x - x.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(vt[np.arange(3), np.abs(vt[:3]).argmax(axis=1)])
    assert scores.numpy() == pytest.approx((u * s)[:, :3] * signs, abs=1e-9)
    assert shares.numpy() == pytest.approx(s[:3] ** 2 / (s**2).sum())


def test_too_few_patches_are_refused():
    with pytest.raises(ValueError, match=r"3 principal components need more than \(2, 9\)"):
        principal_components(torch.ones(2, 9))


def test_colours_of_several_maps_share_one_scale():
    torch.manual_seed(0)
    maps = [torch.randn(5, 3, 4), torch.randn(5, 2, 6) + 1]
    colours, _ = colour_maps(maps)
    assert [one.shape for one in colours] == [(3, 4, 3), (2, 6, 3)]
    x = np.concatenate([one.flatten(1).T.numpy() for one in maps]).astype(np.float64)
    scores = principal_components(torch.from_numpy(x))[0].numpy()
    low, high = np.quantile(scores, [TAILS, 1 - TAILS], axis=0)
    expected = 255 * ((scores - low) / (high - low)).clip(0, 1)
    found = np.concatenate([one.reshape(-1, 3) for one in colours])
    assert np.abs(found - expected).max() <= 0.5 + 1e-6


def vit(randomise, **options) -> VisionTransformer:
    options = {**ARCH, "output": "mean", **options}
    return randomise(VisionTransformer(**options)).eval()


def test_attention_of_the_class_token_written_out(randomise):
    """timm's model runs up to the last block; its queries and keys are multiplied here."""
    ours = vit(randomise)
    theirs = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=4, num_classes=0,
        global_pool="avg",
    )  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    seen: list[Tensor] = []
    theirs.eval().blocks[-1].norm1.register_forward_hook(lambda *given: seen.append(given[-1]))
    with torch.no_grad():
        theirs(images)
    layer = ours.blocks[-1].attn.qkv
    qkv = seen[0].numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    found = class_attention(ours, images).numpy()
    assert found.shape == (2, 4, 4, 4)
    for image in range(2):
        for head in range(4):
            q, k = (qkv[image, :, 24 * part + 6 * head :][:, :6] for part in (0, 1))
            weights = np.exp(k @ q[0] / np.sqrt(6))
            weights /= weights.sum()
            assert found[image, head].ravel() == pytest.approx(weights[1:], rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [dict(rel_pos_bias="per_block"), dict(rel_pos_bias="shared"), dict(register_tokens=2)],
    ids=str,
)
def test_attention_is_what_the_block_uses(randomise, options):
    """Weights times values, through the projection, are the layer's output for the class token."""
    ours = vit(randomise, **options)
    images = torch.randn(1, 3, 32, 32)
    seen: list[tuple[Tensor, Tensor]] = []
    attention = ours.blocks[-1].attn
    attention.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
    found = class_attention(ours, images).flatten(2)  # (1, heads, 16)
    tokens, made = seen[0]
    values = attention.qkv(tokens)[..., 48:].reshape(1, -1, 4, 6).transpose(1, 2)
    prefix = ours.num_prefix_tokens
    from_patches = (found[:, :, None] @ values[:, :, prefix:])[:, :, 0]
    # what the class token takes from the tokens before the patches is the rest
    rest = 1 - found.sum(dim=-1)
    if prefix == 1:
        mixed = (from_patches + rest[..., None] * values[:, :, 0]).flatten(1)
        assert torch.allclose(attention.proj(mixed), made[:, 0], atol=1e-4)
    assert ((rest > 0) & (rest < 1)).all() and (found > 0).all()


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    def run_tool(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["show_features.py", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools/show_features.py"), run_name="__main__")
        output = capfd.readouterr()
        return ended.value.code, output.out + output.err

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (50, 70)), ("b.png", (40, 40))):
        cv2.imwrite(name, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return run_tool


def save(model: VisionTransformer, path: str) -> str:
    metadata = CheckpointMetadata(ARCH, 32, 8, MEAN, STD, "mae", "noise")
    save_checkpoint(path, model.state_dict(), metadata)
    return path


def test_command_with_a_checkpoint(run, randomise):
    checkpoint = save(vit(randomise), "vit.safetensors")
    code, output = run(checkpoint, "a.png", "b.png", "--out", "out")
    assert code == 0, output
    page = Path("out/features.html").read_text()
    headings = re.findall("<th>([^<]+)</th>", page)
    assert headings == ["image", "components", "attention, mean", "head 1", "head 2",
                        "head 3", "head 4"]  # fmt: skip
    assert page.count("<img ") == 14 and not re.findall(r"(?:href|src)=\"(?!data:)", page)
    assert cv2.imread("out/features.png").shape[1] == 7 * (160 + 4)  # 32 x 40 pixels, fourfold


def test_the_map_is_the_last_blocks_of_the_normalised_image(run, randomise):
    """Also: ``load_backbone`` gives the last map where none is chosen."""
    model = vit(randomise)
    found = load_feature_model(save(model, "vit.safetensors"))
    image = found.fit(cv2.imread("b.png")[..., ::-1])
    features, attention = found.look(image)
    assert features.shape == (24, 4, 4) and attention.shape == (4, 4, 4)
    inputs = torch.from_numpy((image - np.array(MEAN)) / np.array(STD)).permute(2, 0, 1)[None]
    (tokens,) = vit(randomise, output="maps", out_indices=(2,))(inputs.float())
    assert torch.allclose(features, tokens[0], atol=1e-5)
    (mapped,) = mae_bench.load_backbone("vit.safetensors", output="maps")(inputs.float())
    assert torch.equal(mapped, tokens)


@pytest.mark.parametrize(
    "kind",
    [
        ["type=mae_bench.TimmBackbone", "name=resnet18"],
        ["type=mae_bench.TimmBackbone", "name=vit_tiny_patch16_224"],
        ["type=mmpretrain.VisionTransformer", "arch=deit-t"],
    ],
    ids=["hierarchical", "plain", "host"],
)
def test_any_backbone_of_a_config(run, kind):
    config = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
    options = [f"model.backbone.{option}" for option in kind]
    code, output = run(
        config, "a.png", "b.png", "--out", "out", "--size", 96, "--cfg-options", *options
    )
    assert code == 0, output
    page = Path("out/features.html").read_text()
    assert page.count("<img ") == 4 and "attention" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.safetensors", "a.png"], "no.safetensors: no such"),
        (["vit.safetensors", "no.png"], "no.png: no such file or folder"),
        (["vit.safetensors", "a.png", "--checkpoint", "x"], "vit.safetensors: is no config (.py)"),
        (["vit.safetensors", "vit.safetensors"], "vit.safetensors: cannot be decoded"),
    ],
)
def test_what_people_get_wrong(run, randomise, arguments, message):
    save(vit(randomise), "vit.safetensors")
    code, output = run(*arguments, "--out", "out")
    assert code == 2 and message in output
    assert not Path("out").exists()
