"""Mask R-CNN with the small ViT on MiniWorld's COCO annotations.

    tools/train.py configs/det/mask_rcnn_vit_mini_miniworld.py --checkpoint CKPT

Reproduces no published number. The structure is that of MAE Appendix A.3 in its only published
reproduction (adapter with GroupNorm, FPN with BatchNorm, RPN of two convolutions, box head of four
convolutions and one linear layer, shared zero-initialised relative position bias, AdamW with weight
decay 0.1, cosine, scale jitter). Not from there, chosen by measuring here: widths, pyramid strides,
anchor scale, RoI sizes, samples per image, jitter range, lr, layer decay, warm-up, batch, epochs,
number of images. RoIs are half as fine as on COCO: a digit is only five patches wide. All maps
come from the last block, as in ViTDet (Li et al. 2022): of four blocks the first has hardly
anything to give. The class token stays, since the pre-trained blocks attend to it. No flip: digits
have a handedness. The same for every initialisation.
"""

from mmcv.transforms import RandomResize
from mmdet.datasets.transforms import (
    FilterAnnotations,
    LoadAnnotations,
    PackDetInputs,
    Pad,
    RandomCrop,
    Resize,
)
from mmdet.evaluation import CocoMetric
from mmdet.models import (
    FPN,
    CrossEntropyLoss,
    DetDataPreprocessor,
    FCNMaskHead,
    L1Loss,
    MaskRCNN,
    RPNHead,
    Shared4Conv1FCBBoxHead,
    SingleRoIExtractor,
    StandardRoIHead,
)
from mmdet.models.task_modules import (
    AnchorGenerator,
    DeltaXYWHBBoxCoder,
    MaxIoUAssigner,
    RandomSampler,
)
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import OptimWrapper
from mmengine.runner import TestLoop, ValLoop
from torch.optim import AdamW

from mae_bench.datasets.coco_instances import CocoInstances
from mae_bench.datasets.loading import LoadImage
from mae_bench.models import FeaturePyramidAdapter, VisionTransformer
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR
from mae_bench.training.hooks import DrawPredictions, ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmdet"
size = 32
strides = [2, 4, 8, 16]
norm_cfg = dict(type="BN")
classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

model = dict(
    type=MaskRCNN,
    data_preprocessor=dict(
        type=DetDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=16,
    ),
    backbone=dict(
        type=VisionTransformer,
        arch=dict(embed_dim=96, depth=4, num_heads=4),
        img_size=size,
        patch_size=4,
        output="maps",
        out_indices=(3, 3, 3, 3),
        rel_pos_bias="shared",
    ),
    neck=[
        dict(
            type=FeaturePyramidAdapter,
            embed_dim=96,
            patch_size=4,
            strides=strides,
            norm_cfg=dict(type="GN", num_groups=32),
        ),
        dict(type=FPN, in_channels=[96] * 4, out_channels=64, num_outs=4, norm_cfg=norm_cfg),
    ],
    rpn_head=dict(
        type=RPNHead,
        in_channels=64,
        feat_channels=64,
        num_convs=2,
        anchor_generator=dict(
            type=AnchorGenerator, scales=[5], ratios=[0.5, 1.0, 2.0], strides=strides
        ),
        bbox_coder=dict(type=DeltaXYWHBBoxCoder),
        loss_cls=dict(type=CrossEntropyLoss, use_sigmoid=True),
        loss_bbox=dict(type=L1Loss),
    ),
    roi_head=dict(
        type=StandardRoIHead,
        bbox_roi_extractor=dict(
            type=SingleRoIExtractor,
            roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
            out_channels=64,
            featmap_strides=strides,
            finest_scale=16,
        ),
        bbox_head=dict(
            type=Shared4Conv1FCBBoxHead,
            in_channels=64,
            conv_out_channels=32,
            fc_out_channels=256,
            roi_feat_size=3,
            num_classes=len(classes),
            norm_cfg=norm_cfg,
            bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type=CrossEntropyLoss),
            loss_bbox=dict(type=L1Loss),
        ),
        mask_roi_extractor=dict(
            type=SingleRoIExtractor,
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=64,
            featmap_strides=strides,
            finest_scale=16,
        ),
        mask_head=dict(
            type=FCNMaskHead,
            num_convs=4,
            in_channels=64,
            conv_out_channels=32,
            num_classes=len(classes),
            norm_cfg=norm_cfg,
            loss_mask=dict(type=CrossEntropyLoss, use_mask=True),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type=MaxIoUAssigner,
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type=RandomSampler,
                num=64,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=False,
            ),
            allowed_border=-1,
            pos_weight=-1,
        ),
        rpn_proposal=dict(
            nms_pre=500, max_per_img=200, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
        ),
        rcnn=dict(
            assigner=dict(
                type=MaxIoUAssigner,
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type=RandomSampler, num=32, pos_fraction=0.25),
            mask_size=14,
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=200, max_per_img=50, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
        ),
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=20,
            mask_thr_binary=0.5,
        ),
    ),
)

total_batch_size = 8  # of an optimizer step, on all processes
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=CocoInstances,
        data_root="data/miniworld/coco",
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017"),
        metainfo=dict(classes=classes),
        indices=200,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type=LoadImage),
            dict(type=LoadAnnotations, with_bbox=True, with_mask=True),
            dict(
                type=RandomResize,
                scale=(size, size),
                ratio_range=(0.9, 1.2),
                resize_type=Resize,
                keep_ratio=True,
            ),
            dict(type=RandomCrop, crop_size=(size, size), recompute_bbox=True),
            dict(type=FilterAnnotations, min_gt_bbox_wh=(2, 2)),
            dict(type=Pad, size=(size, size)),
            dict(type=PackDetInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CocoInstances,
        data_root="data/miniworld/coco",
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017"),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=[
            dict(type=LoadImage),
            dict(type=Resize, scale=(size, size), keep_ratio=True),
            dict(type=LoadAnnotations, with_bbox=True, with_mask=True),
            dict(
                type=PackDetInputs,
                meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type=CocoMetric,
    ann_file="data/miniworld/coco/annotations/instances_val2017.json",
    metric=["bbox", "segm"],
)
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableEpochLoop, max_epochs=60, val_interval=20)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Base learning rate for a batch of 64, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.75, no_decay=("pos_embed", "relative_position_bias_table")),
    optimizer=dict(type=AdamW, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, fused=True),
)
auto_scale_lr = dict(base_batch_size=64, enable=True)
param_scheduler = [
    dict(type=WarmupCosineLR, warmup=6, min_lr=0.0, by_epoch=True, convert_to_iter_based=True)
]

default_hooks.update(visualization=dict(type=DrawPredictions, interval=3))
custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="MiniWorld")]
