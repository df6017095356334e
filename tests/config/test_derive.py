"""What follows from one override, and what contradicts it."""

import re

import pytest
import torch
from mmcv.transforms import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope

from mae_bench.config.keys import find
from mae_bench.config.load import load_config

from ..recipes import CONFIGS

FINETUNE = "cls/vit_base_finetune_in1k"
DETECTION = "det/mask_rcnn_vit_base_coco"
MINI_DETECTION = "det/mask_rcnn_vit_mini_miniworld"
CASCADE = "det/vitdet_cascade_vit_base_coco"
SEGMENTATION = "seg/upernet_vit_base_ade20k"
MINI_SEGMENTATION = "seg/upernet_vit_mini_miniworld"


def load(name: str, overrides: dict):
    return load_config(CONFIGS / f"{name}.py", overrides)


def build(cfg):
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        return MODELS.build(cfg.model).eval()


BACKBONE = "model.backbone."
CLASSES = "train_dataloader.dataset.metainfo.classes"
SIZES = {
    "tiny": {BACKBONE + "arch": "tiny"},
    "arch": {BACKBONE + "arch": dict(embed_dim=64, depth=6, num_heads=4)},
    "patch": {BACKBONE + "patch_size": 8},
    "image": {BACKBONE + "img_size": 448},
    "huge": {BACKBONE + "arch": "huge", BACKBONE + "patch_size": 14, BACKBONE + "img_size": 448},
}


@pytest.mark.parametrize("change", SIZES)
@pytest.mark.parametrize(
    "name", [FINETUNE, DETECTION, CASCADE, SEGMENTATION, "seg/patch_classifier_vit_base_imagenet_s"]
)
def test_model_fits_its_backbone(name, change):
    """A forward pass of the whole model, and maps of the strides that anchors and RoIs have."""
    cfg = load(name, SIZES[change])
    model = build(cfg)
    side = cfg.model.backbone.img_size
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(2, 3, side, side, device="meta"))
        if name.startswith("cls"):
            assert (
                model(torch.zeros(2, 3, side, side, device="meta"), mode="tensor").shape[1] == 1000
            )
        elif name.startswith("seg"):
            assert model.decode_head(features).shape[1] == cfg.model.decode_head.num_classes
        else:
            strides = model.rpn_head.prior_generator.strides
            assert [(side / w, side / h) for *_, h, w in (f.shape for f in features)] == strides
            for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
                found = cfg.model.roi_head[extractor].featmap_strides
                assert found == [stride for stride, _ in strides][: len(found)]


def test_pyramid_keeps_its_strides_where_the_adapter_can_make_them():
    """Patches of 8 in place of 4: the digits are as large as before, so are the anchors."""
    cfg = load(MINI_DETECTION, {BACKBONE + "patch_size": 8})
    assert cfg.model.neck[0].patch_size == 8
    assert cfg.model.neck[0].strides == cfg.model.rpn_head.anchor_generator.strides == [2, 4, 8, 16]


def test_blocks_keep_their_relative_depth():
    cfg = load(DETECTION, {BACKBONE + "arch": "large"})
    expected = load("det/mask_rcnn_vit_large_coco", {})
    assert list(cfg.model.backbone.out_indices) == list(expected.model.backbone.out_indices)
    assert cfg.model.backbone.global_blocks == list(expected.model.backbone.global_blocks)
    assert cfg.model.neck == expected.model.neck


def test_target_of_a_pre_training_has_the_patches_of_its_encoder():
    cfg = load("pretrain/mae_vit_large_p16_dvae", {BACKBONE + "patch_size": 14})
    assert cfg.model.target.patch_size == 14


@pytest.mark.parametrize(("size", "resize"), [(192, 219), (224, 256), (384, 384), (448, 448)])
def test_crops_follow_the_image_size(size, resize):
    """Evaluation as in the official code: 7/8 of the picture up to 224 pixels, above it all."""
    cfg = load(FINETUNE, {BACKBONE + "img_size": size, BACKBONE + "patch_size": 16})
    init_default_scope(cfg.default_scope)
    image = torch.randint(0, 255, (3, 500, 600), dtype=torch.uint8)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = [step for step in loader.dataset.pipeline if "Load" not in step["type"].__name__]
        found = Compose(steps)(dict(img=image, gt_label=0))
        assert found["inputs"].shape == (3, size, size)
    assert cfg.val_dataloader.dataset.pipeline[1]["size"] == resize
    robust = load("cls/vit_base_robustness_in1k", {BACKBONE + "img_size": size})
    assert robust.test_dataloader.dataset.transform == dict(
        size=size, resize=resize, interpolation="bicubic"
    )


def test_sizes_of_detection_and_segmentation_follow():
    cfg = load(DETECTION, {BACKBONE + "img_size": 512})
    pipelines = [cfg.train_dataloader.dataset.pipeline, cfg.test_dataloader.dataset.pipeline]
    assert [step.size for steps in pipelines for step in steps if "size" in step] == [512, 512]
    assert cfg.model.data_preprocessor.pad_size_divisor == 512
    cfg = load(MINI_DETECTION, {BACKBONE + "img_size": 64})
    pipeline = cfg.train_dataloader.dataset.pipeline
    sizes = [step.get("scale") or step.get("crop_size") or step.get("size") for step in pipeline]
    assert [size for size in sizes if size] == [(64, 64)] * 3
    cfg = load(SEGMENTATION, {BACKBONE + "img_size": 640})
    assert cfg.train_dataloader.dataset.pipeline[2]["scale"] == (2560, 640)
    assert cfg.model.test_cfg == dict(mode="slide", crop_size=(640, 640), stride=(426, 426))
    assert (
        cfg.model.data_preprocessor.size == cfg.model.data_preprocessor.test_cfg.size == (640, 640)
    )


def test_a_given_size_stays_and_another_crop_is_said(capsys):
    crop = "train_dataloader.dataset.pipeline.1.size"
    assert find(load(FINETUNE, {BACKBONE + "img_size": 384, crop: 320}), crop) == 320
    assert load(FINETUNE, {crop: 384}).model.backbone.img_size == 224
    load(FINETUNE, {BACKBONE + "img_size": [224, 256]})
    expected = [
        "=320, but the positions .*=384",
        "=384, but the positions .*=224",
        "not one number",
    ]
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    for message, pattern in zip(said, expected, strict=True):
        assert re.search(pattern, message)


PETS = ["traffic light", "dog", "bird"]
NO_WEIGHTS = {
    f"model.{head}.loss_decode.class_weight": None for head in ("decode_head", "auxiliary_head")
}


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        (FINETUNE, {}),
        (DETECTION, {}),
        (CASCADE, {}),
        (MINI_DETECTION, {}),
        (SEGMENTATION, {}),
        (MINI_SEGMENTATION, NO_WEIGHTS),
    ],
)
@pytest.mark.parametrize("loader", ["train", "val"])
def test_class_list_sets_heads_and_every_data_set(name, overrides, loader):
    cfg = load(name, {f"{loader}_dataloader.dataset.metainfo.classes": PETS, **overrides})
    counts = re.findall(r"num_classes': (\d+)", str(cfg.model.to_dict()))
    assert counts and set(counts) == {"3"}
    for part in ("train", "val", "test"):
        if dataset := find(cfg, f"{part}_dataloader.dataset"):
            assert dataset.metainfo.classes == PETS
            assert "palette" not in dataset.metainfo
    assert find(cfg, "val_evaluator.topk") in (None, (1,))


def test_number_of_classes_sets_all_numbers():
    cfg = load("cls/vit_base_finetune_inat2017", {"model.head.num_classes": 10})
    counts = re.findall(r"num_classes': (\d+)", str(cfg.to_dict()))
    assert counts == ["10"] * 6


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            MINI_DETECTION,
            {"model.roi_head.mask_head.num_classes": 3},
            "mask_head.num_classes=3, but",
        ),
        (SEGMENTATION, {"model.decode_head.num_classes": 10}, r"ADE20K\) says 150"),
        (FINETUNE, {"model.head.num_classes": 10}, r"of ImageNet1K\) says 1000: give the list"),
        (FINETUNE, {CLASSES: "cat"}, "metainfo.classes='cat' is no list: write .*=\"\\['cat'\\]\""),
        (
            DETECTION,
            {CLASSES: ["cat", "dog"], "val_dataloader.dataset.metainfo.classes": ["dog", "cat"]},
            "label 0 is 'dog' and 'cat'",
        ),
        (MINI_SEGMENTATION, {CLASSES: PETS}, "class_weight has 11 weights for 3 classes"),
        (FINETUNE, {CLASSES: PETS, "val_evaluator.topk": [1, 5]}, "more than 3 classes"),
        (MINI_DETECTION, {"model.neck.0.embed_dim": 48}, "embed_dim=48 contradicts model.backbone"),
        (
            MINI_DETECTION,
            {BACKBONE + "patch_size": 8, "model.neck.0.patch_size": 4},
            "neck.0.patch_size=4 contradicts model.backbone, 96 wide with patches of 8",
        ),
        (FINETUNE, {BACKBONE + "img_size": 230}, "img_size=230 .*patch_size=16: .* such as 224"),
        (FINETUNE, {BACKBONE + "arch": "bsae"}, "model.backbone cannot be built: arch='bsae'"),
    ],
)
def test_what_contradicts_is_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        load(name, overrides)


LENGTHS = [
    (FINETUNE, "max_epochs", 20),
    ("pretrain/mae_vit_base_p16", "max_epochs", 400),
    (DETECTION, "max_epochs", 25),
    (CASCADE, "max_epochs", 25),
    ("cls/vit_mini_finetune_miniworld", "max_epochs", 20),
    (MINI_SEGMENTATION, "max_epochs", 20),
    (SEGMENTATION, "max_iters", 5000),
]


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
@pytest.mark.parametrize(("name", "unit", "length"), LENGTHS)
def test_schedule_ends_with_the_run(name, unit, length):
    """The rate at the end of a shorter run is that at the end of the recipe's own."""
    rates = []
    for overrides in ({}, {f"train_cfg.{unit}": length}):
        cfg = load(name, overrides)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        per_epoch = 400 if unit == "max_epochs" else 1
        end = cfg.train_cfg[unit]
        built = []
        for scheduler in cfg.param_scheduler:
            by_epoch = scheduler.get("by_epoch", True)
            defaults = dict(optimizer=optimizer, epoch_length=per_epoch)
            defaults["end"] = end if by_epoch or unit == "max_iters" else end * per_epoch
            built.append(PARAM_SCHEDULERS.build(scheduler, default_args=defaults))
        for _ in range(end * per_epoch - 1):
            for scheduler in built:
                scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[1] == pytest.approx(rates[0], abs=1e-3) and rates[0] < 0.011


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (FINETUNE, {"train_cfg.max_epochs": 5}, "0.warmup=5 .*train_cfg.max_epochs=5: shorten it"),
        ("pretrain/mae_vit_base_p16", {"train_cfg.max_epochs": 40}, "warmup=40 .*max_epochs=40"),
        (FINETUNE, {"default_hooks.param_scheduler": None}, "give param_scheduler=None"),
        (FINETUNE, {"param_scheduler.0.end": 3}, "0.warmup=5 .*param_scheduler.0.end=3: shorten"),
        (FINETUNE, {"param_scheduler.0.warmup": -1}, "0.warmup=-1 must be at least 0"),
        (FINETUNE, {"train_cfg.max_epochs": 0}, "train_cfg.max_epochs=0 must be a whole number"),
        (FINETUNE, {"train_cfg.max_epochs": 7.5}, "max_epochs=7.5 must be a whole number"),
        (SEGMENTATION, {"train_cfg.max_iters": 900}, "warmup=1500 .*train_cfg.max_iters=900"),
        (MINI_SEGMENTATION, {"train_cfg.max_epochs": 6}, "begin=6 .*train_cfg.max_epochs=6"),
        (
            MINI_SEGMENTATION,
            {"train_cfg.max_epochs": 5},
            "0.end=6, the end of its warm-up, is after",
        ),
    ],
)
def test_run_as_short_as_its_warm_up_is_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        load(name, overrides)


def test_floor_of_the_rate_stays_when_the_rate_changes():
    for lr in (5e-4, 1e-3):
        cfg = load(FINETUNE, {"optim_wrapper.optimizer.lr": lr, "model.backbone.arch": "tiny"})
        cfg.optim_wrapper.optimizer.fused = False
        wrapper = build_optim_wrapper(build(cfg), cfg.optim_wrapper)
        defaults = dict(optimizer=wrapper, epoch_length=10, end=100)
        built = PARAM_SCHEDULERS.build(cfg.param_scheduler[0], default_args=defaults)
        assert built.min_ratio * max(built.base_values) == pytest.approx(1e-6)
        assert max(built.base_values) == lr


def test_test_follows_validation_where_the_config_says_so():
    cfg = load(
        DETECTION,
        {
            "val_dataloader.dataset.data_root": "data/my set",
            "val_dataloader.batch_size": 3,
            "test_dataloader.batch_size": 5,
            "val_evaluator.classwise": True,
        },
    )
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
    assert (cfg.val_dataloader.batch_size, cfg.test_dataloader.batch_size) == (3, 5)
    assert cfg.test_evaluator == cfg.val_evaluator
    # COCO's evaluator reads the file that its data set has.
    assert cfg.val_evaluator.ann_file == "data/my set/annotations/instances_val2017.json"
    apart = load("seg/upernet_vit_base_ade20k_ms", {"val_dataloader.num_workers": 1})
    assert apart.test_dataloader.num_workers == 4


def test_no_workers_persist_where_there_are_none():
    cfg = load(FINETUNE, {"train_dataloader.num_workers": 0})
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True
