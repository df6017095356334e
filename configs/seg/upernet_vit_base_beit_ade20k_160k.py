"""UperNet with ViT-B/16 on ADE20K, 160,000 iterations from BEiT.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_base_beit_ade20k_160k.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 5, BEiT, ViT-B: 47.1 mIoU.

Sources: structure, data and schedule: as in upernet_vit_base_mae_ade20k_160k.py.
BEiT: layer scale, which starts from the checkpoint (0.1 without one); relative positions, whose
shared table each block gets a copy of; absolute ones from zero. lr 7e-4, layer decay 0.65: BEiT's
config for self-supervised weights, whose result is not listed.
UNKNOWN: lr, layer decay and drop path of the row in the paper, which is a rerun of BEiT's code.
No weights of BEiT pre-trained on ImageNet-1K alone are official; mmpretrain has a ViT-B of
300 epochs.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_mae_ade20k_160k import *

model["backbone"].update(layer_scale_init=0.1)
optim_wrapper["optimizer"].update(lr=7e-4)

reproduces = [
    dict(table="Table 5", column="ViT-B", metric="mIoU"),
]
