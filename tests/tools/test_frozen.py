"""Frozen measures through the command, on a tiny MiniWorld."""

import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from sklearn.neighbors import KNeighborsClassifier
from timm.models.vision_transformer import VisionTransformer as TimmViT

from mae_bench.evaluation import feature_store
from mae_bench.evaluation.frozen import FrozenLoop
from mae_bench.models import VisionTransformer
from mae_bench.results.curves import read_scalars
from mae_bench.results.record import Record, read_record

from .conftest import ROOT, SHRINK

PRETRAIN = ROOT / "configs/pretrain/mae_vit_mini_miniworld.py"
FROZEN = ROOT / "configs/cls/vit_mini_frozen_miniworld.py"
ROBUSTNESS = ROOT / "configs/cls/vit_mini_robustness_miniworld.py"
FEW = "test_cfg.measures.0.neighbours=[1,5]"


@pytest.fixture
def measure(run_tool):
    """Run the frozen config on a checkpoint or random weights; gives its record."""

    def run(name: str, checkpoint: str | None, *options: str) -> Record:
        arguments = [checkpoint] if checkpoint else []
        arguments += ["--work-dir", name, "--cfg-options", FEW, *options]
        ended = run_tool("test.py", FROZEN, *arguments)
        assert ended.code == 0, ended.stderr
        return read_record(f"{name}/record.json")

    return run


@pytest.fixture
def checkpoint(run_tool) -> str:
    options = [option for option in SHRINK if not option.startswith("val_")]
    ended = run_tool("train.py", PRETRAIN, "--work-dir", "pre", "--cfg-options", *options)
    assert ended.code == 0, ended.stderr
    return "pre/checkpoint.safetensors"


@pytest.fixture
def images_seen(monkeypatch) -> list[int]:
    """Sizes of the batches that the backbone gets."""
    seen: list[int] = []
    forward = VisionTransformer.forward

    def counted(self, images):
        seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(VisionTransformer, "forward", counted)
    return seen


def listed(split: str) -> tuple[torch.Tensor, list[int]]:
    """Normalised images of a split, read by Pillow, and their labels."""
    root = Path("data/miniworld/imagenet")
    lines = [line.split() for line in (root / f"meta/{split}.txt").read_text().splitlines()]
    pixels = np.stack([middle(root / split / name) for name, _ in lines])
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    images = torch.from_numpy((pixels - mean) / std).float().permute(0, 3, 1, 2)
    return images, [int(label) for _, label in lines]


def all_tokens(model: TimmViT, images: torch.Tensor, block: int) -> torch.Tensor:
    """What a block of timm's ViT gives, class token first."""
    ((patches, prefix),) = model.get_intermediate_layers(images, [block], return_prefix_tokens=True)
    return torch.cat([prefix, patches], dim=1)


def middle(file: Path) -> np.ndarray:
    """The 32 x 32 pixels in the middle of a picture."""
    pixels = np.array(Image.open(file))
    margin = (len(pixels) - 32) // 2
    return pixels[margin : margin + 32, margin : margin + 32]


def stored(name: str, cache: str = "work_dirs/features") -> dict[int, torch.Tensor]:
    """Features of each store of a cache, by the number of its images."""
    found = {}
    for folder in Path(cache).iterdir():
        parts = [load_file(file)[name] for file in sorted(folder.iterdir())]
        found[sum(map(len, parts))] = torch.cat(parts)
    return found


def test_knn_of_a_checkpoint_is_that_of_timm_and_sklearn(measure, checkpoint, images_seen):
    record = measure("one", checkpoint, "test_cfg.blocks=[1]")
    assert record.checkpoint["file"] == checkpoint
    assert any("decoder." in key for key in record.checkpoint["report"]["dropped"])
    assert record.data_counts == {"frozen_train": 20, "test": 10}
    assert record.model["classes"] == 10
    assert record.run_card["precision"] == "float32"
    assert {one.stem for one in Path("work_dirs/features").iterdir()} == {
        record.run_card["train_features"],
        record.run_card["val_features"],
    }
    kinds = dict(img_size=32, patch_size=4, embed_dim=96, depth=4, num_heads=4)
    model = TimmViT(**kinds, num_classes=0, class_token=True).eval()
    weights = {k: v for k, v in load_file(checkpoint).items() if k in model.state_dict()}
    model.load_state_dict(weights)
    (train, labels), (val, val_labels) = listed("train"), listed("val")
    with torch.no_grad():
        tokens = {"": [model.forward_features(images) for images in (train, val)]}
        for suffix, block in (("_before_norm", 3), ("_block1", 1)):
            tokens[suffix] = [all_tokens(model, images, block) for images in (train, val)]
    rows_of = {"class_token": slice(0, 1), "mean": slice(1, None)}
    assert len(record.metrics) == 2 * len(rows_of) * len(tokens)
    for (pooling, rows), (suffix, parts) in product(rows_of.items(), tokens.items()):
        kind = pooling + suffix
        expected = [part[:, rows].mean(dim=1) for part in parts]
        found = stored(kind)
        torch.testing.assert_close(found[20], expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[10], expected[1], rtol=1e-4, atol=1e-4)
        for k in (1, 5):
            nearest = KNeighborsClassifier(
                k, metric="cosine", weights=lambda distances: np.exp((1 - distances) / 0.07)
            ).fit(expected[0].numpy(), labels)
            top1 = 100 * nearest.score(expected[1].numpy(), val_labels)
            assert record.metrics[f"knn/{kind}/top1_k{k}"] == pytest.approx(top1)

    images_seen.clear()
    again = measure("two", checkpoint, "test_cfg.blocks=[1]")
    assert again.metrics == record.metrics and images_seen == []


@pytest.mark.slow
def test_whatever_changes_the_features_extracts_them_anew(measure, checkpoint, images_seen):
    def extracts(name: str, *options: str, file: str | None = checkpoint) -> bool:
        images_seen.clear()
        measure(name, file, *options)
        # Counting operations for the run card takes one image more.
        return sum(images_seen) > 1

    assert extracts("first")
    assert not extracts("batch", "test_dataloader.batch_size=3")
    assert extracts("precision", "test_cfg.precision=bfloat16")
    assert extracts("blocks", "test_cfg.blocks=[0,2]")
    assert extracts("random", file=None)
    assert extracts("seed", "randomness.seed=1", file=None)
    assert not extracts("again", file=None)
    assert extracts("input", "model.data_preprocessor.std=[58.0,57.0,57.0]", file=None)
    assert extracts("fewer", "train_dataloader.dataset.indices=10")
    root = Path("data/miniworld")
    copied = shutil.copytree(root, Path("copied").resolve())
    root.unlink()
    root.symlink_to(copied)
    assert not extracts("copy")
    picture = next(root.glob("imagenet/train/*/*.JPEG"))
    picture.write_bytes(picture.read_bytes())
    assert extracts("touched")


@pytest.mark.slow
def test_interrupted_extraction_goes_on_and_leaves_the_same(
    measure, run_tool, images_seen, monkeypatch
):
    monkeypatch.setattr(feature_store, "SHARD_SAMPLES", 8)
    whole = measure("whole", None, "test_cfg.cache=whole_cache", "test_dataloader.batch_size=3")
    options = ["test_cfg.cache=cache", "test_dataloader.batch_size=3"]
    extract = FrozenLoop._features

    def interrupted(self, images):
        if sum(images_seen) >= 10:
            raise KeyboardInterrupt
        return extract(self, images)

    images_seen.clear()
    with monkeypatch.context() as patched:
        patched.setattr(FrozenLoop, "_features", interrupted)
        ended = run_tool("test.py", FROZEN, "--work-dir", "w", "--cfg-options", FEW, *options)
    assert ended.code == 130 and not Path("w/record.json").exists()
    assert len(list(Path("cache").rglob("*.safetensors"))) == 1

    (shard,) = Path("cache").rglob("*.safetensors")
    images_seen.clear()
    found = measure("w", None, *options)
    assert sum(images_seen) in (22, 23) and found.metrics == whole.metrics
    for kind in ("class_token", "mean"):
        for count, expected in stored(kind, "whole_cache").items():
            assert torch.equal(stored(kind, "cache")[count], expected)

    shard.write_bytes(shard.read_bytes()[:-4])
    images_seen.clear()
    Path("w/record.json").unlink()
    ended = run_tool("test.py", FROZEN, "--work-dir", "w", "--cfg-options", FEW, *options)
    assert ended.code == 0 and sum(images_seen) in (8, 9)
    assert f"{shard.name}: " in ended.stdout + ended.stderr and "made anew" in ended.stdout
    assert read_record("w/record.json").metrics == whole.metrics


@pytest.mark.parametrize(("output", "feature"), [("tokens", "class_token"), ("mean", "mean")])
def test_the_linear_classifier_is_left_and_its_robustness_tested(
    measure, run_tool, output, feature
):
    heads = "test_cfg.measures.1={'type':'mae_bench.LinearHeads','rates':[0.1,3.0],'batch':8}"
    found = measure("frozen", None, heads, f"model.backbone.output={output}")
    ended = run_tool(
        *("test.py", ROBUSTNESS, "frozen/checkpoint.safetensors", "--work-dir", "robust"),
        *("--cfg-options", f"model.backbone.output={feature}"),
    )
    assert ended.code == 0, ended.stderr
    record = read_record("robust/record.json")
    assert found.exported["sha256"] == record.checkpoint["sha256"]
    assert record.checkpoint["metadata"]["method"] == "linear heads"
    # another loop, reader and head, on the same images
    top1 = found.metrics[f"linear/{feature}/top1"]
    assert record.metrics["imagenet_val/top1"] == pytest.approx(top1) and top1 > 0
    assert "imagenet_c/mean_error" in record.metrics


@pytest.mark.slow
def test_a_suite_measures_frozen_features_of_each_start(run_tool):
    tiny = [option.partition("=") for option in SHRINK if not option.startswith("val_")]
    overrides = {key: yaml.safe_load(value) for key, _, value in tiny}
    table = {
        "name": "frozen",
        "rows": {
            "random": {},
            "MAE": {"start": {"pretrain": str(PRETRAIN), "overrides": overrides}},
        },
        "columns": {
            "k-NN": {
                "quantity": "top-1 accuracy",
                "task": "frozen",
                "metric": "knn/class_token/top1_k5",
            }
        },
        "tasks": {
            "frozen": {
                "config": str(FROZEN),
                "test": "start",
                "overrides": {"test_cfg.measures.0.neighbours": [1, 5]},
            }
        },
    }
    Path("frozen.yaml").write_text(yaml.safe_dump(table))
    ended = run_tool("run_suite.py", "frozen.yaml", "--work-dir", "work")
    assert ended.code == 0, ended.stderr
    for name in ("random", "MAE"):
        record = read_record(f"work/seed0/{name}/frozen/record.json")
        assert (record.checkpoint is None) == (name == "random")
        shown = f"{record.metrics['knn/class_token/top1_k5']:.1f}"
        lines = Path("work/table.md").read_text().splitlines()
        assert any(line.startswith(f"| {name} ") and shown in line for line in lines)


@pytest.mark.parametrize(
    "options",
    [
        ["model.backbone.type=mae_bench.TimmBackbone", "model.backbone.name=convnext_atto"],
        ["model.backbone.type=mmpretrain.ResNet", "model.backbone.depth=18"],
    ],
    ids=["timm", "mmpretrain"],
)
def test_other_backbones_by_option(measure, options):
    record = measure("other", None, *options, "model.backbone.output=mean")
    assert set(record.metrics) == {"knn/mean/top1_k1", "knn/mean/top1_k5"}


def test_maps_and_too_many_neighbours_are_refused(run_tool):
    end = ["--work-dir", "w", "--cfg-options"]
    ended = run_tool("test.py", FROZEN, *end, "test_cfg.measures.0.neighbours=[21]")
    assert ended.code == 2 and "more than the 20 training images" in ended.stderr
    ended = run_tool("test.py", FROZEN, *end, "test_cfg.precision=float64")
    assert ended.code == 2 and "test_cfg.precision='float64' is not one of" in ended.stderr
    ended = run_tool("test.py", FROZEN, *end, "test_cfg.blocks=[1,3]")
    assert ended.code == 2 and "test_cfg.blocks=[3]: earlier blocks are those" in ended.stderr
    maps = ["model.backbone.output=maps", "model.backbone.out_indices=[3]"]
    ended = run_tool("test.py", FROZEN, *end, *maps)
    assert ended.code == 2 and "frozen features are of" in ended.stderr


def test_measures_while_pre_training_are_those_of_the_result(measure, run_tool):
    """At the end the hook has what the command finds, and the training is the same without it."""
    options = [option for option in SHRINK if not option.startswith("val_")]
    lines = Path("data/miniworld/imagenet/meta/train.txt").read_text().splitlines()
    Path("few.txt").write_text("\n".join(Path(line.split()[0]).name for line in lines[:12]))
    measures = (
        "[{'type':'mae_bench.KNN','neighbours':[1,5]},"
        "{'type':'mae_bench.LowShot','counts':[],'lists':['few.txt']}]"
    )
    hook = [
        "default_hooks.frozen.type=mae_bench.MeasureFrozen",
        f"default_hooks.frozen.config={FROZEN}",
        "default_hooks.frozen.interval=1",
        f"default_hooks.frozen.overrides={{'test_cfg.measures':{measures}}}",
    ]
    for name, added in (("with", hook), ("without", [])):
        ended = run_tool(
            "train.py", PRETRAIN, "--work-dir", name, "--cfg-options", *options, *added
        )
        assert ended.code == 0, ended.stderr
        assert ("of the time so far" in ended.stdout) == (name == "with")
    weights, plain = (load_file(f"{name}/checkpoint.safetensors") for name in ("with", "without"))
    assert all(torch.equal(weights[key], plain[key]) for key in plain)
    curves = read_scalars("with").metrics
    after = measure("after", "with/checkpoint.safetensors", f"test_cfg.measures={measures}").metrics
    assert any(key.endswith("top1_few") for key in after)
    for key, value in after.items():
        (*_, last) = curves[key].xy()[1]
        assert last == pytest.approx(value), key


def test_few_images_of_each_class_while_pre_training(run_tool):
    options = [option for option in SHRINK if not option.startswith("val_")]
    hook = [
        "default_hooks.frozen.type=mae_bench.MeasureFrozen",
        f"default_hooks.frozen.config={FROZEN}",
        "default_hooks.frozen.interval=1",
        "default_hooks.frozen.images_per_class=1",
    ]

    def refused(name: str, *added: str) -> str:
        ended = run_tool(
            "train.py", PRETRAIN, "--work-dir", name, "--cfg-options", *options, *hook, *added
        )
        assert ended.code == 2 and "Epoch(train)" not in ended.stdout
        return ended.stderr

    error = refused("input", "model.data_preprocessor.std=[58.0,57.0,57.0]")
    assert "model.data_preprocessor.std is not that of this run" in error
    assert "more than the 10 training images" in refused("k")  # the recipe's k of 200


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(run_tool):
    """While pre-training, on numbers of images that they cannot share evenly."""
    options = [option for option in SHRINK if not option.startswith("val_")]
    options += [
        "default_hooks.frozen.type=mae_bench.MeasureFrozen",
        f"default_hooks.frozen.config={FROZEN}",
        "default_hooks.frozen.interval=1",
        "default_hooks.frozen.overrides={'test_cfg.measures.0.neighbours':[1,5],"
        "'train_dataloader.dataset.indices':19,'test_dataloader.dataset.indices':9}",
    ]
    ended = run_tool("train.py", PRETRAIN, "--work-dir", "one", "--cfg-options", *options)
    assert ended.code == 0, ended.stderr
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [ROOT / "tools/train.py", PRETRAIN, "--work-dir", "two", "--launcher", "pytorch"]
    options.append("train_dataloader.batch_size=2")
    subprocess.run([*command, "--cfg-options", *options], check=True)
    one, two = (read_scalars(name).metrics for name in ("one", "two"))
    assert one and one == two
