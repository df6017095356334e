"""Every key of every config: an override of it reaches what is built, or is refused by name."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from mmengine.config import Config, ConfigDict

from mae_bench.config import arguments
from mae_bench.config.apply import OverrideError, apply_overrides
from mae_bench.config.arguments import RUNNER_KEYS, find_class, legal_keys
from mae_bench.config.keys import find, set_at, walk
from mae_bench.config.load import load_config
from mae_bench.signature import GIVEN

from ..recipes import CONFIGS

FILES = sorted(
    path for task in ("pretrain", "cls", "det", "seg") for path in CONFIGS.glob(f"{task}/*.py")
)
every_config = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def nodes(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Every dict below the config with its dotted key."""
    for top in sorted(RUNNER_KEYS & set(cfg)):
        yield from walk(cfg[top], top)


def another(value: Any) -> Any:
    """Another value of the same kind; None where there is no such thing."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return f"{value} x"
    if isinstance(value, (list, tuple)) and value and not list(walk(value, "")):
        return type(value)([*value, value[-1]])
    return None


@every_config
def test_every_key_is_set_and_its_misspelling_refused(path):
    cfg = load_config(path)
    for key, node in list(nodes(cfg)):
        for part in list(node):
            value = node[part]
            changed = value if part == "type" else another(value)
            if changed is not None:
                apply_overrides(cfg, {f"{key}.{part}": changed}, {})
                assert find(cfg, f"{key}.{part}") == changed
                set_at(cfg, f"{key}.{part}", value)
            if legal_keys(node, key, cfg.default_scope) is not None:
                with pytest.raises(OverrideError, match=re.escape(f"{key}.{part}_")):
                    apply_overrides(cfg, {f"{key}.{part}_": 1}, {})
                with pytest.raises(OverrideError, match=re.escape(f"{key}.{part}_")):
                    apply_overrides(cfg, {f"{key}.{part}_.x": 1}, {})


@every_config
def test_every_key_is_an_argument_of_what_is_built(path):
    """By Python's own idea of what may be called how, not by the walk over parents."""
    cfg = load_config(path)
    for key, node in nodes(cfg):
        target = find_class(node.get("type"), key, cfg.default_scope)
        assert ("type" in node) == (target is not None), key
        if target is None:
            continue
        taken = {
            part
            for pattern, keys in arguments._BUILD_KEYS
            if re.fullmatch(pattern, key)
            for part in keys
        }
        given = {part: value for part, value in node.items() if part not in taken | {"type"}}
        if key.endswith(".nms"):  # which batched_nms reads before it hands on the rest
            given.pop("type", None)
        inspect.signature(target).bind_partial(**given)
        # What the class itself names is legal, inherited or not; and no other.
        named = inspect.signature(target).parameters.values()
        own = {p.name for p in named if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
        legal = legal_keys(node, key, cfg.default_scope)
        given_by_builder = GIVEN | {"boxes", "scores"}
        assert legal is not None and own - given_by_builder <= legal, key


# What reads the dicts without a type: module, and what stands before and after a key there.
HOSTS = {
    r"auto_scale_lr": ["mmengine.runner.runner"],
    r"custom_imports": ["mmengine.utils.misc", "mae_bench.config.load"],
    r"env_cfg": ["mmengine.runner.runner"],
    r"model\.data_preprocessor\.test_cfg": ["mmseg.models.data_preprocessor"],
    r"mmpretrain:model\.train_cfg": ["mmpretrain.models.utils.batch_augments.wrapper"],
    r"mmdet:model\.train_cfg": ["mmdet.models.detectors.two_stage"],
    r"model\.train_cfg\.rpn": ["mmdet.models.dense_heads.anchor_head"],
    r"model\.train_cfg\.rcnn(\.\d+)?": [
        "mmdet.models.roi_heads.standard_roi_head",
        "mmdet.models.roi_heads.bbox_heads.bbox_head",
        "mmdet.structures.mask.mask_target",
    ],
    r"mmdet:model\.test_cfg": ["mmdet.models.detectors.two_stage"],
    r"mmseg:model\.test_cfg": ["mmseg.models.segmentors.encoder_decoder"],
    r"model\.(train_cfg\.rpn_proposal|test_cfg\.rpn)": [
        "mmdet.models.dense_heads.rpn_head",
        "mmdet.models.dense_heads.base_dense_head",
    ],
    r"model\.test_cfg\.rcnn": [
        "mmdet.models.roi_heads.bbox_heads.bbox_head",
        "mmdet.models.roi_heads.standard_roi_head",
    ],
    r"model\..*\.nms": ["mmcv.ops.nms"],
    r".*dataset\.filter_cfg": ["mmdet.datasets.coco"],
    r".*dataset\.metainfo": ["mmseg.datasets.basesegdataset"],
    r".*dataset\.data_prefix": ["mmdet.datasets.coco", "mmseg.datasets.basesegdataset"],
    r".*\.pad_val": ["mmcv.transforms.processing", "mmdet.datasets.transforms.transforms"],
}


@pytest.mark.parametrize("pattern", HOSTS)
def test_host_reads_what_a_dict_without_a_type_may_have(pattern):
    keys = dict(arguments._READERS)[pattern]
    source = "".join(inspect.getsource(import_module(name)) for name in HOSTS[pattern])
    for key in keys:
        assert re.search(rf"(\.|['\"]){key}\b|\b{key}( ?:[^\n]*)?=|\b{key}: ", source), key


OVERRIDES = [
    # key of the config, and an argument that it leaves at its default
    ("cls/vit_base_finetune_in1k", "train_cfg.max_broken_share", 0.01),
    ("cls/vit_base_finetune_in1k", "train_cfg.val_interval", 5),
    ("cls/vit_base_finetune_in1k", "train_cfg.val_begin", 90),
    ("cls/vit_base_finetune_in1k", "train_dataloader.dataset.pipeline.2.p", 0.1),
    ("det/mask_rcnn_vit_base_coco", "train_dataloader.dataset.indices", 50),
    ("det/mask_rcnn_vit_base_coco", "model.roi_head.shared_head.type", "mmdet.ResLayer"),
    ("det/mask_rcnn_vit_base_coco", "val_evaluator.classwise", True),
    ("det/mask_rcnn_vit_base_coco", "train_dataloader.dataset.pipeline.3.direction", "vertical"),
    ("det/mask_rcnn_vit_base_coco", "param_scheduler.0.begin", 0),
    ("det/vitdet_mask_rcnn_vit_base_coco", "param_scheduler.1.verbose", True),
    ("seg/upernet_vit_mini_miniworld", "param_scheduler.1.power", 0.9),
    ("seg/upernet_vit_base_ade20k", "param_scheduler.0.end", 9),
    ("seg/upernet_vit_base_ade20k", "train_dataloader.dataset.pipeline.2.interpolation", "nearest"),
    ("pretrain/mae_vit_base_p16", "param_scheduler.0.verbose", True),
    ("pretrain/mae_vit_base_p16", "find_unused_parameters", True),
    ("pretrain/mae_vit_base_p16", "optim_wrapper.clip_grad.max_norm", 1.0),
    ("pretrain/mae_vit_base_p16", "custom_hooks.0.priority", "LOW"),
]


@pytest.mark.parametrize(("config", "key", "value"), OVERRIDES)
def test_argument_that_the_config_leaves_out(config, key, value):
    cfg = load_config(CONFIGS / f"{config}.py")
    apply_overrides(cfg, {key: value}, {})
    found = find(cfg, key)
    assert found == value or found.__name__ == value.rpartition(".")[2]


@every_config
def test_helper_variables_and_imported_classes_are_refused(path):
    cfg = load_config(path)
    file = Config.fromfile(str(path))
    helpers = {name: file[name] for name in set(file) - set(cfg)}
    assert not helpers.keys() & RUNNER_KEYS
    for name in [*helpers, "epochs", "iterations"]:
        with pytest.raises(OverrideError, match=f"'{name}': (is a|nothing reads it: set )"):
            apply_overrides(cfg, {name: 1}, helpers)


@pytest.mark.parametrize(
    ("config", "name", "key"),
    [
        ("cls/vit_base_finetune_in1k", "epochs", "train_cfg.max_epochs"),
        ("seg/upernet_vit_base_ade20k", "iterations", "train_cfg.max_iters"),
        ("det/mask_rcnn_vit_base_coco", "size", "model.backbone.img_size"),
        ("det/mask_rcnn_vit_base_coco", "strides", "model.neck.0.strides"),
        ("det/mask_rcnn_vit_base_coco", "norm_cfg", "model.neck.1.norm_cfg"),
        (
            "det/mask_rcnn_vit_mini_miniworld",
            "classes",
            "train_dataloader.dataset.metainfo.classes",
        ),
        ("cls/vit_base_finetune_in1k", "num_classes", "model.head.num_classes"),
        ("cls/vit_base_finetune_inat2017", "num_classes", "model.head.num_classes"),
        ("cls/vit_base_finetune_in1k", "train_pipeline", "train_dataloader.dataset.pipeline"),
        ("cls/vit_base_finetune_in1k", "vis_backends", "visualizer.vis_backends"),
        ("cls/vit_base_finetune_in1k", "resume", "the option --resume"),
    ],
)
def test_what_to_write_in_place_of_a_helper(config, name, key):
    with pytest.raises(ValueError, match=f"override '{name}.1': .*{re.escape(key)}(.1)?( |$)"):
        load_config(CONFIGS / f"{config}.py", {f"{name}.1": 1})
