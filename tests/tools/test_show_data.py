"""What is shown is what a run trains on: the same pixels, labels and masks."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmpretrain.models import ImageClassifier
from mmseg.structures import SegDataSample

from mae_bench.config.load import load_config
from mae_bench.models import MAE
from mae_bench.training import launch
from mae_bench.training.first_batches import FirstBatches
from mae_bench.visualize.regions import MARGIN
from mae_bench.visualize.samples import VOID_GREYS, Sample, draw_sample

from .conftest import FEW_LABELS, ROOT, SHRINK

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
PRETRAIN = "configs/pretrain/mae_vit_mini_miniworld.py"
FINETUNE = "configs/cls/vit_mini_finetune_miniworld.py"
DETECT = "configs/det/mask_rcnn_vit_mini_miniworld.py"
NO_CARD = "default_hooks.run_card=None"  # it runs the model once more
MIX = "mae_bench.openmmlab.batch_augment.EraseAndMix"
SEGMENT = "configs/seg/upernet_vit_mini_miniworld.py"


def options(words: list[str]) -> dict[str, Any]:
    from mae_bench.config.overrides import read_options

    return read_options(words)


def given(config: str, overrides: dict[str, Any], split: str = "train", number: int = 8):
    cfg = load_config(ROOT / config, overrides)
    init_default_scope(cfg.default_scope)
    batches = FirstBatches(cfg, MODELS.build(cfg.model), split)
    return batches, batches.take(number)


def train(config: str, overrides: dict[str, Any], folder: Path) -> None:
    cfg = load_config(ROOT / config, overrides)
    cfg.update(work_dir=str(folder / "run"), launcher="none", config_sha256="", cells=[])
    launch.run(cfg)


def pixels_of(inputs: torch.Tensor) -> np.ndarray:
    """Normalised images as bytes, by the statistics in the config."""
    pixels = inputs.double().permute(0, 2, 3, 1).numpy() * STD + MEAN
    return pixels.clip(0, 255)


@pytest.mark.parametrize("whole", [True, False], ids=["whole batch", "in parts"])
def test_mixed_images_and_labels_are_those_of_the_run(workplace, monkeypatch, whole):
    overrides = options([*SHRINK, *FEW_LABELS, NO_CARD, "total_batch_size=4"])
    overrides |= {
        "train_dataloader.batch_size": 4 if whole else 2,
        "model.train_cfg": dict(augments=dict(type=MIX, erase_prob=0.5, mixup=0.8, cutmix=1.0)),
        "model.data_preprocessor.num_classes": 10,
    }
    seen: list[tuple[np.ndarray, list[float]]] = []
    loss = ImageClassifier.loss

    def recorded(self, inputs, data_samples):
        for image, sample in zip(pixels_of(inputs), data_samples, strict=True):
            seen.append((image, sample.gt_score.tolist()))
        return loss(self, inputs, data_samples)

    monkeypatch.setattr(ImageClassifier, "loss", recorded)
    train(FINETUNE, overrides, workplace)
    batches, samples = given(FINETUNE, overrides)
    assert batches.steps == 2 and len(samples) == len(seen) == 8
    for sample, (image, scores) in zip(samples, seen, strict=True):
        assert np.abs(sample.image - image).max() <= 0.5 + 1e-3
        assert sample.annotated.gt_score.tolist() == scores
        shares = [f"{100 * share:.0f}%" for share in sorted(scores) if 0 < share < 1]
        assert sorted(re.findall(r"\d+%", draw_sample(sample, batches.meta).caption)) == shares
    assert any(0 < share < 1 for _, scores in seen for share in scores)


def test_masks_are_those_of_the_run(workplace, monkeypatch):
    words = ["train_cfg.max_epochs=1", "param_scheduler=[]", "total_batch_size=4"]
    words += ["train_dataloader.batch_size=4", "train_dataloader.dataset.indices=8"]
    words += ["custom_hooks=[]", "model.mask_ratio=0.5", NO_CARD]
    seen: list[np.ndarray] = []
    encode = MAE.encode

    def recorded(self, patches, masking, grid):
        mask = masking.as_mask().reshape(len(patches), *grid).bool().numpy()
        seen.extend(mask.repeat(4, axis=1).repeat(4, axis=2))  # patches of 4 pixels
        return encode(self, patches, masking, grid)

    monkeypatch.setattr(MAE, "encode", recorded)
    train(PRETRAIN, options(words), workplace)
    _, samples = given(PRETRAIN, options(words))
    assert np.array_equal([sample.hidden for sample in samples], seen)
    assert {sample.hidden.mean() for sample in samples} == {0.5}
    picture = draw_sample(samples[0], {"classes": ()})
    assert picture.caption.endswith(": 50 % hidden")
    (masked,) = [picture.image[MARGIN:-MARGIN, -MARGIN - 192 : -MARGIN]]  # enlarged sixfold
    assert np.array_equal((masked == 128).all(axis=2)[::6, ::6], samples[0].hidden)


def test_boxes_and_masks_of_an_evaluation_follow_the_resized_image(workplace):
    once, twice = (
        given(DETECT, {"val_dataloader.dataset.pipeline.1.scale": (side, side)}, "val", 3)[1]
        for side in (32, 64)
    )
    for small, large in zip(once, twice, strict=True):
        assert large.image.shape == (64, 64, 3) and small.image.shape == (32, 32, 3)
        boxes = [sample.annotated.gt_instances.bboxes for sample in (small, large)]
        boxes = [getattr(found, "tensor", found) for found in boxes]
        assert len(boxes[0]) and torch.equal(2 * boxes[0], boxes[1])
        assert large.annotated.gt_instances.masks.masks.shape[1:] == (64, 64)


def test_labels_of_pixels_in_the_palette_and_void_in_chequers():
    labels = torch.tensor([[[0, 1], [1, 255]]])
    annotated = SegDataSample(gt_sem_seg=PixelData(data=labels))
    meta = dict(classes=("sky", "sea"), palette=[[10, 20, 30], [40, 50, 60]])
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    drawn, caption = draw_sample(Sample(image, annotated, name="a.png"), meta)
    assert caption == "a.png: sky, sea, void, left out of the loss"
    left, right = np.split(drawn, [2 * MARGIN + 192], axis=1)
    corners = [(MARGIN + 96 * row, MARGIN + 96 * column) for row in (0, 1) for column in (0, 1)]
    assert [left[corner].tolist() for corner in corners] == image.reshape(4, 3).tolist()
    void = [VOID_GREYS[0]] * 3
    expected = [[10, 20, 30], [40, 50, 60], [40, 50, 60], void]
    assert [right[corner].tolist() for corner in corners] == expected


@pytest.mark.parametrize("config", [PRETRAIN, FINETUNE, DETECT, SEGMENT])
def test_command(run_tool, workplace, config):
    few = FEW_LABELS if config == FINETUNE else ["train_dataloader.dataset.indices=8"]
    arguments = [ROOT / config, "-n", "5", "--cfg-options", *few, "total_batch_size=4"]
    found = []
    for out in ("a", "b"):
        done = run_tool("show_data.py", *arguments, "--out", out)
        assert done.code == 0, done.stderr
        found.append([(workplace / out / f"train.{kind}").read_bytes() for kind in ("png", "html")])
    assert found[0] == found[1]  # seeded
    assert "5 of " in done.stdout and cv2.imread("a/train.png").shape[0] > 200
    page = found[0][1].decode()
    assert page.count("<img ") == 5 and "Learning rate, highest layer" in page
    assert ("lowest layer" in page) == (config != PRETRAIN)  # which decays no layers
    assert not re.findall(r"(?:href|src)=\"(?!data:|#)", page)


def test_robustness_sets_with_their_corruptions(run_tool, workplace):
    config = ROOT / "configs/cls/vit_mini_robustness_miniworld.py"
    done = run_tool("show_data.py", config, "--split", "test", "--out", "out", "-n", "9")
    assert done.code == 0, done.stderr
    page = Path("out/test.html").read_text()
    assert "imagenet_val: digit_" in page and "imagenet_c/" in page and "Learning rate" not in page


def test_a_split_that_is_not_there(run_tool):
    done = run_tool("show_data.py", ROOT / PRETRAIN, "--split", "val")
    assert done.code == 2 and "has no val_dataloader; choose another --split" in done.stderr
    done = run_tool("show_data.py", ROOT / PRETRAIN, "-n", "0")
    assert done.code == 2 and "--number 0: it takes at least one sample" in done.stderr
