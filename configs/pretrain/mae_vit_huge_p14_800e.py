"""MAE pre-training of ViT-H/14 on ImageNet-1K, 800 epochs.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_huge_p14_800e.py \\
        --launcher pytorch --amp

Reproduces MAE Table 8; the paper prints no figure for ViT-H with normalised pixels at 800 epochs.

Sources: all else as in mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="huge", patch_size=14)
