"""k-NN of a frozen ViT-B/16 on images of your own, from features that are extracted once.

    tools/test.py configs/cls/vit_base_frozen_own.py CKPT --cfg-options own_data.root=FOLDER

FOLDER is what vit_base_finetune_own.py takes: class folders, also below train/ and val/, or lists;
without a validation set every fifth image is held out. CKPT and models are those of
vit_base_frozen_in1k.py. See docs/frozen.md; `tools/card.py CKPT --data FOLDER` measures more.

Reproduces no published number. Measures, crop and precision are those of ImageNet. Not from there:
k of 5 and 20, which smaller sets have images for; images are turned upright by EXIF, as phones
need it.
"""

from mmengine.config import read_base

from mae_bench.datasets.image_folders import ImageFolders

with read_base():
    from .vit_base_frozen_in1k import *

own_data = dict(root="data/own", classes=None, train=None, val=None)

pipeline[0].update(exif_orientation=True)
train_dataloader["dataset"].pop("split")
train_dataloader["dataset"].update(type=ImageFolders, data_root="data/own", pipeline=pipeline)
test_dataloader["dataset"].pop("split")
test_dataloader["dataset"].update(type=ImageFolders, data_root="data/own", pipeline=pipeline)
test_cfg["measures"][0].update(neighbours=[5, 20])
custom_hooks[0].update(data="own data")
