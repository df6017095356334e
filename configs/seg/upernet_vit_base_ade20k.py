"""UperNet with ViT-B/16 on ADE20K, 160,000 iterations from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_base_ade20k.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 5, ViT-B, and Table 7, ADE20K ViT-B; the row is that of the checkpoint.

Sources. MAE Appendix A.4: UperNet, BEiT's segmentation code, batch 16, relative positions switched
on for the transfer, from zero. BEiT's code: adapter, blocks 3, 5, 7 and 11 without norm, heads and
their widths, crop 512, augmentation, sliding-window test at one scale, AdamW with weight decay 0.05
on all but biases and norms, linear decay times a warm-up of 1500 iterations from a millionth
(mmcv 1). Images are resized by OpenCV, bilinear without antialiasing, as in mmcv 1. lr 1e-4, layer
decay 0.65, drop path 0.1, 160,000 iterations: the two public runs with this result
(implus/mae_segmentation; mmsegmentation, whose decay waits for the end of the warm-up). Those have
a trained factor on every branch, which MAE has not: model.backbone.layer_scale_init=1.0.
BEiT (Table 5) has no absolute positions: model.backbone.train_positions=False; its layer scale
starts from 0.1, from 1e-6 for ViT-L, and its own lr for self-supervised weights is 7e-4.
Differs from the paper: 160,000 iterations are 126.7 epochs, the paper says 100
(train_cfg.max_iters=126312). An image more than four times as wide as high is padded in a
test, where mmsegmentation would cut a window smaller than the crop.
UNKNOWN: what the authors' search of lr found for this row; their layer decay, drop path and way of
testing. Batch here: 8 GPUs x 2.
"""

from mmcv.transforms import RandomFlip, RandomResize, Resize
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.optim import OptimWrapper
from mmengine.runner import TestLoop, ValLoop
from mmseg.datasets.transforms import PackSegInputs
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, SegDataPreProcessor
from torch.optim import AdamW

from mae_bench.datasets.images_and_masks import ADE20K
from mae_bench.datasets.loading import ChannelsFirst, LoadImage
from mae_bench.datasets.masks import LoadMask
from mae_bench.models import FeaturePyramidAdapter, VisionTransformer
from mae_bench.openmmlab.seg_heads import AuxiliaryFCNHead, PixelCrossEntropy, UPerNetHead
from mae_bench.openmmlab.seg_transforms import (
    FastPhotoMetricDistortion,
    FastRandomCrop,
)
from mae_bench.training import LayerDecayConstructor, ResumableIterLoop, WarmupLinearLR
from mae_bench.training.hooks import DrawPredictions, ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmseg"
size = 512
norm_cfg = dict(type="BN")
sync_bn = "torch"  # over all processes, where there are several

model = dict(
    type=EncoderDecoder,
    data_preprocessor=dict(
        type=SegDataPreProcessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(size, size),
        test_cfg=dict(size=(size, size)),
    ),
    backbone=dict(
        type=VisionTransformer,
        arch="base",
        img_size=size,
        patch_size=16,
        output="maps",
        out_indices=(3, 5, 7, 11),
        drop_path_rate=0.1,
        rel_pos_bias="per_block",
    ),
    neck=dict(
        type=FeaturePyramidAdapter,
        embed_dim=768,
        patch_size=16,
        strides=[4, 8, 16, 32],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type=UPerNetHead,
        in_channels=[768] * 4,
        in_index=[0, 1, 2, 3],
        channels=768,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type=PixelCrossEntropy, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type=AuxiliaryFCNHead,
        in_channels=768,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type=PixelCrossEntropy, loss_weight=0.4),
    ),
    train_cfg={},
    test_cfg=dict(mode="slide", crop_size=(size, size), stride=(341, 341)),
)

# Of an optimizer step, on all GPUs: held by accumulation where batch_size of each makes less.
total_batch_size = 16
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type=InfiniteSampler, shuffle=True),
    dataset=dict(
        type=ADE20K,
        data_root="data/ade/ADEChallengeData2016",
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        pipeline=[
            dict(type=LoadImage),
            dict(type=LoadMask),
            dict(type=RandomResize, scale=(2048, size), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type=FastRandomCrop, crop_size=(size, size), cat_max_ratio=0.75),
            dict(type=RandomFlip, prob=0.5),
            dict(type=FastPhotoMetricDistortion),
            dict(type=ChannelsFirst),
            dict(type=PackSegInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ADE20K,
        data_root="data/ade/ADEChallengeData2016",
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=[
            dict(type=LoadImage),
            dict(type=Resize, scale=(2048, size), keep_ratio=True),
            dict(type=LoadMask),
            dict(type=PackSegInputs),
        ],
    ),
)
test_dataloader = val_dataloader
# For mmseg's inference_model, which has no annotations to load.
test_pipeline = [
    dict(type=LoadImage),
    dict(type=Resize, scale=(2048, size), keep_ratio=True),
    dict(type=PackSegInputs),
]
val_evaluator = dict(type=IoUMetric, iou_metrics=["mIoU"])
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableIterLoop, max_iters=160000, val_interval=16000)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Base learning rate for a batch of 16, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.65),
    optimizer=dict(
        type=AdamW, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
)
auto_scale_lr = dict(base_batch_size=16, enable=True)
# The decay ends with the last iteration, so train_cfg.max_iters alone sets the length.
param_scheduler = [dict(type=WarmupLinearLR, warmup=1500, start_factor=1e-6, by_epoch=False)]

default_hooks["checkpoint"].update(interval=4000, by_epoch=False)
log_processor.update(by_epoch=False)
default_hooks.update(visualization=dict(type=DrawPredictions, interval=200))
custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="ADE20K")]
