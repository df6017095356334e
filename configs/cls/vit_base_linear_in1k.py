"""Linear probing of ViT-B/16 on ImageNet-1K with LARS.

    torchrun --nproc-per-node 8 tools/train.py configs/cls/vit_base_linear_in1k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Reproduces MAE Table 12, and the column "lin" of Table 1 from its ablations. ViT-L:
`--cfg-options model.backbone.arch=large`, ViT-H: `model.backbone.arch=huge
model.backbone.patch_size=14`; for both 50 epochs suffice by the authors' FINETUNE.md:
`train_cfg.max_epochs=50`.

Sources: optimizer, base lr, momentum, batch, schedule, epochs: Table 10. Class token after the
pre-trained norm, BatchNorm without affine with eps 1e-6, head std 0.01, LARS without decay and
adaptation of the bias, the crop of a single draw, no label smoothing: the authors' code. Batch
here: 8 GPUs x 2048 = 16384; the BatchNorm's statistics are those of each GPU's own batch, as there
(with 512 a GPU).
UNKNOWN: whether the published figure is of the last or of the best epoch; here it is the last. The
recipe of Table 12's BEiT ViT-L (the authors' implementation).
"""

from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.optim import OptimWrapper
from mmengine.runner import TestLoop, ValLoop
from mmpretrain.datasets import PackInputs
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ClsDataPreprocessor, CrossEntropyLoss, ImageClassifier
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import CenterCrop, RandomHorizontalFlip, Resize

from mae_bench.datasets.augmentation import SingleDrawCrop
from mae_bench.datasets.image_folders import ImageNet1K
from mae_bench.datasets.loading import LoadImageTensor
from mae_bench.models import VisionTransformer
from mae_bench.openmmlab.linear_probe import LinearProbeHead
from mae_bench.training import LARS, LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR
from mae_bench.training.hooks import ExportCheckpoint

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
        output="class_token",
        frozen=True,
    ),
    head=dict(
        type=LinearProbeHead,
        num_classes=1000,
        in_channels=768,
        loss=dict(type=CrossEntropyLoss),
        # The code's truncated normal is cut at +-2, which at this std cuts nothing.
        init_cfg=dict(type="Normal", layer="Linear", std=0.01),
    ),
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)

train_pipeline = [
    dict(type=LoadImageTensor),
    dict(type=SingleDrawCrop, size=224, scale=(0.08, 1.0), interpolation=InterpolationMode.BICUBIC),
    dict(type=RandomHorizontalFlip),
    dict(type=PackInputs),
]
val_pipeline = [
    dict(type=LoadImageTensor),
    dict(type=Resize, size=256, interpolation=InterpolationMode.BICUBIC),
    dict(type=CenterCrop, size=224),
    dict(type=PackInputs),
]
# Of an optimizer step, on all GPUs: held by accumulation where batch_size of each makes less.
total_batch_size = 16384
train_dataloader = dict(
    batch_size=2048,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImageNet1K, data_root="data/imagenet", split="train", pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=ImageNet1K, data_root="data/imagenet", split="val", pipeline=val_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy, topk=(1, 5))
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableEpochLoop, max_epochs=90)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Base learning rate for a batch of 256, scaled to the batch in use: 6.4 for 16384.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    optimizer=dict(type=LARS, lr=0.1, momentum=0.9, weight_decay=0.0),
)
auto_scale_lr = dict(base_batch_size=256, enable=True)
param_scheduler = [
    dict(type=WarmupCosineLR, warmup=10, min_lr=0.0, by_epoch=True, convert_to_iter_based=True)
]

randomness = dict(seed=0, diff_rank_seed=True)
custom_hooks = [dict(type=ExportCheckpoint, method="linear probe", data="ImageNet-1K")]
