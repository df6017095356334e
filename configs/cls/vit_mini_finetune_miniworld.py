"""End-to-end fine-tuning of the small ViT on MiniWorld with few labels.

    tools/train.py configs/cls/vit_mini_finetune_miniworld.py --checkpoint CKPT

Reproduces no published number. The recipe is that of MAE Table 9 (AdamW, layer-wise decay 0.75,
cosine with warm-up, label smoothing 0.1, mean pooling with a fresh norm, head std 2e-5). Left out,
because they are made for photographs: RandAugment, mixup, cutmix, flips. Not from the paper,
chosen by measuring here: base lr, batch, epochs, number of labels. The same for every
initialisation.
"""

from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmengine.runner import ValLoop
from mmpretrain.datasets import PackInputs, RandomResizedCrop
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier, LinearClsHead
from torch.optim import AdamW

from mae_bench.datasets.image_folders import ImageNet1K
from mae_bench.datasets.loading import LoadImage
from mae_bench.models import VisionTransformer
from mae_bench.openmmlab.label_smoothing import LabelSmoothCrossEntropy
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR
from mae_bench.training.hooks import ExportCheckpoint

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
        output="mean",
    ),
    head=dict(
        type=LinearClsHead,
        num_classes=10,
        in_channels=96,
        loss=dict(type=LabelSmoothCrossEntropy, label_smooth_val=0.1, mode="original"),
        init_cfg=dict(type="TruncNormal", layer="Linear", std=2e-5),
    ),
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)

total_batch_size = 50  # of an optimizer step, on all processes
train_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImageNet1K,
        data_root="data/miniworld/imagenet",
        split="",
        data_prefix="train",
        ann_file="meta/train_500.txt",
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type=LoadImage),
            dict(
                type=RandomResizedCrop,
                scale=32,
                crop_ratio_range=(0.5, 1.0),
                interpolation="bicubic",
            ),
            dict(type=PackInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ImageNet1K,
        data_root="data/miniworld/imagenet",
        split="",
        data_prefix="val",
        ann_file="meta/val.txt",
        metainfo=dict(classes=classes),
        pipeline=[dict(type=LoadImage), dict(type=PackInputs)],
    ),
)
val_evaluator = dict(type=Accuracy, topk=(1,))
train_cfg = dict(type=ResumableEpochLoop, max_epochs=60, val_interval=10)
val_cfg = dict(type=ValLoop)

# Base learning rate for a batch of 256, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.75, no_decay=("pos_embed", "cls_token")),
    optimizer=dict(
        type=AdamW, lr=5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
)
auto_scale_lr = dict(base_batch_size=256, enable=True)
param_scheduler = [
    dict(type=WarmupCosineLR, warmup=5, min_lr=0.0, by_epoch=True, convert_to_iter_based=True)
]

custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="MiniWorld")]
