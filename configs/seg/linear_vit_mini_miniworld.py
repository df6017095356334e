"""Linear segmentation on the frozen patches of the small ViT on MiniWorld's ADE20K tree.

    tools/train.py configs/seg/linear_vit_mini_miniworld.py --checkpoint CKPT

Reproduces no published number. Head, optimizer and what is frozen are those of
linear_vit_base_ade20k.py, the rest that of upernet_vit_mini_miniworld.py, the weights of the
classes in the loss included; chosen by measuring here: epochs. The same for every initialisation.
"""

from mmengine.config import read_base
from mmengine.optim import OptimWrapper
from mmseg.models import CrossEntropyLoss
from torch.optim import AdamW

from mae_bench.openmmlab.seg_heads import LinearSegmentationHead
from mae_bench.training import LayerDecayConstructor

with read_base():
    from .upernet_vit_mini_miniworld import *

model["backbone"] = dict(
    type=VisionTransformer,
    arch=dict(embed_dim=96, depth=4, num_heads=4),
    img_size=size,
    patch_size=4,
    output="maps",
    out_indices=(3,),
    norm_maps=True,
    frozen=True,
)
del model["neck"], model["auxiliary_head"]
model["decode_head"] = dict(
    type=LinearSegmentationHead,
    in_channels=96,
    in_index=-1,  # the last map of any backbone
    num_classes=11,
    norm_cfg=norm_cfg,
    align_corners=False,
    loss_decode=dict(type=CrossEntropyLoss, loss_weight=1.0, class_weight=class_weight),
)

optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    optimizer=dict(
        type=AdamW, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, fused=True
    ),
)
