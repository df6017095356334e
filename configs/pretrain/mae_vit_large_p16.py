"""MAE pre-training of ViT-L/16 on ImageNet-1K, 1600 epochs.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_large_p16.py \\
        --launcher pytorch --amp

Reproduces MAE Table 8, and with it the ViT-L of Tables 3 to 7, 12 and 13. The ablations of Tables 1
and 2 have 800 epochs and un-normalised pixels (of Table 2 the pixels are an inference from its
accuracies, which are Table 1's):
`--cfg-options train_cfg.max_epochs=800 model.norm_pix=False`.

Sources and UNKNOWN: as mae_vit_base_p16.py. UNKNOWN besides: how the paper's block-wise masking
reached exact counts (BEiT's generator stops short: 97.5 of 98 patches on average; here it goes on);
which ratios Figure 5 draws.
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16 import *

model["backbone"].update(arch="large")
