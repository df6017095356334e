"""UperNet with ViT-B/16 on ADE20K as the public runs with the paper's number have it.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_base_mae_ade20k_160k_gamma.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces implus/mae_segmentation: 48.15 mIoU, 58.99 mean class accuracy, 83.05 pixel accuracy; and
mmsegmentation: 48.13 mIoU. Both have a trained factor that starts from 1 on every channel of either
branch of a block, which MAE has not. The rest is as in upernet_vit_base_mae_ade20k_160k.py.

Sources: code and configs of the two. UNKNOWN: nothing. mmsegmentation's run is in float32, though
its config is called amp: leave out --amp for it.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_mae_ade20k_160k import *

model["backbone"].update(layer_scale_init=1.0)

reproduces = [
    dict(table="mae_segmentation", row="MAE ViT-B", column="mIoU", metric="mIoU"),
    dict(table="mae_segmentation", row="MAE ViT-B", column="mAcc", metric="mAcc"),
    dict(table="mae_segmentation", row="MAE ViT-B", column="aAcc", metric="aAcc"),
    dict(table="mmsegmentation", row="MAE ViT-B", column="mIoU", metric="mIoU"),
]
