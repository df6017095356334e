"""MAE pre-training of a small ViT on MiniWorld's images, without their labels.

    tools/train.py configs/pretrain/mae_vit_mini_miniworld.py

Reproduces no published number: MiniWorld is this benchmark's own small world. The recipe is that
of MAE Table 8 (AdamW with beta2 0.95, weight decay 0.05, cosine, random crops, 75 % masked,
normalised pixels) with sizes chosen for two CPU cores. Not from the paper, chosen by measuring
here: width, depth, patch, decoder, base lr, batch, epochs. No flip: digits have a handedness.
"""

from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import PackInputs, RandomResizedCrop
from mmpretrain.models import ClsDataPreprocessor
from torch.optim import AdamW

from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.datasets.loading import LoadImage
from mae_bench.models import MAE, VisionTransformer
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR
from mae_bench.training.hooks import DrawReconstructions, ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmpretrain"

model = dict(
    type=MAE,
    backbone=dict(
        type=VisionTransformer,
        arch=dict(embed_dim=96, depth=4, num_heads=4),
        img_size=32,
        patch_size=4,
        output="tokens",
    ),
    decoder=dict(embed_dim=64, depth=1, num_heads=4),
    mask_ratio=0.75,
    norm_pix=True,
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)

total_batch_size = 128  # of an optimizer step, on all processes
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    drop_last=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImageFolders,
        data_root="data/miniworld/imagenet",
        data_prefix="train",
        with_label=False,
        pipeline=[
            dict(type=LoadImage),
            dict(
                type=RandomResizedCrop,
                scale=32,
                crop_ratio_range=(0.4, 1.0),
                interpolation="bicubic",
            ),
            dict(type=PackInputs),
        ],
    ),
)
train_cfg = dict(type=ResumableEpochLoop, max_epochs=30)

# Base learning rate for a batch of 256, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    optimizer=dict(type=AdamW, lr=2e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05, fused=True),
)
auto_scale_lr = dict(base_batch_size=256, enable=True)
param_scheduler = [
    dict(type=WarmupCosineLR, warmup=2, min_lr=0.0, by_epoch=True, convert_to_iter_based=True)
]

custom_hooks = [
    dict(type=ExportCheckpoint, method="mae", data="MiniWorld"),
    dict(type=DrawReconstructions, folder="data/miniworld/imagenet/val"),
]
