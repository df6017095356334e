"""MAE pre-training of ViT-L/16 on ImageNet-1K, 300 epochs, as mmpretrain does.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_large_p16_300e.py \\
        --launcher pytorch --amp

Reproduces mmpretrain's config of 300 epochs, for which it publishes no figure.

Sources: mmpretrain's configs, which are Table 8 but for the length and the tokens, which they do
not decay. Kept here: warm-up from 0 (theirs starts at 1e-4 of the peak), the authors' order of the
sin-cos halves, biases of 0 (theirs are drawn with std 1e-6). They compute in mixed float16: for
that `--amp float16`.
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

epochs = 300

model["backbone"].update(arch="large")
optim_wrapper["paramwise_cfg"].update(no_decay=("cls_token", "mask_token"))
train_cfg.update(max_epochs=epochs)
param_scheduler[0].update(total=epochs)
