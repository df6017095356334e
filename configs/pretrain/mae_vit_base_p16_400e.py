"""MAE pre-training of ViT-B/16 on ImageNet-1K, 400 epochs, as mmpretrain does.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_base_p16_400e.py \\
        --launcher pytorch --amp

Reproduces mmpretrain's run of 400 epochs: fine-tuned top-1 83.3, linear 62.5; and mmselfsup's
of 400 epochs: fine-tuned top-1 83.1.

Sources: mmpretrain's configs, which are Table 8 but for the length and the tokens, which they do
not decay. Kept here: warm-up from 0 (theirs starts at 1e-4 of the peak), the authors' order of the
sin-cos halves, biases of 0 (theirs are drawn with std 1e-6). They compute in mixed float16: for
that `--amp float16`.
UNKNOWN: whether mmselfsup's older run, which is not mixed precision, differs in more than that.
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

epochs = 400

optim_wrapper["paramwise_cfg"].update(no_decay=("cls_token", "mask_token"))
train_cfg.update(max_epochs=epochs)
param_scheduler[0].update(total=epochs)
