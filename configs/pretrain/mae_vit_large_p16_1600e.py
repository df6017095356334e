"""MAE pre-training of ViT-L/16 on ImageNet-1K, 1600 epochs.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_large_p16_1600e.py \\
        --launcher pytorch --amp

Reproduces MAE Table 8, and with it Tables 3 to 7, 12 and 13 for ViT-L: fine-tuned top-1 85.9,
linear 75.8.

Sources: all else as in mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

epochs = 1600

model["backbone"].update(arch="large")
train_cfg.update(max_epochs=epochs)
param_scheduler[0].update(total=epochs)
