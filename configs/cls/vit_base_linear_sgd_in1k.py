"""Linear probing of ViT-B/16 on ImageNet-1K with SGD and a batch of 4096.

    torchrun --nproc-per-node 8 tools/train.py configs/cls/vit_base_linear_sgd_in1k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Reproduces MAE Table 12 by the alternative in the caption of Table 10: SGD "works similarly with a
4096 batch". Batch here: 8 GPUs x 512.

Sources: Table 10 and its caption; the rest as vit_base_linear_in1k.py.
UNKNOWN: the base lr with SGD; that of LARS is taken, a proposal.
"""

from mmengine.config import read_base
from torch.optim import SGD

with read_base():
    from .vit_base_linear_in1k import *

total_batch_size = 4096
train_dataloader.update(batch_size=512)

# Base learning rate for a batch of 256, scaled to the batch in use: 1.6 for 4096.
optim_wrapper["optimizer"] = dict(type=SGD, lr=0.1, momentum=0.9, weight_decay=0.0)
