"""A training run of seconds on the CPU, as a script: started by path, in this process or another.

Whoever runs it sets the global ``REQUEST``: the arguments of :func:`tiny_config`, ``changes`` to
the config, ``environment`` variables, ``sharded`` for FSDP, and ``kill_in_save`` to die in the n-th
save. Every loss is appended to ``losses.txt``, bit for bit.
"""

import os
import signal
import uuid
from itertools import chain
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import ValLoop
from mmpretrain.datasets import CustomDataset, PackInputs
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier, LabelSmoothLoss, LinearClsHead
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

import mae_bench.files
from mae_bench.datasets.loading import LoadImageTensor, RandomResizedCropTensor
from mae_bench.distributed import unwrap
from mae_bench.models import MAE, VisionTransformer
from mae_bench.openmmlab.batch_augment import EraseAndMix
from mae_bench.training import LayerDecayConstructor, ResumableEpochLoop, WarmupCosineLR, launch
from mae_bench.training.hooks import (
    ExportCheckpoint,
    SaveCheckpoint,
    StopOnNonFiniteLoss,
    WeightAverage,
)
from mae_bench.training.runner import TrainRunner  # noqa: F401 (for the tests)

PREPROCESSOR = dict(type=ClsDataPreprocessor, mean=[127.0] * 3, std=[60.0] * 3, num_classes=2)


class RecordedMAE(MAE):
    """Remembers the masks that it trained with since they were last taken."""

    def loss(self, images, masking=None):
        self.visible = [*getattr(self, "visible", []), *masking.visible.tolist()]
        return super().loss(images, masking)


class KeepLosses(Hook):
    """Append each loss in hexadecimal, so that equal lines are equal bits, and each mask."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        name = f"{runner.rank or ''}.txt"
        with Path(runner.work_dir, f"losses{name}").open("a") as file:
            file.write(f"{runner.iter} {outputs['loss'].item().hex()}\n")
        if isinstance(unwrap(runner.model), MAE):
            with Path(runner.work_dir, f"masks{name}").open("a") as file:
                file.write(f"{unwrap(runner.model).__dict__.pop('visible')}\n")

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Run the model more often in one process than in another, as sliding windows may."""
        for _ in range(runner.rank):
            runner.model.val_step(data_batch)

    def after_train(self, runner):
        """Count the weights and moments that this process holds."""
        moments = chain.from_iterable(
            s.values() for s in runner.optim_wrapper.optimizer.state.values()
        )
        tensors = [t for t in chain(runner.model.parameters(), moments) if t.ndim]
        held = sum(t.to_local().numel() if isinstance(t, DTensor) else t.numel() for t in tensors)
        Path(runner.work_dir, f"held{runner.rank or ''}.txt").write_text(str(held))


def backbone(**kwargs) -> dict:
    arch = dict(embed_dim=24, depth=2, num_heads=2)
    return dict(type=VisionTransformer, arch=arch, img_size=16, patch_size=4, **kwargs)


def mae() -> dict:
    decoder = dict(embed_dim=16, depth=1, num_heads=2)
    return dict(
        type=RecordedMAE,
        backbone=backbone(output="tokens"),
        decoder=decoder,
        data_preprocessor=PREPROCESSOR,
    )


def classifier() -> dict:
    """Draws of every kind: drop path by torch, mixup by NumPy."""
    loss = dict(type=LabelSmoothLoss, label_smooth_val=0.1, mode="original")
    return dict(
        type=ImageClassifier,
        backbone=backbone(output="mean", drop_path_rate=0.3),
        head=dict(type=LinearClsHead, num_classes=2, in_channels=24, loss=loss),
        train_cfg=dict(augments=dict(type=EraseAndMix, erase_prob=0.5, mixup=0.8, cutmix=1.0)),
        data_preprocessor=PREPROCESSOR,
    )


def dataloader(images: str, workers: int, batch_size: int, shuffle: bool, crop: dict) -> dict:
    return dict(
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=shuffle,
        collate_fn=dict(type=default_collate),
        sampler=dict(type=DefaultSampler, shuffle=shuffle),
        dataset=dict(
            type=CustomDataset,
            data_root=images,
            pipeline=[
                dict(type=LoadImageTensor),
                dict(type=RandomResizedCropTensor, **crop),
                dict(type=PackInputs),
            ],
        ),
    )


def tiny_config(
    work_dir: str,
    images: str,
    workers: int = 0,
    model: str = "mae",
    epochs: int = 4,
    batch_size: int = 4,
    average: bool = True,
) -> Config:
    """A config of epochs of five batches (with 22 images), with a checkpoint every three steps."""
    export = dict(type=ExportCheckpoint, method="mae", data="noise")
    custom_hooks = [dict(type=KeepLosses), export]
    if average:
        custom_hooks.insert(0, dict(type=WeightAverage, decay=0.9))
    crop = dict(size=16, flip_prob=0.5)
    validation = {}
    if model == "classifier":
        whole = dict(size=16, scale=(1.0, 1.0), ratio=(1.0, 1.0))
        validation = dict(
            val_dataloader=dataloader(images, workers, 4, False, whole),
            val_evaluator=dict(type=Accuracy),
            val_cfg=dict(type=ValLoop),
        )
    return Config(
        dict(
            default_scope="mmpretrain",
            experiment_name=uuid.uuid4().hex,  # MMEngine keeps one log for each name in a process
            work_dir=work_dir,
            model=mae() if model == "mae" else classifier(),
            train_dataloader=dataloader(images, workers, batch_size, True, crop),
            train_cfg=dict(type=ResumableEpochLoop, max_epochs=epochs),
            optim_wrapper=dict(
                type=OptimWrapper,
                constructor=LayerDecayConstructor,
                optimizer=dict(type=AdamW, lr=1e-2, weight_decay=0.05, fused=True),
            ),
            param_scheduler=[
                dict(
                    type=WarmupCosineLR,
                    warmup=1,
                    by_epoch=True,
                    convert_to_iter_based=True,
                )
            ],
            default_hooks=dict(
                checkpoint=dict(type=SaveCheckpoint, interval=3, by_epoch=False),
                non_finite=dict(type=StopOnNonFiniteLoss),
            ),
            custom_hooks=custom_hooks,
            randomness=dict(seed=3),
            log_level="WARNING",
            **validation,
        ),
        format_python_code=False,  # classes and functions are no code as they are printed
    )


def kill_in_save(number: int) -> None:
    """SIGKILL this process and its workers when a checkpoint is written but not yet renamed."""
    fsync, saves = os.fsync, iter(range(1, 10**9))

    def fatal_fsync(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith(".tmp") and ".pth." in name and next(saves) == number:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        fsync(descriptor)

    mae_bench.files.os.fsync = fatal_fsync


def main(request: dict) -> None:
    """Start or resume a run as the leader of a process group."""
    os.setsid()
    os.environ.update(request.pop("environment", {}))
    changes = request.pop("changes", {})
    kill = request.pop("kill_in_save", None)
    sharded = request.pop("sharded", False)
    config = tiny_config(**request)
    config.merge_from_dict(changes)
    if "RANK" in os.environ:
        config.launcher = "pytorch"
    if kill:
        kill_in_save(kill)
    if sharded:
        launch.use_fully_sharded(config)
    launch.run(config, resume=True)


if "REQUEST" in globals():
    main(globals()["REQUEST"])
