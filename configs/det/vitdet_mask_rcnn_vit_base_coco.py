"""ViTDet: Mask R-CNN with ViT-B/16 and a simple pyramid on COCO, 100 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/det/vitdet_mask_rcnn_vit_base_coco.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces the successor of MAE Table 4's detector (ViTDet, Li et al. 2022), Mask R-CNN, ViT-B: the
authors' in detectron2, and those of mmdetection and ViTAE.

Boxes, masks, samplers, losses and data are those of mask_rcnn_vit_base_coco.py.
Sources: detectron2, projects/ViTDet: pyramid from the last block, windows of 14 with padding,
decomposed relative positions, LayerNorm in pyramid and heads, AdamW 1e-4, weight decay 0.1, layer
decay 0.7, drop path 0.1, batch 64, 184,375 iterations (100 epochs) with steps to a tenth after
88.9 % and 96.3 %, 250 iterations of warm-up, flip, scale jitter 0.1-2, crop to 1024; weight decay,
initial weights and losses. With the same weights its code gives the same losses and detections.
Differs: steps at whole epochs; the warm-up reaches the peak one iteration early (its last rate is
0.4 % of the peak higher); absolute positions are resized once, when the checkpoint is loaded,
not at each run, so that 4,096 are trained and not 196 (113,890,224 - 110,895,792 parameters);
epochs count the 117,266 images with objects, so there are 183,200 iterations for 184,375; batches
are not of one orientation (which changes no padding here); objects narrower than a pixel in their
file are left out (mmdet).
Batch here: 8 GPUs x 8.
"""

from mmdet.datasets.transforms import PackDetInputs, RandomFlip
from mmdet.models import CrossEntropyLoss, L1Loss, Shared4Conv1FCBBoxHead
from mmdet.models.task_modules import DeltaXYWHBBoxCoder, MaxIoUAssigner, RandomSampler
from mmengine.config import read_base
from mmengine.optim import LinearLR, MultiStepLR, OptimWrapper
from timm.layers import LayerNorm2d
from torch.optim import AdamW

from mae_bench.datasets.loading import ChannelsFirst, LoadImage
from mae_bench.models import SimpleFeaturePyramid
from mae_bench.openmmlab.cascade import OneMaskCascadeRoIHead
from mae_bench.openmmlab.large_scale_jitter import FitToSquare, LargeScaleJitter
from mae_bench.openmmlab.mask_geometry import LoadPolygons
from mae_bench.training import LayerDecayConstructor

with read_base():
    from .mask_rcnn_vit_base_coco import *

norm_cfg = dict(type=LayerNorm2d, eps=1e-6)
sync_bn = None  # there is no BatchNorm

model["backbone"].update(out_indices=(11,), rel_pos_bias="decomposed", window_size=14)
model.update(
    neck=dict(
        type=SimpleFeaturePyramid,
        embed_dim=768,
        patch_size=16,
        strides=strides,
        out_channels=256,
        num_outs=5,
    )
)
roi_head = model["roi_head"]
roi_head["bbox_head"].update(norm_cfg=norm_cfg)
roi_head["mask_head"].update(norm_cfg=norm_cfg)

train_dataloader["dataset"].update(
    pipeline=[
        dict(type=LoadImage),
        dict(type=LoadPolygons, with_bbox=True, with_mask=True),
        dict(type=RandomFlip, prob=0.5),
        dict(type=LargeScaleJitter, size=size, ratio_range=(0.1, 2.0)),
        dict(type=ChannelsFirst),
        dict(type=PackDetInputs),
    ]
)
val_dataloader["dataset"]["pipeline"][1] = dict(type=FitToSquare, size=size)
test_dataloader = val_dataloader

# Base learning rate for a batch of 64, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.7, no_decay=("pos_embed",), exempt="norms"),
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, fused=True),
)
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

# The three box heads of the vitdet_cascade_* configs, which put them in place of the one above.
cascade_roi_head = dict(
    type=OneMaskCascadeRoIHead,
    num_stages=3,
    stage_loss_weights=[1, 1, 1],
    bbox_roi_extractor=roi_head["bbox_roi_extractor"],
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
            init_cfg=roi_head["bbox_head"]["init_cfg"],
        )
        for stds in (
            [0.1, 0.1, 0.2, 0.2],
            [0.05, 0.05, 0.1, 0.1],
            [1 / 30, 1 / 30, 1 / 15, 1 / 15],
        )
    ],
    mask_roi_extractor=roi_head["mask_roi_extractor"],
    mask_head=roi_head["mask_head"],
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
