"""Attentive probing of the frozen small ViT on MiniWorld with all labels.

    tools/train.py configs/cls/vit_mini_attentive_miniworld.py --checkpoint CKPT

Reproduces no published number. The head is that of vit_base_attentive_in1k.py, the rest that of
vit_mini_linear_miniworld.py, whose base lr of 32 was the best of 0.5, 2, 8, 16 and 32 here, too.
The same for every initialisation.
"""

from mmengine.config import read_base
from mmpretrain.models import CrossEntropyLoss

from mae_bench.openmmlab.attentive_probe import AttentiveProbeHead

with read_base():
    from .vit_mini_linear_miniworld import *

model["backbone"].update(output="maps", out_indices=(3,))
model["head"] = dict(
    type=AttentiveProbeHead,
    num_classes=10,
    in_channels=96,
    queries=32,
    loss=dict(type=CrossEntropyLoss),
)
