"""A model is fed as its checkpoint was trained, or the run refuses."""

import pytest
import torch
from mmengine.config import Config

from mae_bench.checkpoint.format import CheckpointMetadata, save_checkpoint
from mae_bench.checkpoint.reader import read_checkpoint
from mae_bench.config.model_input import channel_order, follow_input
from mae_bench.datasets.loading import LoadImageTensor, TensorToArray

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
HALF = dict(mean=[127.5] * 3, std=[127.5] * 3)


def checkpoint(path, **changes):
    tensors = {"patch_embed.proj.weight": torch.ones(4, 3, 8, 8)}
    values = dict(architecture={}, img_size=8, patch_size=8, method="mae", data="x", **HALF)
    save_checkpoint(path, tensors, CheckpointMetadata(**{**values, **changes}))
    return read_checkpoint(path)


def config(preprocessor=IMAGENET, overrides=(), pipeline=(), dataset=None, **flags) -> Config:
    dataset = dataset or dict(type="ImageNet", pipeline=list(pipeline))
    return Config(
        dict(
            model=dict(data_preprocessor=dict(**preprocessor, **flags)),
            train_dataloader=None,
            test_dataloader=dict(dataset=dataset),
            overrides=dict(overrides),
        )
    )


@pytest.mark.parametrize("tested", [False, True])
def test_config_follows_what_the_file_states(tmp_path, tested):
    cfg = config()
    (note,) = follow_input(cfg, checkpoint(tmp_path / "c.safetensors"), tested)
    assert cfg.model.data_preprocessor == HALF
    assert note.startswith("input mean [127.5, 127.5, 127.5]") and "config's mean [123.6" in note
    assert follow_input(cfg, checkpoint(tmp_path / "c.safetensors"), tested) == []


def test_published_digits_are_no_difference(tmp_path):
    as_timm = dict(
        mean=[255 * v for v in (0.485, 0.456, 0.406)], std=[255 * v for v in (0.229, 0.224, 0.225)]
    )
    cfg = config(as_timm)
    assert follow_input(cfg, checkpoint(tmp_path / "c.safetensors", **IMAGENET), True) == []
    assert cfg.model.data_preprocessor == as_timm


def test_command_line_wins_in_training_only(tmp_path):
    read = checkpoint(tmp_path / "c.safetensors")
    cfg = config(overrides={"model.data_preprocessor.mean": IMAGENET["mean"]})
    (note,) = follow_input(cfg, read, tested=False)
    assert cfg.model.data_preprocessor == IMAGENET
    assert note.startswith("takes input mean [127.5") and "override is taken" in note
    with pytest.raises(ValueError, match=r"c\.safetensors: takes input mean .* leave the override"):
        follow_input(cfg, read, tested=True)


def test_what_only_a_format_is_known_for_is_a_warning(tmp_path):
    path = tmp_path / "c.pth"
    torch.save(
        {
            "module.base_encoder.patch_embed.proj.weight": torch.ones(4, 3, 8, 8),
        },
        path,
    )
    cfg = config(HALF)
    (note,) = follow_input(cfg, read_checkpoint(path), False)
    assert cfg.model.data_preprocessor == HALF
    assert note.startswith("files of this format usually take input mean [123.675")
    torch.save({"stem.weight": torch.ones(3)}, path)
    (note,) = follow_input(cfg, read_checkpoint(path), False)
    assert note.startswith("does not say its input mean and std; the config's are taken: mean [127")


def test_another_number_of_channels_is_refused(tmp_path):
    read = checkpoint(tmp_path / "c.safetensors", mean=[127.5], std=[127.5])
    with pytest.raises(ValueError, match="takes 1 channels, model.data_preprocessor gives 3"):
        follow_input(config(), read, False)


def test_models_with_their_own_preprocessing_are_left_alone(tmp_path):
    cfg = Config(dict(model=dict(type="TimmModel")))
    assert follow_input(cfg, checkpoint(tmp_path / "c.safetensors"), True) == []


FILE = [dict(type="LoadImageFromFile"), dict(type="mmcv.Resize")]
TENSOR = [dict(type=LoadImageTensor)]
ARRAY = [*TENSOR, dict(type=TensorToArray)]


@pytest.mark.parametrize(
    ("pipeline", "flags", "order"),
    [
        (FILE, {}, "bgr"),
        (FILE, dict(to_rgb=True), "rgb"),
        (FILE, dict(bgr_to_rgb=True), "rgb"),
        (FILE, dict(bgr_to_rgb=False), "bgr"),
        (TENSOR, {}, "rgb"),
        (TENSOR, dict(to_rgb=True), "bgr"),  # a mistake
        (ARRAY, dict(to_rgb=True), "rgb"),
        ([*FILE, dict(type="NumpyToPIL", to_rgb=True)], {}, "rgb"),
        ([dict(type="ReadFromMemory")], dict(to_rgb=True), None),
    ],
)
def test_order_of_channels(tmp_path, pipeline, flags, order):
    cfg = config(HALF, pipeline=pipeline, **flags)
    assert channel_order(cfg) == order
    read = checkpoint(tmp_path / "c.safetensors")
    if order != "bgr":
        assert follow_input(cfg, read, True) == []
        return
    with pytest.raises(ValueError, match="takes rgb images, the config feeds bgr: set to_rgb"):
        follow_input(cfg, read, True)
    assert (
        follow_input(cfg, checkpoint(tmp_path / "d.safetensors", channel_order="bgr"), True) == []
    )


def test_order_behind_wrappers_and_in_the_robustness_sets():
    inner = dict(type="CocoDataset", pipeline=FILE)
    assert channel_order(config(dataset=dict(type="RepeatDataset", dataset=inner))) == "bgr"
    sets = dict(type="mae_bench.RobustnessSets")
    assert channel_order(config(dataset=sets, to_rgb=True)) == "rgb"
