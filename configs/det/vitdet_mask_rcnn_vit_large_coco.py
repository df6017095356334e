"""ViTDet: Mask R-CNN with ViT-L/16 and a simple pyramid on COCO, 100 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/det/vitdet_mask_rcnn_vit_large_coco.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces ViTDet (Li et al. 2022), Mask R-CNN, ViT-L.

Sources: detectron2, projects/ViTDet:
layer decay 0.8, drop path 0.4, global blocks 5, 11, 17 and 23;
the rest as in vitdet_mask_rcnn_vit_base_coco.py.
Batch here: 8 GPUs x 8, which may need model.backbone.with_cp=True.
"""

from mmengine.config import read_base

with read_base():
    from .vitdet_mask_rcnn_vit_base_coco import *

model["backbone"].update(
    arch="large",
    out_indices=(23,),
    global_blocks=(5, 11, 17, 23),
    drop_path_rate=0.4,
)
model["neck"].update(embed_dim=1024)
optim_wrapper["paramwise_cfg"].update(layer_decay=0.8)
