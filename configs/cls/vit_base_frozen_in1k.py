"""k-NN of a frozen ViT-B/16 on ImageNet-1K, from features that are extracted once.

    tools/test.py configs/cls/vit_base_frozen_in1k.py CKPT

CKPT is any file that `--checkpoint` of tools/train.py takes; heads are left out. Without one the
weights are random. ViT-L: `--cfg-options model.backbone.arch=large`, ViT-H:
`model.backbone.arch=huge model.backbone.patch_size=14`. Another backbone as in docs/backbones.md,
with `model.backbone.output=mean` where it is no plain ViT. docs/frozen.md says what each number
means.

Reproduces the k-NN columns of configs/suite/probing.yaml. Sources: k, temperature, crop and
interpolation of both sets: DINO's evaluation code. Class token after the final norm: there too; the
mean of the patch tokens, and both before that norm, stand beside it. Not from there: mixed
precision.
UNKNOWN: the precision of the features behind those columns.
"""

from mmengine.config import read_base
from mmengine.dataset import default_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import CenterCrop, Resize

from mae_bench.datasets.image_folders import ImageNet1K
from mae_bench.datasets.loading import LoadImageTensor
from mae_bench.evaluation.frozen import KNN, FrozenLoop
from mae_bench.models import VisionTransformer
from mae_bench.training.hooks import ExportClassifier

with read_base():
    from ..default_runtime import *

default_scope = "mmpretrain"

model = dict(
    type=ImageClassifier,
    backbone=dict(
        type=VisionTransformer,
        arch="base",
        img_size=224,
        patch_size=16,
        output="tokens",
    ),
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)

pipeline = [
    dict(type=LoadImageTensor),
    dict(type=Resize, size=256, interpolation=InterpolationMode.BICUBIC),
    dict(type=CenterCrop, size=224),
    dict(type=PackInputs),
]
# Its images are learned from, without augmentation; loader and batch are those of the test.
train_dataloader = dict(
    dataset=dict(type=ImageNet1K, data_root="data/imagenet", split="train", pipeline=pipeline),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    collate_fn=dict(type=default_collate),
    dataset=dict(type=ImageNet1K, data_root="data/imagenet", split="val", pipeline=pipeline),
)
test_evaluator = []
test_cfg = dict(
    type=FrozenLoop,
    precision="float16",
    cache="work_dirs/features",
    measures=[dict(type=KNN, neighbours=[10, 20, 100, 200], temperature=0.07)],
)
# Where linear heads are among the measures, the best one on the class token, for further tests.
custom_hooks = [dict(type=ExportClassifier, data="ImageNet-1K")]
