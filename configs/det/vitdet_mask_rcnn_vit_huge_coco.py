"""ViTDet: Mask R-CNN with ViT-H/16 and a simple pyramid on COCO, 75 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/det/vitdet_mask_rcnn_vit_huge_coco.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces ViTDet (Li et al. 2022), Mask R-CNN, ViT-H.

Sources: detectron2, projects/ViTDet:
layer decay 0.9, drop path 0.5, global blocks 7, 15, 23 and 31,
75 epochs, weight decay of all, positions and norms too;
the rest as in vitdet_mask_rcnn_vit_base_coco.py.
MAE's ViT-H has patches of 14 pixels. detectron2 starts from mae_pretrain_vit_huge_p14to16.pth, the
patch embedding of which was made 16 x 16. UNKNOWN: how. Batch here: 8 GPUs x 8, which may need
model.backbone.with_cp=True.
"""

from mmengine.config import read_base

with read_base():
    from .vitdet_mask_rcnn_vit_base_coco import *

model["backbone"].update(
    arch="huge",
    out_indices=(31,),
    global_blocks=(7, 15, 23, 31),
    drop_path_rate=0.5,
)
model["neck"].update(embed_dim=1280)
optim_wrapper["paramwise_cfg"].update(layer_decay=0.9, no_decay=(), exempt="named")
train_cfg.update(max_epochs=75)
param_scheduler[1].update(milestones=[67, 72])
