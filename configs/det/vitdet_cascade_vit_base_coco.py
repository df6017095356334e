"""ViTDet: Cascade Mask R-CNN with ViT-B/16 and a simple pyramid on COCO, 100 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/det/vitdet_cascade_vit_base_coco.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces ViTDet (Li et al. 2022), Cascade Mask R-CNN, ViT-B.

Sources: detectron2, projects/ViTDet: three box heads, each with
four convolutions and one linear layer, boxes regressed for all
classes alike, sampled in the first stage only; one mask head, trained
on the proposals of the first stage; the rest as in vitdet_mask_rcnn_vit_base_coco.py.
Batch here: 8 GPUs x 8.
"""

from mmengine.config import read_base

with read_base():
    from .vitdet_mask_rcnn_vit_base_coco import *

model.update(roi_head=cascade_roi_head)
model["train_cfg"].update(rcnn=cascade_rcnn_train_cfg)
