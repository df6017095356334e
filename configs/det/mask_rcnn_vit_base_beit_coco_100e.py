"""Mask R-CNN with ViT-B/16 on COCO, 100 epochs from BEiT.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/det/mask_rcnn_vit_base_beit_coco_100e.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 4, BEiT, ViT-B: box AP 49.8, mask AP 44.4.

Sources: structure, batch and augmentation as in mask_rcnn_vit_base_mae_coco_100e.py.
BEiT: layer scale, which starts from the checkpoint (0.1 without one), relative positions of
the checkpoint in both tables, absolute ones from zero.
UNKNOWN: lr, weight decay, drop path and epochs, which the authors searched for this row and did
not print. Those here are of MAE ViT-B, where the search starts that
configs/suite/table4_base_search.yaml makes.
No weights of BEiT pre-trained on ImageNet-1K alone are official; mmpretrain has a ViT-B of
300 epochs.
"""

from mmengine.config import read_base

with read_base():
    from .mask_rcnn_vit_base_mae_coco_100e import *

model["backbone"].update(layer_scale_init=0.1)

reproduces = [
    dict(table="Table 4", column="APbox ViT-B", metric="coco/bbox_mAP", scale=100),
    dict(table="Table 4", column="APmask ViT-B", metric="coco/segm_mAP", scale=100),
]
