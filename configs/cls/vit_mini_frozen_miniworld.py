"""k-NN of the frozen small ViT on MiniWorld, from features that are extracted once.

    tools/test.py configs/cls/vit_mini_frozen_miniworld.py CKPT

CKPT is any file that `--checkpoint` of tools/train.py takes; heads are left out. Without one the
weights are random. Reproduces no published number. Measures and features are those of ImageNet
(vit_base_frozen_in1k.py), in float32. Images are cut to the 32 pixels that the validation set has.
"""

from mmengine.config import read_base
from mmpretrain.datasets import CenterCrop, PackInputs
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier

from mae_bench.datasets.image_folders import ImageNet1K
from mae_bench.datasets.loading import LoadImage
from mae_bench.evaluation.frozen import KNN, FrozenLoop
from mae_bench.models import VisionTransformer
from mae_bench.training.hooks import ExportClassifier

with read_base():
    from ..default_runtime import *

default_scope = "mmpretrain"
classes = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

model = dict(
    type=ImageClassifier,
    backbone=dict(
        type=VisionTransformer,
        arch=dict(embed_dim=96, depth=4, num_heads=4),
        img_size=32,
        patch_size=4,
        output="tokens",
    ),
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)

pipeline = [dict(type=LoadImage), dict(type=CenterCrop, crop_size=32), dict(type=PackInputs)]
# Its images are learned from, without augmentation; loader and batch are those of the test.
train_dataloader = dict(
    dataset=dict(
        type=ImageNet1K,
        data_root="data/miniworld/imagenet",
        split="",
        data_prefix="train",
        ann_file="meta/train.txt",
        metainfo=dict(classes=classes),
        pipeline=pipeline,
    ),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(
        type=ImageNet1K,
        data_root="data/miniworld/imagenet",
        split="",
        data_prefix="val",
        ann_file="meta/val.txt",
        metainfo=dict(classes=classes),
        pipeline=pipeline,
    ),
)
test_evaluator = []
test_cfg = dict(
    type=FrozenLoop,
    precision="float32",
    cache="work_dirs/features",
    measures=[dict(type=KNN, neighbours=[10, 20, 100, 200], temperature=0.07)],
)
# Where linear heads are among the measures, the best one on the class token, for further tests.
custom_hooks = [dict(type=ExportClassifier, data="MiniWorld")]
