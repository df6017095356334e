"""A linear layer on the patches of ViT-B/16 on ImageNet-S, 919 classes, from MAE ("SSL").

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/patch_classifier_vit_base_imagenet_s.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces ImageNet-S, MAE ViT-B at 224 pixels, on the validation set: the authors' model zoo. What
Papers with Code lists as "mmseg" is of a branch whose values are UNKNOWN. From MAE fine-tuned on
ImageNet-1K ("SSL+FT", what vit_base_finetune_in1k.py exports): `--cfg-options
optim_wrapper.optimizer.lr=1e-4 optim_wrapper.paramwise_cfg.layer_decay=0.4`; the norm before the
linear layer then starts afresh, where the authors' code takes the classifier's.

Sources: LUSSeg/ImageNetSegModel, MODEL_ZOO.md and code: head, base lr 5e-4, layer decay 0.6, weight
decay 0.05, drop path 0.1, 100 epochs, batch 256, warm-up of 5 epochs, crops from 14 % of the
image, colour jitter, grey, blur, test of whole images with a short side of 256.
Differs: at the edge of an image a patch is padded, not cut off; images of more than a million
pixels are not predicted at less than their size; the blur is torchvision's of 13 pixels, not
Pillow's approximation (0.5 of 255 apart where the blur itself changes 2 to 13); positions of a test
are interpolated to the number of patches, not by a factor 0.1 patches larger (0.5 % of their
deviation).
The test set's labels are on the authors' server, so nothing is measured on it.
Batch here: 8 GPUs x 32.
"""

from mmcv.transforms import RandomApply
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmengine.runner import TestLoop, ValLoop
from mmseg.datasets.transforms import PackSegInputs
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, SegDataPreProcessor
from torch.optim import AdamW
from torchvision.transforms.v2 import (
    ColorJitter,
    GaussianBlur,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
)

from mae_bench.datasets.imagenet_s import ImageNetS, LoadImageNetSMask, SegmentationToArrays
from mae_bench.datasets.loading import LoadImageTensor
from mae_bench.models import VisionTransformer
from mae_bench.openmmlab.patch_classifier import PatchClassifier
from mae_bench.openmmlab.seg_heads import PixelCrossEntropy
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR
from mae_bench.training.hooks import DrawPredictions, ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmseg"
size = 224

model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(
        type=SegDataPreProcessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        pad_val=0,
        seg_pad_val=1000,
        size=(size, size),
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        type=VisionTransformer,
        arch="base",
        img_size=size,
        patch_size=16,
        output="maps",
        out_indices=(11,),
        drop_path_rate=0.1,
    ),
    decode_head=dict(
        type=PatchClassifier,
        in_channels=768,
        in_index=-1,  # the last map of any backbone
        num_classes=920,
        ignore_index=1000,
        loss_decode=dict(type=PixelCrossEntropy, avg_non_ignore=True),
    ),
    train_cfg={},
    test_cfg=dict(mode="whole"),
)

# Of an optimizer step, on all GPUs: held by accumulation where batch_size of each makes less.
total_batch_size = 256
train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImageNetS,
        data_root="data/imagenet-s/ImageNetS919",
        split="train-semi",
        pipeline=[
            dict(type=LoadImageTensor),
            dict(type=LoadImageNetSMask, with_image=True),
            dict(type=RandomResizedCrop, size=size, scale=(0.14, 1.0)),
            dict(type=RandomHorizontalFlip),
            dict(
                type=RandomApply,
                transforms=[
                    dict(type=ColorJitter, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
                ],
                prob=0.8,
            ),
            dict(type=RandomGrayscale, p=0.2),
            dict(
                type=RandomApply,
                transforms=[dict(type=GaussianBlur, kernel_size=13, sigma=(0.1, 2.0))],
                prob=0.5,
            ),
            dict(type=SegmentationToArrays),
            dict(type=PackSegInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ImageNetS,
        data_root="data/imagenet-s/ImageNetS919",
        split="validation",
        pipeline=[
            dict(type=LoadImageTensor),
            dict(type=Resize, size=256),
            dict(type=SegmentationToArrays),
            dict(type=LoadImageNetSMask),
            dict(type=PackSegInputs),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=IoUMetric, iou_metrics=["mIoU"], ignore_index=1000)
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableEpochLoop, max_epochs=100, val_interval=20)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Base learning rate for a batch of 256, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.6, no_decay=("pos_embed", "cls_token")),
    optimizer=dict(
        type=AdamW, lr=5e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
)
auto_scale_lr = dict(base_batch_size=256, enable=True)
param_scheduler = [
    dict(
        type=WarmupCosineLR,
        warmup=5,
        min_lr=1e-6,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]

default_hooks.update(visualization=dict(type=DrawPredictions, interval=1000))
custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="ImageNet-S")]
