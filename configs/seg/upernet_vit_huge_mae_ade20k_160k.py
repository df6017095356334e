"""UperNet with ViT-H/14 on ADE20K, 160,000 iterations from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_huge_mae_ade20k_160k.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces no published number: the paper has no ViT-H on ADE20K.

Sources: as in upernet_vit_base_mae_ade20k_160k.py; layer decay 0.75 and drop path 0.3: the authors'
fine-tuning of ViT-H. Chosen here: a crop of 518 pixels, the first multiple of the patch size that
holds 512; the pyramid's strides are 3.5, 7, 14 and 28; taps every eight blocks.
UNKNOWN: all of it as a recipe for ADE20K. Batch here: 8 GPUs x 2.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_mae_ade20k_160k import *

size = 518
model["data_preprocessor"].update(size=(size, size), test_cfg=dict(size=(size, size)))
model["backbone"].update(
    arch="huge",
    img_size=size,
    patch_size=14,
    out_indices=(7, 15, 23, 31),
    drop_path_rate=0.3,
)
model["neck"].update(embed_dim=1280, patch_size=14, strides=[3.5, 7, 14, 28])
model["decode_head"].update(in_channels=[1280] * 4, channels=1280)
model["auxiliary_head"].update(in_channels=1280)
model["test_cfg"].update(crop_size=(size, size), stride=(345, 345))
train_dataloader["dataset"]["pipeline"][2].update(scale=(2072, size))
train_dataloader["dataset"]["pipeline"][3].update(crop_size=(size, size))
val_dataloader["dataset"]["pipeline"][1].update(scale=(2072, size))
test_dataloader["dataset"]["pipeline"][1].update(scale=(2072, size))

optim_wrapper["paramwise_cfg"].update(layer_decay=0.75)

reproduces = []
