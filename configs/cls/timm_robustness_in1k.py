"""Robustness of any model of timm, by name: ImageNet val, A, R, Sketch, V2, C in one go.

    tools/test.py configs/cls/timm_robustness_in1k.py --cfg-options model.pretrained=True \\
        model.model_name=resnet50.a1_in1k
    tools/test.py configs/cls/timm_robustness_in1k.py CKPT --cfg-options \\
        model.model_name=vit_base_patch16_224 model.global_pool=avg

Reproduces no published number. The first command takes timm's weights, from its cache or the hub;
the second a file with timm's names, such as the authors' mae_finetuned_vit_base.pth. Mean, std,
crop and interpolation are the model's own in timm. Images of ImageNet-C of 224 pixels are taken
as they are; the rest as in vit_base_robustness_in1k.py. UNKNOWN: nothing.
"""

from mmengine.config import read_base

from mae_bench.openmmlab.classifiers import TimmModel

with read_base():
    from .vit_base_robustness_in1k import *

model = dict(type=TimmModel, model_name="resnet50.a1_in1k", pretrained=False, global_pool=None)
test_dataloader["dataset"].update(transform=None)
