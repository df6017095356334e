"""UperNet with the small ViT on MiniWorld's ADE20K tree.

    tools/train.py configs/seg/upernet_vit_mini_miniworld.py --checkpoint CKPT

Reproduces no published number. The structure is that of MAE Appendix A.4, which follows BEiT's
segmentation code (adapter, UperNet, auxiliary FCN head with weight 0.4, relative
position bias in every block, switched on here with zeros, layer-wise decay, AdamW with weight
decay 0.05, linear decay after warm-up, sliding-window test). Not from there, chosen by measuring
here: widths, pyramid strides, crop, scales, class weights, lr, layer decay, warm-up, batch, epochs,
number of images. All maps come from the last block, as in ViTDet (Li et al. 2022): of four blocks
the first has hardly anything to give. No flip: digits have a handedness. The same for every
initialisation.
"""

from mmcv.transforms import RandomResize
from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.optim import LinearLR, OptimWrapper, PolyLR
from mmengine.runner import TestLoop, ValLoop
from mmseg.datasets.transforms import PackSegInputs, RandomCrop
from mmseg.evaluation import IoUMetric
from mmseg.models import CrossEntropyLoss, EncoderDecoder, SegDataPreProcessor
from torch.optim import AdamW

from mae_bench.datasets.images_and_masks import ImagesAndMasks
from mae_bench.datasets.loading import LoadImage
from mae_bench.datasets.masks import LoadMask
from mae_bench.models import FeaturePyramidAdapter, VisionTransformer
from mae_bench.openmmlab.seg_heads import AuxiliaryFCNHead, UPerNetHead
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop
from mae_bench.training.hooks import DrawPredictions, ExportCheckpoint

with read_base():
    from ..default_runtime import *

default_scope = "mmseg"
size = 32
norm_cfg = dict(type="BN")
# Most pixels are background; at full weight they drown the digits in so short a schedule.
class_weight = [0.1] + [1.0] * 10
metainfo = dict(
    classes=(
        "background",
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ),
    palette=[
        [60, 60, 60],
        [230, 25, 75],
        [60, 180, 75],
        [255, 225, 25],
        [0, 130, 200],
        [245, 130, 48],
        [145, 30, 180],
        [70, 240, 240],
        [240, 50, 230],
        [210, 245, 60],
        [250, 190, 212],
    ],
)

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
    ),
    backbone=dict(
        type=VisionTransformer,
        arch=dict(embed_dim=96, depth=4, num_heads=4),
        img_size=size,
        patch_size=4,
        output="maps",
        out_indices=(3, 3, 3, 3),
        drop_path_rate=0.1,
        rel_pos_bias="per_block",
    ),
    neck=dict(
        type=FeaturePyramidAdapter,
        embed_dim=96,
        patch_size=4,
        strides=[2, 4, 8, 16],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type=UPerNetHead,
        in_channels=[96] * 4,
        in_index=[0, 1, 2, 3],
        channels=32,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type=CrossEntropyLoss, loss_weight=1.0, class_weight=class_weight),
    ),
    auxiliary_head=dict(
        type=AuxiliaryFCNHead,
        in_channels=96,
        in_index=2,
        channels=32,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type=CrossEntropyLoss, loss_weight=0.4, class_weight=class_weight),
    ),
    train_cfg={},
    test_cfg=dict(mode="slide", crop_size=(size, size), stride=(21, 21)),
)

total_batch_size = 16  # of an optimizer step, on all processes
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    drop_last=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=ImagesAndMasks,
        reduce_zero_label=True,
        data_root="data/miniworld/ade20k",
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        metainfo=metainfo,
        indices=200,
        pipeline=[
            dict(type=LoadImage),
            dict(type=LoadMask),
            dict(type=RandomResize, scale=(size, size), ratio_range=(0.9, 1.2), keep_ratio=True),
            dict(type=RandomCrop, crop_size=(size, size), cat_max_ratio=1.0),
            dict(type=PackSegInputs),
        ],
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ImagesAndMasks,
        reduce_zero_label=True,
        data_root="data/miniworld/ade20k",
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        metainfo=metainfo,
        pipeline=[
            dict(type=LoadImage),
            dict(type=LoadMask),
            dict(type=PackSegInputs),
        ],
    ),
)
test_dataloader = val_dataloader
# For mmseg's inference_model, which has no annotations to load.
test_pipeline = [dict(type=LoadImage), dict(type=PackSegInputs)]
val_evaluator = dict(type=IoUMetric, iou_metrics=["mIoU"])
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableEpochLoop, max_epochs=80, val_interval=20)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Base learning rate for a batch of 16, scaled to the batch in use.
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    paramwise_cfg=dict(layer_decay=0.75),
    optimizer=dict(
        type=AdamW, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True
    ),
)
auto_scale_lr = dict(base_batch_size=16, enable=True)
param_scheduler = [
    dict(type=LinearLR, start_factor=1e-2, end=6, by_epoch=True, convert_to_iter_based=True),
    dict(
        type=PolyLR,
        power=1.0,
        eta_min=0.0,
        begin=6,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

default_hooks.update(visualization=dict(type=DrawPredictions, interval=3))
custom_hooks = [dict(type=ExportCheckpoint, method="supervised", data="MiniWorld")]
