"""UperNet with ViT-L/16 on ADE20K, 160,000 iterations from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_large_ade20k.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 5, ViT-L, and Table 7, ADE20K ViT-L; the row is that of the checkpoint.

Sources: out_indices and width of the heads: BEiT's code for ViT-L. Structure, data and schedule: as
in upernet_vit_base_ade20k.py.
UNKNOWN: lr, which the authors searched for this row and did not print, layer decay and drop path.
Here: lr of MAE ViT-B, layer decay of BEiT's and MAE's fine-tuning of ViT-L (0.75), drop path of
BEiT's fine-tuned ViT-L (0.2); configs/suite/table5_search.yaml searches from there.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_ade20k import *

model["backbone"].update(arch="large", out_indices=(7, 11, 15, 23), drop_path_rate=0.2)
model["neck"].update(embed_dim=1024)
model["decode_head"].update(in_channels=[1024] * 4, channels=1024)
model["auxiliary_head"].update(in_channels=1024)

optim_wrapper["paramwise_cfg"].update(layer_decay=0.75)
