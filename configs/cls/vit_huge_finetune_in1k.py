"""End-to-end fine-tuning of ViT-H/14 on ImageNet-1K, by the authors' command line.

    torchrun --nnodes 2 --nproc-per-node 8 ... tools/train.py \\
        configs/cls/vit_huge_finetune_in1k.py --checkpoint CKPT --launcher pytorch --amp

Reproduces MAE Table 3, ViT-H. Differs from Table 9
(vit_huge_finetune_table9_in1k.py) in drop path 0.3 for 0.2 and in random erasing. Batch here: 16
GPUs x 64 = 1024.

Sources: what differs from vit_base_finetune_in1k.py is from the authors' FINETUNE.md; the rest as
there.
UNKNOWN: as there.
"""

from mmengine.config import read_base

with read_base():
    from .vit_base_finetune_in1k import *


model["backbone"].update(arch="huge", patch_size=14, drop_path_rate=0.3)
model["head"].update(in_channels=1280)

train_dataloader.update(batch_size=64)
train_cfg.update(max_epochs=50)

# Base learning rate for a batch of 256, scaled to the batch in use: 4e-3 for 1024.
optim_wrapper["optimizer"].update(lr=1e-3)
optim_wrapper["paramwise_cfg"].update(layer_decay=0.75)
