"""Robustness of a fine-tuned ViT-H/14: ImageNet val, A, R, Sketch and C in one go.

    tools/test.py configs/cls/vit_huge_robustness_in1k.py CKPT

Reproduces MAE Table 13, ViT-H: IN-C 33.8 mCE, IN-A 68.2, IN-R 64.4, IN-Sketch 49.6 top-1; of
supervised ViT-H 41.3, 33.1, 50.3, 38.0. Everything else, what is UNKNOWN too, as in
vit_base_robustness_in1k.py.
"""

from mmengine.config import read_base

with read_base():
    from .vit_base_robustness_in1k import *

model["backbone"].update(arch="huge", patch_size=14)
model["head"].update(in_channels=1280)
for entry in reproduces:
    entry.update(column="ViT-H")
