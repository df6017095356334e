"""Patch kernels of 14 and 16 pixels become each other."""

import pytest
import torch
import torch.nn.functional as F

from mae_bench.checkpoint.transfer import load_backbone
from mae_bench.models import VisionTransformer

ARCH = dict(embed_dim=16, depth=1, num_heads=2)


def vit(patch_size: int, patches: int = 3) -> VisionTransformer:
    return VisionTransformer(
        ARCH, img_size=patches * patch_size, patch_size=patch_size, output="tokens"
    ).eval()


def test_enlarged_patches_give_the_same_tokens(tmp_path):
    """The definition: what the old kernels see in a patch, the new ones see in it enlarged."""
    torch.manual_seed(0)
    old, new = vit(14), vit(16)
    path = tmp_path / "c.pth"
    torch.save(old.state_dict(), path)
    report = load_backbone(new, path)
    assert [(r.name, r.source[-1], r.target[-1]) for r in report.resized] == [
        ("patch_embed.proj.weight", 14, 16)
    ]
    assert report.share == 1.0
    patches = torch.randn(5, 3, 14, 14)
    enlarged = F.interpolate(patches, 16, mode="bicubic", antialias=True)
    expected = F.conv2d(patches, old.patch_embed.proj.weight)
    actual = F.conv2d(enlarged, new.patch_embed.proj.weight)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_shrunk_patches_of_a_smooth_picture_give_nearly_the_same_tokens():
    torch.manual_seed(0)
    old, new = vit(16), vit(14)
    load_backbone(new, old.state_dict())
    row = torch.linspace(-1, 1, 16)
    patch = torch.stack([row.expand(16, 16), row.expand(16, 16).T, row.outer(row)])[None]
    shrunk = F.interpolate(patch, 14, mode="bicubic", antialias=True)
    expected = F.conv2d(patch, old.patch_embed.proj.weight)
    actual = F.conv2d(shrunk, new.patch_embed.proj.weight)
    # Unlike enlarging, shrinking loses something.
    assert (actual - expected).norm() < 0.02 * expected.norm()


def test_patches_of_half_the_side_are_refused():
    with pytest.raises(ValueError, match="patch_size 16, model 8"):
        load_backbone(vit(8), vit(16).state_dict())
