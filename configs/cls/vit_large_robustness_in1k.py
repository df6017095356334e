"""Robustness of a fine-tuned ViT-L/16: ImageNet val, A, R, Sketch and C in one go.

    tools/test.py configs/cls/vit_large_robustness_in1k.py CKPT

Reproduces MAE Table 13, ViT-L: IN-C 41.8 mCE, IN-A 57.1, IN-R 59.9, IN-Sketch 45.3 top-1; of
supervised ViT-L 42.3, 29.6, 50.9, 37.5. Everything else, what is UNKNOWN too, as in
vit_base_robustness_in1k.py.
"""

from mmengine.config import read_base

with read_base():
    from .vit_base_robustness_in1k import *

model["backbone"].update(arch="large")
model["head"].update(in_channels=1024)
for entry in reproduces:
    entry.update(column="ViT-L")
