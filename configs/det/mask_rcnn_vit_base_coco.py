"""Mask R-CNN with ViT-B/16 on COCO, 100 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py configs/det/mask_rcnn_vit_base_coco.py \\
        --checkpoint CKPT --launcher pytorch --amp float16

Reproduces MAE Table 4, ViT-B, and Table 7, COCO ViT-B; the row is that of the checkpoint, BEiT's
with `--cfg-options model.backbone.layer_scale_init=0.1`. The authors' and MIMDet's runs of 25 and
50 epochs: `train_cfg.max_epochs=25`.

Sources. MAE Appendix A.3: blocks in four equal parts, convolutions to strides 4, 8, 16, 32, FPN;
everything else is left to Li et al. (arXiv 2111.11429). Of that paper torchvision's
maskrcnn_resnet50_fpn_v2 states FPN, RPN and heads, with BatchNorm. All other values are those of
the only complete public code with these results (hustvl/MIMDet): a global block at
the end of each part and windows of 16 elsewhere, shared zero-initialised relative positions, maps
without norm, GroupNorm in the adapter, AdamW 8e-5, weight decay 0.1, no layer decay, drop path 0.1,
batch 64, warm-up of a quarter epoch from a thousandth, cosine, scale jitter 0.1-2 to 1024, then
crop, grey padding, flip; weight decay, initial weights and losses of detectron2, on which it is
built. Epochs: R. Girshick in the official repository, issue 43.
Differs from that code: absolute positions are resized, not made anew in MoCo v3's order of axes;
epochs count the 117,266 images with objects, so there are 183,200 iterations for 184,375; the
warm-up reaches the peak one iteration early (its last rate is 0.2 % of the peak higher); batches
are not of one orientation (which changes no padding here); boxes of a test are cut at the image in
each stage, not at the end. Objects narrower than a pixel in their file are left out (mmdet).
UNKNOWN: what the authors' searches of lr, weight decay, drop path and epochs found for this row;
their window size (14 or 16); whether maps have a norm. Batch here: 8 GPUs x 8.
"""

from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip
from mmdet.models import (
    FPN,
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
from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper
from mmengine.runner import TestLoop, ValLoop
from torch.optim import AdamW

from mae_bench.datasets.coco_instances import CocoInstances
from mae_bench.datasets.loading import ChannelsFirst, LoadImage
from mae_bench.models import FeaturePyramidAdapter, VisionTransformer
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
norm_cfg = dict(type="BN")
sync_bn = "torch"  # over all processes, where there are several

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
        out_indices=(2, 5, 8, 11),
        class_token=False,
        drop_path_rate=0.1,
        rel_pos_bias="shared",
        window_size=16,
        global_blocks=(2, 5, 8, 11),
    ),
    neck=[
        dict(
            type=FeaturePyramidAdapter,
            embed_dim=768,
            patch_size=16,
            strides=strides,
            norm_cfg=dict(type="GN", num_groups=32),
            lecun_init=True,
        ),
        dict(
            type=FPN,
            in_channels=[768] * 4,
            out_channels=256,
            num_outs=5,
            norm_cfg=norm_cfg,
            init_cfg=dict(type="Caffe2Xavier", layer="Conv2d"),
        ),
    ],
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
        bbox_roi_extractor=dict(
            type=Float32RoIExtractor,
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=256,
            featmap_strides=strides,
        ),
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
            init_cfg=[
                dict(type="Caffe2Xavier", layer=[], override=dict(name="shared_fcs")),
                dict(type="Normal", std=0.01, override=dict(name="fc_cls")),
                dict(type="Normal", std=0.001, override=dict(name="fc_reg")),
            ],
        ),
        mask_roi_extractor=dict(
            type=Float32RoIExtractor,
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=strides,
        ),
        mask_head=dict(
            type=UndecidedMaskHead,
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=80,
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
        ),
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
            dict(type=LargeScaleJitter, size=size, ratio_range=(0.1, 2.0), pad=128),
            dict(type=RandomFlip, prob=0.5),
            dict(type=ChannelsFirst),
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
            dict(type=FitToSquare, size=size, pad=128),
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
    paramwise_cfg=dict(no_decay=("pos_embed", "relative_position_bias_table"), exempt="norms"),
    optimizer=dict(type=AdamW, lr=8e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, fused=True),
)
auto_scale_lr = dict(base_batch_size=64, enable=True)
# The cosine ends with the last epoch, so train_cfg.max_epochs alone sets the length.
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-3, end=0.25, by_epoch=True, convert_to_iter_based=True),
    dict(type=CosineAnnealingLR, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]

default_hooks.update(visualization=dict(type=DrawPredictions, interval=500))
custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="COCO")]
