"""UperNet with ViT-B/16 on images and masks of your own, on one GPU.

    tools/train.py configs/seg/upernet_vit_base_own.py --checkpoint CKPT \\
        --cfg-options own_data.root=FOLDER

FOLDER has images and masks of the same names, in images/train and masks/train, train/images and
train/masks, or images and masks, of which every fifth is held out. A mask's values are labels from
0, and 255 is void. The names of the classes are in classes.txt, one a line, or in
own_data.classes. See docs/own_data.md.

Reproduces no published number. The model, crops and augmentation are those of
upernet_vit_base_ade20k.py. Not from there: a batch of 4, to which the learning rate is scaled, and
4000 iterations. UNKNOWN: what is best for a given set; lr and length were not searched.
"""

from mmengine.config import read_base

from mae_bench.datasets.images_and_masks import ImagesAndMasks

with read_base():
    from .upernet_vit_base_ade20k import *

own_data = dict(root="data/own", classes=None, train=None, val=None)

total_batch_size = 4
train_dataloader.update(batch_size=4)
train_dataloader["dataset"].update(type=ImagesAndMasks, data_root="data/own")
val_dataloader["dataset"].update(type=ImagesAndMasks, data_root="data/own")
test_dataloader = val_dataloader
train_cfg.update(max_iters=4000, val_interval=500)
param_scheduler[0].update(warmup=100)
default_hooks["checkpoint"].update(interval=500)
default_hooks["visualization"].update(interval=5)
custom_hooks[0].update(data="own data")
