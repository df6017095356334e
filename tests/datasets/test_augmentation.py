"""RandAugment and crops beside timm's and mmpretrain's, with the same draws."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmpretrain.datasets.transforms import MAERandomResizedCrop
from PIL import Image
from timm.data import create_transform
from torchvision.io import write_png
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from mae_bench.datasets.augmentation import RandAugment, SingleDrawCrop

from ..recipes import load_recipe


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(3, height, width) uint8: smooth blobs, so that resizing has something to do."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 11, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (fine[0].clamp(0, 1) * 255).to(torch.uint8)


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def test_rand_augment_is_that_of_timm():
    # What timm's training transform does after crop and flip.
    _, theirs, _ = create_transform(
        224,
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        color_jitter=None,
        separate=True,
    )
    ours = RandAugment("rand-m9-mstd0.5-inc1")
    image, changed = picture(64, 80), 0
    for number in range(25):
        seed(number)
        try:
            expected = pil_to_tensor(theirs(to_pil_image(image)))
        except ValueError:  # see the next test
            continue
        seed(number)
        found = ours.transform(dict(img=image))["img"]
        assert torch.equal(found, expected), number
        changed += not torch.equal(found, image)
    assert 10 < changed < 25


def test_posterising_to_no_bits_is_black():
    """At magnitude 10 timm keeps 0 bits. Pillow's mask of them was 0; today it raises an error."""
    ours = RandAugment("rand-m10-mstd0-n1-p1.0-inc1")
    image = picture(32, 32).clamp(min=1)
    black = 0
    for number in range(60):
        seed(number)
        black += not ours.transform(dict(img=image))["img"].any()
    assert black > 0
    names = [operation.name for operation in ours.augment.ops]
    operation = ours.augment.ops[names.index("PosterizeIncreasing")]
    assert operation.aug_fn(to_pil_image(image), 8).getextrema() == (
        to_pil_image(image).getextrema()
    )
    kept = pil_to_tensor(operation.aug_fn(to_pil_image(image), 3))
    assert torch.equal(kept, image & 0b11100000)


def test_single_draw_crop_is_that_of_mmpretrain():
    options = dict(size=24, scale=(0.08, 1.0), interpolation=InterpolationMode.BICUBIC)
    ours, theirs = SingleDrawCrop(**options), MAERandomResizedCrop(**options)
    # Long and narrow: many draws do not fit and are cut, where torchvision draws again.
    for number, shape in enumerate([(50, 400), (400, 50), (120, 90)] * 5):
        image = picture(*shape)
        seed(number)
        top, left, height, width = theirs.get_params(
            to_pil_image(image), theirs.scale, theirs.ratio
        )
        seed(number)
        assert ours.make_params([image]) == dict(top=top, left=left, height=height, width=width)
        seed(number)
        expected = pil_to_tensor(theirs.forward(dict(img=to_pil_image(image)))["img"])
        seed(number)
        found = ours(dict(img=image, gt_label=3))
        assert found["gt_label"] == 3
        assert (found["img"].int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("config", "size", "crop_share"),
    [
        ("vit_base_finetune_in1k", 224, 224 / 256),
        ("vit_base_linear_in1k", 224, 224 / 256),
        ("vit_huge_448_finetune_in1k", 448, 1.0),
        ("vit_huge_448_finetune_table9_in1k", 448, 1.0),
        ("vit_huge_448_finetune_inat2018", 448, 1.0),
    ],
)
@pytest.mark.parametrize("shape", [(500, 375), (300, 640), (200, 210)])
def test_evaluation_crop_is_that_of_timm(config, size, crop_share, shape, tmp_path):
    """The official code: 224 of 256 pixels; above 224 no margin."""
    path = tmp_path / "image.png"
    write_png(picture(*shape), str(path))
    theirs = create_transform(
        size, interpolation="bicubic", crop_pct=crop_share, mean=(0, 0, 0), std=(1, 1, 1)
    )
    with Image.open(path) as image:
        expected = (theirs(image.convert("RGB")) * 255).round()
    pipeline = load_recipe(f"cls/{config}").val_dataloader.dataset.pipeline
    found = Compose(pipeline)(dict(img_path=str(path), gt_label=0))["inputs"]
    assert found.shape == expected.shape == (3, size, size)
    assert found.dtype == torch.uint8
    # Pillow and torchvision round the same interpolation in other places.
    difference = (found.float() - expected).abs()
    assert difference.max() <= 2 and difference.mean() < 0.3
