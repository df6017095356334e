"""MAE pre-training of ViT-B/16 on ImageNet-1K, 1600 epochs: the recipe of every other one here.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_base_p16.py \\
        --launcher pytorch --amp

Reproduces MAE Table 8 with normalised pixels, and with it the ViT-B of Tables 3 to 7, 12 and 13.
train_cfg.max_epochs alone sets the length: the cosine ends with it.

Sources: optimizer, base lr, weight decay, batch 4096, cosine with 40 epochs of warm-up: Table 8.
1600 epochs: the caption of Table 3, and Section 5 for what is transferred; of Table 7's rows with
other targets they are an inference. Decoder of 8 blocks of width 512, ratio 75 %: Table 1. Betas
0.9 and 0.95, 16 heads in the decoder, crops of 20 to 100 % of the area, warm-up from 0 and the rate
at every iteration, floor 0, class and mask tokens decayed but biases and norms not: the authors'
code. Eps: PyTorch's default, which that code leaves. The batch is 4096 on any number of GPUs; where
one holds less than 512 images: `--cfg-options train_dataloader.batch_size=128`. As mmpretrain has
it (300 and 400 epochs, `--amp float16`) the tokens are not decayed:
`optim_wrapper.paramwise_cfg.no_decay="['cls_token','mask_token']"`. Not taken over from there:
warm-up from 1e-4 of the peak, another order of the sin-cos halves, biases drawn with std 1e-6.
UNKNOWN: the numerical precision of the paper's runs on TPUs. The authors' PyTorch code computes in
mixed float16: `--amp float16`; `--amp` alone takes bfloat16 where the GPU has it.
"""

from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.optim import OptimWrapper
from mmpretrain.datasets import PackInputs
from mmpretrain.models import ClsDataPreprocessor
from torch.optim import AdamW

from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.datasets.loading import LoadImageTensor, RandomResizedCropTensor
from mae_bench.models import MAE, VisionTransformer
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR
from mae_bench.training.hooks import ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmpretrain"

model = dict(
    type=MAE,
    backbone=dict(
        type=VisionTransformer, arch="base", img_size=224, patch_size=16, output="tokens"
    ),
    decoder=dict(embed_dim=512, depth=8, num_heads=16),
    mask_ratio=0.75,
    norm_pix=True,
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)

train_pipeline = [
    dict(type=LoadImageTensor),  # RGB
    dict(type=RandomResizedCropTensor, size=224, scale=(0.2, 1.0), flip_prob=0.5),  # bicubic
    dict(type=PackInputs),
]
# Of an optimizer step, on all GPUs: held by accumulation where batch_size of each makes less.
total_batch_size = 4096
train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type=default_collate),
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImageFolders,
        data_root="data/imagenet",
        data_prefix="train",
        with_label=False,
        pipeline=train_pipeline,
    ),
)
train_cfg = dict(type=ResumableEpochLoop, max_epochs=1600)

# Base learning rate for a batch of 256, scaled to the batch in use: 2.4e-3 for 4096.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(no_decay=()),
    optimizer=dict(
        type=AdamW, lr=1.5e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05, fused=True
    ),
)
auto_scale_lr = dict(base_batch_size=256, enable=True)
param_scheduler = [
    dict(type=WarmupCosineLR, warmup=40, min_lr=0.0, by_epoch=True, convert_to_iter_based=True)
]

# Each process draws masks and crops of its own.
randomness = dict(seed=0, diff_rank_seed=True)
custom_hooks = [dict(type=ExportCheckpoint, method="mae", data="ImageNet-1K")]
