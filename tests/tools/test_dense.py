"""Every detection and segmentation config from data to record, shrunk, on MiniWorld."""

import json
import math
import os
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mae_bench.config.load import load_config
from mae_bench.openmmlab.coco_metric import STATISTICS
from mae_bench.results.record import read_record
from mae_bench.training.launch import (
    use_fully_sharded,
    use_mixed_precision,
)
from mae_bench.training.runner import TrainRunner
from mae_bench.training.start import Start, find_start

from ..shrink import SMALLER_KEYS, shrink
from .conftest import ROOT
from .test_classification import export

CONFIGS = sorted(
    path
    for task in ("det", "seg")
    for path in (ROOT / "configs" / task).glob("*.py")
    if "mini" not in path.stem
)
FAST = {"mask_rcnn_vit_base_coco", "upernet_vit_base_ade20k"}
DETECTION = ROOT / "configs/det/mask_rcnn_vit_base_coco.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_base_ade20k.py"
MULTI_SCALE = ROOT / "configs/seg/upernet_vit_base_ade20k_ms.py"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
METRICS = {
    "det": {f"coco/{kind}_{name}" for kind in ("bbox", "segm") for name in STATISTICS},
    "seg": {"mIoU", "mAcc", "aAcc"},
}

every_config = pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[] if p.stem in FAST else pytest.mark.slow, id=p.stem) for p in CONFIGS],
)


@pytest.fixture
def world(workplace) -> Path:
    """MiniWorld where the configs look for COCO and ADE20K, and a tiny ImageNet-S."""
    Path("data/coco").symlink_to(Path("data/miniworld/coco").resolve())
    Path("data/ade").mkdir()
    ade = Path("data/ade/ADEChallengeData2016")
    ade.symlink_to(Path("data/miniworld/ade20k").resolve())
    generator = np.random.default_rng(0)
    for split in ("train-semi", "validation"):
        for name in ("n01440764", "n01443537", "n01484850"):
            for folder in (split, f"{split}-segmentation"):
                Path("data/imagenet-s/ImageNetS919", folder, name).mkdir(parents=True)
            picture = generator.integers(0, 256, (40, 52, 3), dtype=np.uint8)
            mask = np.zeros((40, 52, 3), np.uint8)
            mask[:20, :, 0] = 2
            mask[30:] = (1000 % 256, 1000 // 256, 0)
            root = Path("data/imagenet-s/ImageNetS919")
            Image.fromarray(picture).save(root / split / name / "0.JPEG")
            Image.fromarray(mask).save(root / f"{split}-segmentation" / name / "0.png")
    return workplace


def small(path: Path, work_dir: str) -> Config:
    """A real config with the sizes of the shrinking rule, for four steps."""
    cfg = load_config(path)
    for part in (
        "model",
        "train_dataloader",
        "val_dataloader",
        "test_dataloader",
        "train_cfg",
        "param_scheduler",
    ):
        shrink(cfg[part])
    cfg.default_hooks.checkpoint.max_keep_ckpts = 3
    cfg.work_dir = work_dir
    cfg.total_batch_size = None
    cfg.train_dataloader.dataset.indices = 4
    cfg.val_dataloader.dataset.indices = 2
    if "max_epochs" in cfg.train_cfg:
        cfg.train_cfg.update(max_epochs=2, val_interval=1)
        schedule = cfg.param_scheduler[0]
        schedule.update({key: 1 for key in ("warmup", "end") if key in schedule})
        if "total" in schedule:
            schedule.update(total=2)
    else:
        cfg.default_hooks.checkpoint.interval = 2
    if path.parent.name == "det":
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.dataset.metainfo = dict(classes=DIGITS)
        set_everywhere(cfg.model, "num_classes", len(DIGITS))
    if "imagenet_s" in path.stem:
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.dataset.num_classes = 4
    return cfg


def set_everywhere(node: Any, key: str, value: Any) -> None:
    if isinstance(node, dict):
        if key in node:
            node[key] = value
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            set_everywhere(child, key, value)


def train(cfg: Config, start: Start | None = None) -> TrainRunner:
    """Run a config; every loss is finite."""
    runner = TrainRunner.from_cfg(cfg, start)
    losses = []
    step = runner.model.train_step
    runner.model.train_step = lambda *a, **k: losses.append(step(*a, **k)) or losses[-1]
    runner.train()
    assert losses and all(math.isfinite(found["loss"].item()) for found in losses)
    tensors = chain(runner.model.parameters(), runner.model.buffers())
    assert all(tensor.isfinite().all() for tensor in tensors)
    return runner


@every_config
def test_trains_evaluates_and_resumes(path, world):
    cfg = small(path, "whole")
    trained = train(cfg)
    record = read_record("whole/record.json")
    assert record.status == "completed"
    assert set(record.metrics) == METRICS[path.parent.name]
    assert record.run_card["iterations"] == 4
    assert record.run_card["precision"] == "float32"
    assert Path("whole/checkpoint.safetensors").is_file()
    assert Path("whole/predictions/sample_0000.png").stat().st_size > 0

    middle = [name for name in ("epoch_1.pth", "iter_2.pth") if Path("whole", name).is_file()]
    cfg = small(path, "resumed")
    cfg.update(load_from=f"whole/{middle[0]}", resume=True)
    resumed = train(cfg)
    assert resumed.iter == trained.iter == 4
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def train_as_one_of_two(rank: int, paths: list[Path], fully_sharded: bool) -> None:
    """One of two processes that train each config together; both end with the same weights."""
    torch.set_num_threads(1)  # threads do not survive a fork
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    meeting = Path("meeting").resolve().as_uri()
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    for path in paths:
        cfg = small(path, path.stem)
        cfg.launcher = "pytorch"
        cfg.sync_bn = None  # torch's has a kernel for GPUs only
        cfg.train_dataloader.dataset.indices = 8
        if fully_sharded:
            use_fully_sharded(cfg)
            train(cfg)
            continue
        model = train(cfg).model.module
        for name, parameter in model.named_parameters():
            first = parameter.detach().clone()
            torch.distributed.broadcast(first, src=0)
            assert torch.equal(parameter, first), (path.stem, name)


@pytest.mark.slow
@pytest.mark.parametrize("fully_sharded", [False, True], ids=["", "fully_sharded"])
@pytest.mark.parametrize("task", ["det", "seg"])
def test_two_processes_train_together(task, fully_sharded, world):
    paths = [path for path in CONFIGS if path.parent.name == task]
    if fully_sharded:
        paths = [path for path in paths if "huge" in path.stem]
    # Forked, as imports would take longer than the training.
    torch.multiprocessing.start_processes(
        train_as_one_of_two, (paths, fully_sharded), nprocs=2, start_method="fork"
    )
    for path in paths:
        record = read_record(Path(path.stem, "record.json"))
        assert record.status == "completed"
        assert set(record.metrics) == METRICS[task]
        # Of two epochs or four iterations; the tiny ImageNet-S has three pictures in all.
        assert record.run_card["iterations"] == (2 if "imagenet_s" in path.stem else 4)
        assert record.run_card["effective_batch"] == 4


def test_one_image_has_no_batch_statistics(world):
    cfg = small(SEGMENTATION, "work")
    cfg.train_dataloader.batch_size = 1
    with pytest.raises(
        ValueError, match="BatchNorm .* one image: give train_dataloader.batch_size=2"
    ):
        train(cfg)


def test_norms_over_all_processes_need_gpus(world, monkeypatch):
    runner = TrainRunner.from_cfg(small(SEGMENTATION, "work"))
    assert runner.cfg.sync_bn == "torch"
    monkeypatch.setattr(runner, "_distributed", True)
    with pytest.raises(ValueError, match="sync_bn needs GPUs: give sync_bn=None"):
        runner.wrap_model(None, torch.nn.BatchNorm2d(1))


@pytest.mark.parametrize("path", [DETECTION, SEGMENTATION], ids=["detection", "segmentation"])
def test_from_an_exported_mae_checkpoint(path, world):
    export(Path("mae.safetensors"), SMALLER_KEYS["arch"])
    cfg = small(path, "work")
    runner = train(cfg, find_start(cfg, "mae.safetensors"))
    report = runner.model.backbone.loading_report
    assert "blocks.1.attn.qkv.weight" in report.loaded
    assert read_record("work/record.json").checkpoint["metadata"]["method"] == "mae"


@pytest.mark.slow
def test_mixed_precision_is_on(world):
    cfg = small(SEGMENTATION, "work")
    use_mixed_precision(cfg, "bfloat16")
    runner = TrainRunner.from_cfg(cfg)
    types = set()
    runner.model.backbone.blocks[0].mlp.fc1.register_forward_hook(
        lambda module, inputs, output: types.add((module.training, output.dtype))
    )
    runner.train()
    assert (True, torch.bfloat16) in types
    assert (True, torch.float32) not in types
    assert read_record("work/record.json").run_card["precision"] == "mixed bfloat16"


def odd_pictures() -> None:
    """Make MiniWorld's training annotations hold every odd case: nothing, a crowd, one pixel."""
    path = Path("data/coco/annotations/instances_train2017.json")
    data = json.loads(path.read_text())
    data["images"] = data["images"][:4]
    first, empty, crowd, pixel = (image["id"] for image in data["images"])
    kept = [found for found in data["annotations"] if found["image_id"] == first]
    one = dict(kept[0], segmentation=[[5, 5, 6, 5, 6, 6, 5, 6]], bbox=[5, 5, 1, 1], area=1)
    height, width = data["images"][0]["height"], data["images"][0]["width"]
    counts = [0, height * 4, height * (width - 4)]
    group = dict(
        kept[0],
        segmentation=dict(size=[height, width], counts=counts),
        bbox=[0, 0, 4, height],
        area=4 * height,
        iscrowd=1,
    )
    kept += [dict(one, image_id=pixel, id=10**6), dict(group, image_id=crowd, id=10**6 + 1)]
    data["annotations"] = kept
    for name in ("odd", "only_empty"):
        if name == "only_empty":
            data["images"] = [image for image in data["images"] if image["id"] == empty]
            data["annotations"] = []
        Path(f"{name}.json").write_text(json.dumps(data))


@pytest.mark.parametrize("annotations", [pytest.param("odd", marks=pytest.mark.slow), "only_empty"])
def test_pictures_without_objects_crowds_and_single_pixels(annotations, world):
    odd_pictures()
    cfg = small(DETECTION, "work")
    for loader, name in ((cfg.train_dataloader, annotations), (cfg.val_dataloader, "odd")):
        loader.dataset.update(ann_file=str(Path(f"{name}.json").resolve()), filter_cfg=None)
        loader.dataset.data_prefix = dict(img="train2017")
    # all there are, and chosen so
    cfg.train_dataloader.dataset.indices = cfg.val_dataloader.dataset.indices = 10
    cfg.train_dataloader.drop_last = False
    cfg.param_scheduler = None
    cfg.val_evaluator.ann_file = str(Path("odd.json").resolve())
    train(cfg)
    assert read_record("work/record.json").status == "completed"


def test_interrupted_test_leaves_no_record(run_tool, world, monkeypatch):
    cfg = small(SEGMENTATION, "work")
    train(cfg)
    before = Path("work/record.json").read_bytes()
    from mmseg.evaluation import IoUMetric

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IoUMetric, "process", interrupted)
    monkeypatch.setattr("mae_bench.config.load.load_config", lambda *args: small_test())
    ended = run_tool(
        "test.py", SEGMENTATION, "work/checkpoint.safetensors", "--out", "test/record.json"
    )
    assert ended.code == 130
    assert not Path("test").exists() or not list(Path("test").iterdir())
    assert Path("work/record.json").read_bytes() == before


@pytest.mark.slow
def test_six_scales_mirrored_through_the_command(run_tool, world, monkeypatch):
    train(small(SEGMENTATION, "work"))
    cfg = small(MULTI_SCALE, "tested")
    cfg.test_dataloader.batch_size = 1  # as in the config
    cfg.test_dataloader.dataset.indices = 2
    monkeypatch.setattr("mae_bench.config.load.load_config", lambda *args: cfg)
    from mmseg.models import EncoderDecoder

    views = []
    test_step = EncoderDecoder.test_step
    monkeypatch.setattr(
        EncoderDecoder,
        "test_step",
        lambda self, data: views.append(data["inputs"][0]) or test_step(self, data),
    )
    ended = run_tool(
        "test.py", MULTI_SCALE, "work/checkpoint.safetensors", "--out", "test/record.json"
    )
    assert ended.code == 0, ended.stderr
    # Half a size, three quarters and one are all the crop's, 32; every view and its mirror image.
    sides = [side for side in (32, 32, 32, 40, 48, 56) for _ in range(2)]
    assert [view.shape[1] for view in views] == 2 * sides
    for view, mirrored in zip(views[::2], views[1::2], strict=True):
        assert torch.equal(mirrored, view.flip(2))
    assert set(read_record("test/record.json").metrics) == METRICS["seg"]


def small_test() -> Config:
    cfg = small(SEGMENTATION, "tested")
    cfg.test_dataloader.dataset.indices = 2
    return cfg
