"""Robustness of the model of any mmpretrain config: ImageNet val, A, R, Sketch, V2, C.

    tools/test.py configs/cls/mmpretrain_robustness_in1k.py CKPT --cfg-options \\
        model.config=resnet/resnet50_8xb32_in1k.py

Reproduces no published number. model.config is a file, or a path below mmpretrain's own configs;
CKPT a file of its weights. Mean, std and the test pipeline are that config's. Images of
ImageNet-C of 224 pixels are taken as they are; the rest as in vit_base_robustness_in1k.py.
UNKNOWN: nothing.
"""

from mmengine.config import read_base

from mae_bench.openmmlab.classifiers import mmpretrain_model

with read_base():
    from .vit_base_robustness_in1k import *

model = dict(type=mmpretrain_model, config="mobilenet_v2/mobilenet-v2_8xb32_in1k.py")
test_dataloader["dataset"].update(transform=None)
