"""Linear probing of the small ViT on MiniWorld with all labels.

    tools/train.py configs/cls/vit_mini_linear_miniworld.py --checkpoint CKPT

Reproduces no published number. The recipe is that of MAE Table 10 (LARS without weight decay,
class token, BatchNorm without affine, random resized crop, cosine). Not from the paper, chosen by
measuring here: base lr, batch, epochs. The same for every initialisation.
"""

from mmengine.config import read_base
from mmengine.optim import OptimWrapper
from mmpretrain.models import CrossEntropyLoss

from mae_bench.openmmlab.linear_probe import LinearProbeHead
from mae_bench.training import LARS, LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR

with read_base():
    from .vit_mini_finetune_miniworld import *


model["head"] = dict(
    type=LinearProbeHead,
    num_classes=10,
    in_channels=96,
    loss=dict(type=CrossEntropyLoss),
    init_cfg=dict(type="TruncNormal", layer="Linear", std=0.01),
)
model["backbone"].update(output="class_token", frozen=True)

train_cfg = dict(type=ResumableEpochLoop, max_epochs=6, val_interval=3)

# Base learning rate for a batch of 256, scaled to the batch in use.
total_batch_size = 128
train_dataloader.update(batch_size=128)
train_dataloader["dataset"].update(ann_file="meta/train.txt")
optim_wrapper = dict(
    type=OptimWrapper,
    constructor=LayerDecayConstructor,
    optimizer=dict(type=LARS, lr=32.0, momentum=0.9, weight_decay=0.0),
)
param_scheduler = [
    dict(type=WarmupCosineLR, warmup=1, min_lr=0.0, by_epoch=True, convert_to_iter_based=True)
]
