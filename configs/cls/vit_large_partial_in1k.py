"""Partial fine-tuning of ViT-L/16 on ImageNet-1K: the last blocks train, what is before is frozen.

    torchrun --nproc-per-node 8 tools/train.py configs/cls/vit_large_partial_in1k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Reproduces MAE Figure 9, from the default of the ablations (800 epochs, un-normalised pixels). Half
a block is the MLP of the last; no block at all is linear probing, with its own recipe:
vit_base_linear_in1k.py. Four blocks here; another number and another of the paper's lengths, 50,
100 and 200 epochs:
--cfg-options model.backbone.trainable_blocks=0.5 train_cfg.max_epochs=200
All of them: configs/suite/figure9.yaml.

Sources: Section 4.3 and Appendix A.1 (Table 9 but for the epochs, of which the best of the three
counts for each number of blocks). What Table 9 does not say as in vit_base_finetune_in1k.py.
UNKNOWN: whether the final norm trains (here it does), pooling (here the class token after the
pre-trained norm, as in linear probing, so that the ends of the curve meet), and whether frozen
blocks drop paths (here not); the recipes of MoCo v3's points.
"""

from mmengine.config import read_base

with read_base():
    from .vit_base_finetune_in1k import *


model["backbone"].update(arch="large", output="class_token", trainable_blocks=4)
model["head"].update(in_channels=1024)
model["train_cfg"]["augments"].update(erase_prob=0.0)

train_cfg.update(max_epochs=50)

# Base learning rate for a batch of 256, scaled to the batch in use: 4e-3 for 1024.
optim_wrapper["optimizer"].update(lr=1e-3)
optim_wrapper["paramwise_cfg"].update(layer_decay=0.75)
