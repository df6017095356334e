"""Linear segmentation on the frozen patches of ViT-B/16 on ADE20K, as DINOv2 evaluates.

    torchrun --nproc-per-node 8 tools/train.py configs/seg/linear_vit_base_ade20k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Data, augmentation, sliding-window test and metric are those of upernet_vit_base_ade20k.py, in a
quarter of the iterations and without gradients of the backbone. ViT-L: `--cfg-options
model.backbone.arch=large`.

Reproduces no number of a table here. Sources: DINOv2 (Oquab et al. 2023, Section 7.4) and the
config it published for ViT-B: BatchNorm and a 1x1 convolution on the patches of the last block
after the final norm, AdamW with lr 1e-3 and weight decay 1e-4, linear decay times a warm-up of 1500
iterations, 40,000 iterations, 2 images a GPU.
Not from there: mixed precision; long sides of at most 2048 pixels, which public copies of that
config have or have not.
UNKNOWN: on how many GPUs it was trained, so the batch; here 8 GPUs x 2.
"""

from mmengine.config import read_base
from mmengine.optim import OptimWrapper
from torch.optim import AdamW

from mae_bench.openmmlab.seg_heads import LinearSegmentationHead, PixelCrossEntropy
from mae_bench.training import LayerDecayConstructor

with read_base():
    from .upernet_vit_base_ade20k import *

model["backbone"] = dict(
    type=VisionTransformer,
    arch="base",
    img_size=size,
    patch_size=16,
    output="maps",
    out_indices=(11,),
    norm_maps=True,
    frozen=True,
)
del model["neck"], model["auxiliary_head"]
model["decode_head"] = dict(
    type=LinearSegmentationHead,
    in_channels=768,
    in_index=-1,  # the last map of any backbone
    num_classes=150,
    norm_cfg=norm_cfg,
    align_corners=False,
    loss_decode=dict(type=PixelCrossEntropy, loss_weight=1.0),
)

train_cfg.update(max_iters=40000, val_interval=4000)
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    optimizer=dict(
        type=AdamW, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, fused=True
    ),
)
