"""The card of a checkpoint through the command, on a small MiniWorld."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from mae_bench.datasets.identity import data_identity
from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.datasets.miniworld.world import MiniWorldSize, build
from mae_bench.results.record import read_record
from mae_bench.visualize.feature_model import load_feature_model

from ..datasets.test_archives import pack
from ..evaluation.conftest import class_folders, picture
from .conftest import ROOT, SHRINK

PRETRAIN = ROOT / "configs/pretrain/mae_vit_mini_miniworld.py"


@pytest.fixture
def checkpoint(run_tool) -> str:
    options = [option for option in SHRINK if not option.startswith("val_")]
    ended = run_tool("train.py", PRETRAIN, "--work-dir", "pre", "--cfg-options", *options)
    assert ended.code == 0, ended.stderr
    return "pre/checkpoint.safetensors"


def test_without_time_the_page_says_what_was_left_out(run_tool, checkpoint):
    ended = run_tool("card.py", f"mine={checkpoint}", "--budget", "0s")
    assert ended.code == 0, ended.stderr
    page = Path(ended.stdout.splitlines()[-1]).read_text()
    for text in ("Card of mine", "tensors loaded (100.0%", "Reconstructions of", "Features of"):
        assert text in page
    assert "seed0/mine/frozen" in page and "python -m mae_bench test " in page
    start = "python -m mae_bench run_suite configs/suite/full_miniworld.yaml --checkpoint mine=pre/"
    assert start in page and "detection" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_backbone_alone_has_no_reconstructions(run_tool, checkpoint):
    options = ["train_cfg.max_epochs=1", "train_dataloader.dataset.ann_file=meta/train_10.txt"]
    finetune = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
    tool = ("train.py", finetune, "--work-dir", "fine", "--cfg-options", *options)
    assert run_tool(*tool, "param_scheduler=[]", "train_dataloader.batch_size=5").code == 0
    ended = run_tool("card.py", "fine/checkpoint.safetensors", "--budget", "0s")
    assert (
        "left out: reconstructions: fine/checkpoint.safetensors: holds no decoder" in ended.stdout
    )
    assert Path(ended.stdout.splitlines()[-1]).name.startswith("checkpoint-")


@pytest.fixture
def of_mae(workplace) -> str:
    """An encoder in the format that MAE publishes: names as timm's, and nothing on the input."""
    model = VisionTransformer(embed_dim=192, depth=1, num_heads=3, num_classes=0)
    torch.save({"model": model.state_dict()}, "mae.pth")
    return "mae.pth"


def test_a_file_that_says_nothing_of_its_input(run_tool, of_mae):
    for split, name in (("train", "a.JPEG"), ("val", "b.JPEG")):
        picture(Path("in1k/imagenet", split, "n01440764", name))
    ended = run_tool("card.py", f"mine={of_mae}", "--data", "in1k", "--budget", "0s")
    assert ended.code == 0, ended.stderr
    left_out = [line for line in ended.stdout.splitlines() if line.startswith("left out: ")]
    assert [line.split(": ")[1].rpartition("/")[2].partition(",")[0] for line in left_out] == [
        "linear-robustness-base",
        "frozen-base",
        "few-images-base",
        "logistic-base",
        "reconstructions",
    ]
    assert "sketch, imagenetv2-matched-frequency-format-val" in left_out[0]
    assert "mae.pth: holds no decoder" in left_out[-1]
    words = shlex.split(left_out[1].partition("spent: ")[2])
    assert words[:4] == ["python", "-m", "mae_bench", "test"]
    assert any(word.startswith("test_cfg.measures=[{'type': 'mae_bench.KNN'}") for word in words)
    assert " \"test_cfg.measures=[{'type'" in left_out[1]
    page = Path(ended.stdout.splitlines()[-1]).read_text()
    assert "Features of n01440764/b.JPEG" in page and "no ViT" not in page
    given = ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    model = load_feature_model(of_mae, unstated=given)
    assert (model.mean, model.std) == given


def test_archives_of_imagenet_and_no_data_at_all(run_tool, of_mae):
    pack(Path("tar/imagenet/ILSVRC2012_img_val.tar"), [("n01440764/b.JPEG", b"x")])
    ended = run_tool("card.py", f"mine={of_mae}", "--data", "tar", "--budget", "0s")
    assert ended.code == 0, ended.stderr
    assert "left out: seed0/mine/frozen-base" in ended.stdout and "neither" not in ended.stdout
    assert "features: tar/imagenet/val: pictures are drawn of single files" in ended.stdout
    for folder in ("cat", "dog"):  # which may be data sets
        Path("other", folder).mkdir(parents=True)
    ended = run_tool("card.py", f"mine={of_mae}", "--data", "other")
    assert ended.code == 0, ended.stderr
    assert "other, no MiniWorld, and no images of your own in train or" in ended.stdout
    assert "left out: reconstructions, features: no validation images" in ended.stdout
    assert ">Full tables<" in Path(ended.stdout.splitlines()[-1]).read_text()


@pytest.mark.slow
def test_images_of_ones_own(run_tool, of_mae):
    classes = ("cat", "dog", "ray 10", "ray 9")  # which sorted by numbers are in another order
    class_folders(Path("own/train"), classes, per_class=4)
    class_folders(Path("own/val"), classes)
    ended = run_tool("card.py", f"mine={of_mae}", "--data", "own")
    assert ended.code == 0, ended.stderr
    page = Path(ended.stdout.splitlines()[-1]).read_text()
    assert Path(ended.stdout.splitlines()[-1]) == Path("work_dirs/card/own/mine.html")
    records = {
        re.split("[-,]", r.task)[0]: r for r in map(read_record, Path().rglob("record.json"))
    }
    assert records.keys() == {"frozen", "few", "logistic"}
    for task, metric in (
        *(("frozen", "knn/mean/top1_k10"), ("frozen", "linear/class_token/top1")),
        *(("few", "low_shot/mean/top1_n1"), ("logistic", "logistic/mean/top1")),
    ):
        assert f">{records[task].metrics[metric]:.1f}</a>" in page
    of_frozen = records["frozen"].run_card["train_features"]
    assert {record.run_card["train_features"] for record in records.values()} == {of_frozen}
    train = ImageFolders(data_root="own", data_prefix="train")
    assert records["frozen"].data["frozen_train"] == data_identity(train)
    assert "To go on" not in page and "Features of cat/cat_0.JPEG" in page
    Path("own/val/cat/cat_0.JPEG").unlink()
    ended = run_tool("card.py", f"other={of_mae}", "--data", "own")
    assert ended.code == 2 and "error: own: is not what seed0/mine/" in ended.stderr
    assert "(test: 7 samples, and 8 then); give another --work-dir" in ended.stderr


@pytest.mark.slow
def test_class_folders_in_the_place_of_imagenet_fail_with_the_reason_on_the_page(run_tool, of_mae):
    for split, name in (("train", "a.JPEG"), ("val", "b.JPEG")):
        picture(Path("own/imagenet", split, "cat", name))
    ended = run_tool("card.py", f"mine={of_mae}", "--data", "own")
    assert ended.code == 1
    reason = "error: own/imagenet/train: 1 class folders, metainfo.classes has 1000 names"
    assert reason in ended.stderr
    page = Path(ended.stdout.splitlines()[-1]).read_text()
    assert f"exit code 2: {reason}" in page
    assert "Once what failed is mended:" in page and "--retry-failed" in page


def test_mistakes(run_tool, workplace):
    for arguments, message in (
        (["nothing.pth"], "nothing.pth"),
        (["nothing.pth", "--budget", "soon"], "--budget soon: must be a time such as 90s"),
    ):
        ended = run_tool("card.py", *arguments)
        assert ended.code == 2 and message in ended.stderr


@pytest.mark.slow
def test_numbers_are_records_and_are_used_again(run_tool, checkpoint):
    size = MiniWorldSize(
        **dict(train_images=300, val_images=50, corrupted_images=20, train_lists=(10,)),
        **dict(train_scenes=10, val_scenes=4),
    )
    build("small", processes=1, size=size)
    command = ("card.py", f"mine={checkpoint}", "--data", "small", "--work-dir", "work")
    ended = run_tool(*command)
    assert ended.code == 0, ended.stderr
    page = Path("work/mine.html").read_text()
    records = sorted(Path("work").rglob("record.json"))
    assert len(records) == 4
    for record in map(read_record, records):
        assert any(value in ("small", "small/imagenet") for value in record.overrides.values())
        metric = "knn/class_token/top1_k20" if "frozen" in record.task else "imagenet_c/mean_error"
        assert f">{record.metrics[metric]:.1f}</a>" in page
    times = [path.stat().st_mtime_ns for path in records]
    ended = run_tool(*command)
    assert ended.code == 0 and "started" not in ended.stdout
    assert [path.stat().st_mtime_ns for path in records] == times
