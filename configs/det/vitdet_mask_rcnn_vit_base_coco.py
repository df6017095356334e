"""ViTDet: Mask R-CNN with ViT-B/16 and a simple pyramid on COCO, 100 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/det/vitdet_mask_rcnn_vit_base_coco.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces the successor of MAE Table 4's detector (ViTDet, Li et al. 2022), Mask R-CNN, ViT-B: the
authors' in detectron2, and those of mmdetection and ViTAE.

Sources: detectron2, projects/ViTDet: pyramid from the last block, windows of 14 with padding,
decomposed relative positions, LayerNorm in pyramid and heads, AdamW 1e-4, weight decay 0.1, layer
decay 0.7, drop path 0.1, batch 64, 184,375 iterations (100 epochs) with steps to a tenth after
88.9 % and 96.3 %, 250 iterations of warm-up, flip, scale jitter 0.1-2, crop to 1024; weight decay,
initial weights and losses. With the same weights its code gives the same losses and detections.
Differs: steps at whole epochs; absolute positions are resized once, when the checkpoint is loaded,
not at each run, so that 4,096 are trained and not 196 (113,890,224 - 110,895,792 parameters);
epochs count the 117,266 images with objects; batches are not of one orientation (which changes no
padding here); objects narrower than a pixel in their file are left out (mmdet).
Batch here: 8 GPUs x 8.
"""

from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip
from mmdet.models import (
    CrossEntropyLoss,
    DetDataPreprocessor,
    L1Loss,
    MaskRCNN,
    RPNHead,
    Shared4Conv1FCBBoxHead,
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
from mmengine.optim import LinearLR, MultiStepLR, OptimWrapper
from mmengine.runner import TestLoop, ValLoop
from timm.layers import LayerNorm2d
from torch.optim import AdamW

from mae_bench.datasets.coco_instances import CocoInstances
from mae_bench.datasets.loading import LoadImage
from mae_bench.models import SimpleFeaturePyramid, VisionTransformer
from mae_bench.openmmlab.cascade import OneMaskCascadeRoIHead
from mae_bench.openmmlab.coco_metric import FastCocoMetric
from mae_bench.openmmlab.large_scale_jitter import FitToSquare, LargeScaleJitter
from mae_bench.openmmlab.mask_geometry import LoadPolygons
from mae_bench.openmmlab.mask_head import UndecidedMaskHead
from mae_bench.openmmlab.roi_extractor import Float32RoIExtractor
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop
from mae_bench.training.hooks import DrawPredictions, ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmdet"
size = 1024
strides = [4, 8, 16, 32]
norm_cfg = dict(type=LayerNorm2d, eps=1e-6)

bbox_roi_extractor = dict(
    type=Float32RoIExtractor,
    roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
    out_channels=256,
    featmap_strides=strides,
)
mask_roi_extractor = dict(
    type=Float32RoIExtractor,
    roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
    out_channels=256,
    featmap_strides=strides,
)
mask_head = dict(
    type=UndecidedMaskHead,
    num_convs=4,
    in_channels=256,
    conv_out_channels=256,
    num_classes=80,
    norm_cfg=norm_cfg,
    loss_mask=dict(type=CrossEntropyLoss, use_mask=True),
)
box_head_init_cfg = [
    dict(type="Caffe2Xavier", layer=[], override=dict(name="shared_fcs")),
    dict(type="Normal", std=0.01, override=dict(name="fc_cls")),
    dict(type="Normal", std=0.001, override=dict(name="fc_reg")),
]
rpn_train_cfg = dict(
    assigner=dict(
        type=MaxIoUAssigner,
        pos_iou_thr=0.7,
        neg_iou_thr=0.3,
        min_pos_iou=0.0,  # every object has an anchor, however small it is
        ignore_iof_thr=-1,
    ),
    sampler=dict(
        type=RandomSampler,
        num=256,
        pos_fraction=0.5,
        neg_pos_ub=-1,
        add_gt_as_proposals=False,
    ),
    allowed_border=-1,
    pos_weight=-1,
)

model = dict(
    type=MaskRCNN,
    data_preprocessor=dict(
        type=DetDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=size,
    ),
    backbone=dict(
        type=VisionTransformer,
        arch="base",
        img_size=size,
        patch_size=16,
        output="maps",
        out_indices=(11,),
        class_token=False,
        drop_path_rate=0.1,
        rel_pos_bias="decomposed",
        window_size=14,
        global_blocks=(2, 5, 8, 11),
    ),
    neck=dict(
        type=SimpleFeaturePyramid,
        embed_dim=768,
        patch_size=16,
        strides=strides,
        out_channels=256,
        num_outs=5,
    ),
    rpn_head=dict(
        type=RPNHead,
        in_channels=256,
        feat_channels=256,
        num_convs=2,
        anchor_generator=dict(
            type=AnchorGenerator,
            scales=[8],
            ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64],
        ),
        bbox_coder=dict(type=DeltaXYWHBBoxCoder),
        loss_cls=dict(type=CrossEntropyLoss, use_sigmoid=True),
        loss_bbox=dict(type=L1Loss),
    ),
    roi_head=dict(
        type=StandardRoIHead,
        bbox_roi_extractor=bbox_roi_extractor,
        bbox_head=dict(
            type=Shared4Conv1FCBBoxHead,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=80,
            norm_cfg=norm_cfg,
            bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type=CrossEntropyLoss),
            loss_bbox=dict(type=L1Loss),
            init_cfg=box_head_init_cfg,
        ),
        mask_roi_extractor=mask_roi_extractor,
        mask_head=mask_head,
    ),
    train_cfg=dict(
        rpn=rpn_train_cfg,
        rpn_proposal=dict(
            nms_pre=2000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
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
            sampler=dict(type=RandomSampler, num=512, pos_fraction=0.25),
            mask_size=28,
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=1000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0
        ),
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=100,
            mask_thr_binary=0.5,
        ),
    ),
)

# The three box heads of the vitdet_cascade_* configs, which put them in place of the one above.
cascade_roi_head = dict(
    type=OneMaskCascadeRoIHead,
    num_stages=3,
    stage_loss_weights=[1, 1, 1],
    bbox_roi_extractor=bbox_roi_extractor,
    bbox_head=[
        dict(
            type=Shared4Conv1FCBBoxHead,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=80,
            norm_cfg=norm_cfg,
            reg_class_agnostic=True,
            bbox_coder=dict(type=DeltaXYWHBBoxCoder, target_stds=stds),
            loss_cls=dict(type=CrossEntropyLoss),
            loss_bbox=dict(type=L1Loss),
            init_cfg=box_head_init_cfg,
        )
        for stds in (
            [0.1, 0.1, 0.2, 0.2],
            [0.05, 0.05, 0.1, 0.1],
            [1 / 30, 1 / 30, 1 / 15, 1 / 15],
        )
    ],
    mask_roi_extractor=mask_roi_extractor,
    mask_head=mask_head,
)
cascade_rcnn_train_cfg = [
    dict(
        assigner=dict(
            type=MaxIoUAssigner,
            pos_iou_thr=iou,
            neg_iou_thr=iou,
            min_pos_iou=iou,
            match_low_quality=False,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type=RandomSampler, num=512, pos_fraction=0.25),  # of the first stage alone
        mask_size=28,
        pos_weight=-1,
    )
    for iou in (0.5, 0.6, 0.7)
]

# Of an optimizer step, on all GPUs: held by accumulation where batch_size of each makes less.
total_batch_size = 64
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=CocoInstances,
        data_root="data/coco",
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017"),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type=LoadImage),
            dict(type=LoadPolygons, with_bbox=True, with_mask=True),
            dict(type=RandomFlip, prob=0.5),
            dict(type=LargeScaleJitter, size=size, ratio_range=(0.1, 2.0)),
            dict(type=PackDetInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CocoInstances,
        data_root="data/coco",
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017"),
        test_mode=True,
        pipeline=[
            dict(type=LoadImage),
            dict(type=FitToSquare, size=size),
            dict(type=LoadAnnotations, with_bbox=True, with_mask=True),
            dict(
                type=PackDetInputs,
                meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=FastCocoMetric, ann_file="data/coco/annotations/instances_val2017.json")
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableEpochLoop, max_epochs=100, val_interval=10)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Base learning rate for a batch of 64, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.7, no_decay=("pos_embed",), exempt="norms"),
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, fused=True),
)
auto_scale_lr = dict(base_batch_size=64, enable=True)
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-3, end=250, by_epoch=False),
    dict(
        type=MultiStepLR,
        milestones=[89, 96],
        gamma=0.1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

default_hooks.update(visualization=dict(type=DrawPredictions, interval=500))
custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="COCO")]
