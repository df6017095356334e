"""MAE pre-training of ViT-L/16 on ImageNet-1K, 800 epochs.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_large_p16_800e.py \\
        --launcher pytorch --amp

Reproduces MAE Table 8 at the length of Table 1, here the row "pixel (w/ norm)" of Table 1d:
fine-tuned top-1 85.4, linear 73.9.

Sources: all else as in mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
