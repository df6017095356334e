"""The robustness command end to end, on small trees in the real layouts, with tiny models."""

import json
import re
import runpy
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from PIL import Image
from safetensors.torch import save_file
from timm.data import RealLabelsImagenet, create_transform, resolve_model_data_config

from mae_bench.checkpoint.format import CheckpointMetadata, load_checkpoint, save_checkpoint
from mae_bench.checkpoint.whole_model import export_model
from mae_bench.config.load import load_config
from mae_bench.datasets.cue_conflict import CATEGORIES
from mae_bench.datasets.imagenet_variants import (
    CORRUPTIONS,
    imagenet_classes,
    real_labels,
    subset_indices,
)
from mae_bench.datasets.robustness_sets import Part, RobustnessSets
from mae_bench.evaluation.corruption_error import ALEXNET_ERRORS, mean_corruption_error
from mae_bench.evaluation.robustness import (
    BIN_COUNTS,
    COUNTS,
    UNIT,
    calibration_metrics,
    class_logits,
    count_confidence,
    count_cues,
    count_hits,
    normalise,
    robustness_metrics,
)
from mae_bench.openmmlab.classifiers import TimmModel, mmpretrain_model
from mae_bench.results.record import Record, read_record
from mae_bench.run_folder import ROBUSTNESS_NAME

from .conftest import GOLDFINCH, STINGRAY, TENCH, all_sets, class_folders, picture

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs/cls"
LABELS = {"n01440764": 0, "n01443537": 1, "n01498041": 6, "n01531178": 11}
FAST = ["test_dataloader.num_workers=0", "test_dataloader.batch_size=7"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """All sets; of C two corruptions, one of them whole."""
    root = tmp_path_factory.mktemp("sets")
    all_sets(root, ("fog",), range(1, 6))
    class_folders(root / "imagenet-c/weather/snow/3", (TENCH,), per_class=1)
    return root


@pytest.fixture
def test_tool(tmp_path, monkeypatch, capfd):
    """Run tools/test.py as from the command line; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAE_BENCH_TRACEBACK", raising=False)
    monkeypatch.setenv("COLUMNS", "150")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["test.py", *map(str, arguments)])
        capfd.readouterr()
        # Two runs within a second would share a logger, and with it the first one's closed stream.
        MMLogger._instance_dict.clear()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tools/test.py"), run_name="__main__")
        return ended.value.code, *capfd.readouterr()

    return run


def only_record() -> Record:
    """The record of the one run in the default folder."""
    (path,) = Path("work_dirs").glob("*/record.json")
    return read_record(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    """The config of ViT-B made tiny, and a checkpoint of that model with head weights."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "cls").mkdir()
    text = (CONFIGS / "vit_base_robustness_in1k.py").read_text()
    for before, after in (
        ('arch="base"', "arch=dict(embed_dim=16, depth=1, num_heads=2)"),
        ("patch_size=16", "patch_size=56"),
        ("in_channels=768", "in_channels=16"),
    ):
        assert before in text
        text = text.replace(before, after)
    config = folder / "cls/tiny.py"
    config.write_text(text)
    (folder / "default_runtime.py").write_text((ROOT / "configs/default_runtime.py").read_text())

    torch.manual_seed(0)
    init_default_scope("mmpretrain")
    model = MODELS.build(load_config(config).model)
    torch.nn.init.normal_(model.head.fc.weight)
    metadata = CheckpointMetadata(
        architecture={"arch": dict(embed_dim=16, depth=1, num_heads=2)},
        img_size=224,
        patch_size=56,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        method="mae + supervised",
        data="ImageNet-1K",
        epochs=1,
    )
    checkpoint = folder / "tiny.safetensors"
    export_model(model, checkpoint, metadata)
    return config, checkpoint


def logits_by_timm(root: Path, model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of a set, by timm's own transform on Pillow images."""
    data_config = resolve_model_data_config(model, use_test_size=True)
    transform = create_transform(**data_config, is_training=False)
    paths = sorted(root.rglob("*.JPEG"))
    images = [transform(Image.open(path).convert("RGB")) for path in paths]
    labels = torch.tensor([LABELS[path.parent.name] for path in paths])
    with torch.no_grad():
        return model(torch.stack(images)), labels


def test_our_model_on_all_sets(test_tool, tiny, sets):
    config, checkpoint = tiny
    options = ["--cfg-options", *FAST, f"test_dataloader.dataset.data_root={sets}"]
    cell = ["--cell", "Table 13", "IN-Adversarial", "ViT-B"]
    code, out, err = test_tool(config, checkpoint, "--out", "record.json", *cell, *options)
    assert code == 0, err
    record = read_record("record.json")
    assert record.data_counts == {
        "imagenet_val": 6,
        "imagenet_a": 4,
        "imagenet_r": 4,
        "imagenet_sketch": 6,
        "imagenet_c": 6,
    }
    identified = {name: entry["samples"] for name, entry in record.data.items()}
    assert identified == record.data_counts
    assert len({entry["digest"] for entry in record.data.values()}) == 5
    metrics = record.metrics
    of_subsets = {
        f"imagenet_{name}/{figure}"
        for name in "ar"
        for figure in ("top1", "clean_top1", "top1_1000way")
    }
    assert of_subsets | {"imagenet_val/top1", "imagenet_val/top5", "imagenet_sketch/top1"} <= set(
        metrics
    )
    fog = [metrics[f"imagenet_c/error/fog/{severity}"] for severity in range(1, 6)]
    assert metrics["imagenet_c/error/fog"] == pytest.approx(sum(fog) / 5)
    assert metrics["imagenet_c/mean_error"] == pytest.approx(sum(fog) / 5)
    # Snow lacks severities, and most corruptions are missing: no figure for the whole.
    assert "imagenet_c/error/snow/3" in metrics
    assert "imagenet_c/error/snow" not in metrics and "imagenet_c/mCE" not in metrics
    assert "no gaussian_noise, shot_noise" in out
    assert "snow/1" in " ".join(record.run_card["missing"])
    assert "missing: imagenet_c" in out and "ImageNet-Sketch" in out
    assert "35.9" in out  # Table 13
    claim = {"table": "Table 13", "row": "IN-Adversarial", "column": "ViT-B"}
    assert {key: record.cells[0][key] for key in claim} == claim
    assert any("embed_dim" in text for text in record.cells[0]["differs"])
    assert record.run_card["precision"] == "float32"


def test_missing_sets_are_named_and_the_rest_evaluated(test_tool, tiny, tmp_path):
    class_folders(tmp_path / "sets/sketch", (STINGRAY,), per_class=1)
    config, checkpoint = tiny
    options = ["--cfg-options", *FAST, "test_dataloader.dataset.data_root=sets"]
    code, out, err = test_tool(config, checkpoint, *options)
    assert code == 0, err
    assert re.findall(r"missing: (\w+)", out) == [
        "imagenet_val",
        "imagenet_a",
        "imagenet_r",
        "imagenet_v2",
        "imagenet_v2_threshold",
        "imagenet_v2_top",
        "imagenet_c",
        "cue_conflict",
    ]
    record = only_record()
    assert [*record.metrics] == [
        f"imagenet_sketch/{figure}" for figure in ("top1", "confidence", "ece")
    ]


def test_sets_of_other_names_empty_ones_and_parts(test_tool, tiny, tmp_path):
    config, checkpoint = tiny
    class_folders(tmp_path / "sets/imagenet/val", (TENCH, STINGRAY), size=(230, 230))
    # The same pictures, in folders named by their labels as ImageNet-V2's.
    v2 = tmp_path / "sets/imagenetv2"
    class_folders(v2, (TENCH, STINGRAY), size=(230, 230))
    for name in (TENCH, STINGRAY):
        (v2 / name).rename(v2 / str(LABELS[name]))
    (tmp_path / "sets/imagenet-r").mkdir()
    for severity in range(1, 6):
        per_class = 1 if severity == 3 else 2
        class_folders(tmp_path / f"sets/imagenet-c/fog/{severity}", (TENCH,), per_class=per_class)
    options = ["--cfg-options", *FAST, "test_dataloader.dataset.data_root=sets"]
    options.append("test_dataloader.dataset.folders.imagenet_v2=imagenetv2")
    code, out, err = test_tool(config, checkpoint, *options)
    assert code == 0, err
    record = only_record()
    assert record.metrics["imagenet_v2/top1"] == record.metrics["imagenet_val/top1"]
    assert record.data_counts["imagenet_v2"] == 4
    missing = record.run_card["missing"]
    assert "imagenet_r: nothing in sets/imagenet-r" in missing
    assert "imagenet_c/fog/3: 1 of 2 images are in sets/imagenet-c/fog/3" in missing
    assert re.search(r"ImageNet-V2, matched frequency +4 +top-1", out)


def test_no_set_at_all_is_an_error(test_tool, tiny, tmp_path):
    (tmp_path / "data").mkdir()
    code, out, err = test_tool(*tiny)
    assert code == 2
    assert "no robustness set found: imagenet_val: no folder data/imagenet/val" in err


def test_interrupted_run_goes_on_with_the_sets_left(test_tool, tiny, sets, monkeypatch):
    config, checkpoint = tiny
    options = ["--cfg-options", *FAST, f"test_dataloader.dataset.data_root={sets}"]
    read: list[str] = []
    read_item = RobustnessSets.__getitem__

    def reading(dataset: RobustnessSets, index: int) -> dict:
        item = read_item(dataset, index)
        read.append(dataset.parts[item["part"]].name)
        if stop_after and len(read) == stop_after:
            raise KeyboardInterrupt
        return item

    monkeypatch.setattr(RobustnessSets, "__getitem__", reading)
    stop_after = 0
    assert test_tool(config, checkpoint, "--work-dir", "whole", *options)[0] == 0
    whole = read_record("whole/record.json").metrics
    assert len(read) == 26

    read.clear()
    stop_after = 17  # batches of 7: val and A are through after 14 pictures
    code, _, err = test_tool(config, checkpoint, "--work-dir", "work", *options)
    assert code == 130 and "Traceback" not in err
    assert not Path("work/record.json").exists()
    assert set(json.loads(Path("work", ROBUSTNESS_NAME).read_text())["parts"]) == {
        "imagenet_val",
        "imagenet_a",
        "imagenet_r",
    }

    read.clear()
    stop_after = 0
    assert test_tool(config, checkpoint, "--work-dir", "work", *options)[0] == 0
    assert len(read) == 26 - 14
    assert "imagenet_val" not in read and "imagenet_a" not in read
    assert read_record("work/record.json").metrics == whole
    counts = read_record("work/record.json").data_counts
    assert counts["imagenet_val"] == 6

    # Nothing is left; the record is written again from the state.
    read.clear()
    Path("work/record.json").unlink()
    assert test_tool(config, checkpoint, "--work-dir", "work", *options)[0] == 0
    assert read == [] and read_record("work/record.json").metrics == whole

    # Another checkpoint, or another config, starts afresh.
    other = Path("other.safetensors")
    tensors, metadata = load_checkpoint(checkpoint)
    save_checkpoint(other, {**tensors, "head.fc.bias": tensors["head.fc.bias"] + 1.0}, metadata)
    for arguments in ((config, other), (config, checkpoint)):
        read.clear()
        Path("work/record.json").unlink()  # which would not be replaced by another one's
        changed = [*options, "test_dataloader.dataset.resize_c=True"]
        assert test_tool(*arguments, "--work-dir", "work", *changed)[0] == 0
        assert len(read) == 26


def test_new_files_are_evaluated_although_the_set_was_done(test_tool, tiny, tmp_path):
    class_folders(tmp_path / "sets/sketch", (STINGRAY,), per_class=1)
    class_folders(tmp_path / "sets/imagenet-r", (STINGRAY,), per_class=1)
    options = ["--cfg-options", *FAST, "test_dataloader.dataset.data_root=sets"]
    assert test_tool(*tiny, *options)[0] == 0
    class_folders(tmp_path / "sets/sketch", (TENCH,), per_class=1)
    code, _, err = test_tool(*tiny, *options)
    assert code == 0, err
    assert only_record().data_counts["imagenet_sketch"] == 2


def test_replaced_files_are_evaluated_although_the_set_was_done(
    test_tool, tiny, tmp_path, monkeypatch
):
    class_folders(tmp_path / "sets/sketch", (STINGRAY, TENCH), per_class=1)
    options = ["--cfg-options", *FAST, "test_dataloader.dataset.data_root=sets"]
    assert test_tool(*tiny, *options)[0] == 0
    before = only_record().data
    code, out, err = test_tool(*tiny, *options)
    assert code == 0 and "1 parts are evaluated already" in out + err
    assert only_record().data == before
    path = next(Path("sets/sketch").rglob("*.JPEG"))
    Image.new("RGB", (333, 222), "green").save(path)
    code, out, err = test_tool(*tiny, *options)
    assert code == 0 and "evaluated already" not in out + err
    assert only_record().data != before

    read = RobustnessSets.__getitem__

    def replacing(dataset: RobustnessSets, index: int) -> dict:
        Image.new("RGB", (111, 222), "red").save(path)
        return read(dataset, index)

    monkeypatch.setattr(RobustnessSets, "__getitem__", replacing)
    code, _, err = test_tool(*tiny, "--work-dir", "work", *options)
    assert code == 2 and "imagenet_sketch: files below sets/sketch were changed while" in err


def test_corruptions_made_on_the_fly_are_marked(test_tool, tiny, tmp_path, monkeypatch):
    class_folders(tmp_path / "sets/imagenet/val", (TENCH,), per_class=1, size=(300, 260))
    options = ["test_dataloader.dataset.data_root=sets", "test_dataloader.dataset.corrupt_val=True"]
    code, out, err = test_tool(*tiny, "--cfg-options", *FAST, *options)
    assert code == 0, err
    record = only_record()
    assert record.data_counts == {"imagenet_val": 1, "corrupted_val": 75}
    errors = {name: record.metrics[f"corrupted_val/error/{name}"] / 100 for name in CORRUPTIONS}
    assert record.metrics["corrupted_val/mCE"] == pytest.approx(mean_corruption_error(errors))
    assert not any(name.startswith("imagenet_c") for name in record.metrics)
    assert "not the distributed files" in record.run_card["corruptions"]
    assert "not the distributed files" in " ".join(out.split())


def test_timm_model_with_its_own_transform_gives_what_timm_gives(test_tool, sets, tmp_path):
    torch.manual_seed(2)
    model = timm.create_model("test_vit.r160_in1k").eval()
    # Only labels that occur, and different ones for different pictures: some are right by chance.
    occurring = list(LABELS.values())
    torch.nn.init.normal_(model.head.weight, std=3.0)
    model.head.bias.data.fill_(-1e4)
    model.head.bias.data[occurring] = 0
    mean = logits_by_timm(sets / "imagenet-a", model)[0].mean(dim=0)
    model.head.bias.data[occurring] = -mean[occurring]
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    code, _, err = test_tool(
        CONFIGS / "timm_robustness_in1k.py",
        tmp_path / "model.safetensors",
        "--cfg-options",
        *FAST,
        "model.model_name=test_vit.r160_in1k",
        f"test_dataloader.dataset.data_root={sets}",
    )
    assert code == 0, err
    metrics = only_record().metrics

    logits, labels = logits_by_timm(sets / "imagenet-a", model)
    subset = torch.tensor(subset_indices("imagenet_a"))
    expected_a = 100 * (subset[logits[:, subset].argmax(1)] == labels).float().mean().item()
    expected_a_1000way = 100 * (logits.argmax(1) == labels).float().mean().item()
    logits, labels = logits_by_timm(sets / "imagenet/val", model)
    expected_val = 100 * (logits.argmax(1) == labels).float().mean().item()
    inside = torch.isin(labels, subset)
    in_subset = subset[logits[inside][:, subset].argmax(1)] == labels[inside]
    expected_clean = 100 * in_subset.float().mean().item()
    # Not the figures that nothing but chance or a constant answer would give.
    assert expected_a == 100 and expected_a_1000way == 50 and expected_val == 50
    assert metrics["imagenet_a/top1"] == pytest.approx(expected_a)
    assert metrics["imagenet_a/top1_1000way"] == pytest.approx(expected_a_1000way)
    assert metrics["imagenet_val/top1"] == pytest.approx(expected_val)
    assert metrics["imagenet_a/clean_top1"] == pytest.approx(expected_clean)


def test_v2_real_labels_cue_conflicts_and_calibration(test_tool, tmp_path):
    """Every figure beside the one of timm's logits, worked out from the files' names."""
    root = tmp_path / "sets"
    real = real_labels([f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 9)])
    for number in range(1, 9):  # the first has no ReaL label
        name = TENCH if number % 2 else STINGRAY
        picture(root / f"imagenet/val/{name}/ILSVRC2012_val_{number:08d}.JPEG", (230, 260), number)
    for number in range(6):
        label = LABELS[(TENCH, STINGRAY)[number % 2]]
        for variant in ("matched-frequency", "threshold0.7", "top-images"):
            path = root / f"imagenetv2-{variant}-format-val/{label}/{variant}{number}.jpeg"
            picture(path, (240, 240), 100 + number)
    class_folders(root / "imagenet-a", (STINGRAY, GOLDFINCH), per_class=4, size=(280, 400))
    cues = ("dog1-cat2", "dog2-dog3", "cat1-dog1", "cat3-truck1", "truck2-cat1", "truck3-dog2")
    for number, name in enumerate(cues):
        folder = re.match("[a-z]+", name)[0]
        picture(root / f"cue-conflict/{folder}/{name}.png", seed=200 + number)

    torch.manual_seed(1)
    model = timm.create_model("test_vit.r160_in1k").eval()
    data_config = resolve_model_data_config(model, use_test_size=True)
    transform = create_transform(**data_config, is_training=False)

    def logits(folder: str) -> tuple[list[Path], torch.Tensor]:
        paths = sorted((root / folder).rglob("*.*"))
        images = [transform(Image.open(path).convert("RGB")) for path in paths]
        with torch.no_grad():
            return paths, model(torch.stack(images)).double()

    def probabilities(folder: str) -> tuple[list[Path], np.ndarray]:
        paths, found = logits(folder)
        return paths, found.softmax(dim=1).numpy()

    # Labels that occur, different ones for different pictures: some are right by chance.
    torch.nn.init.normal_(model.head.weight, std=1.5)
    mean = torch.cat([logits(folder)[1] for folder in ("imagenet/val", "cue-conflict")]).mean(dim=0)
    wanted = [*LABELS.values(), *real[real >= 0]]
    wanted += [label for name in ("cat", "truck") for label in CATEGORIES[name]]
    model.head.bias.data.fill_(-1e4)
    model.head.bias.data[wanted] = -mean[wanted].float()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    code, out, err = test_tool(
        CONFIGS / "timm_robustness_in1k.py",
        tmp_path / "model.safetensors",
        "--cfg-options",
        *FAST,
        "model.model_name=test_vit.r160_in1k",
        f"test_dataloader.dataset.data_root={root}",
    )
    assert code == 0, err
    metrics = only_record().metrics

    paths, found = probabilities("imagenet/val")
    best = found.argmax(axis=1)
    numbers = [int(path.stem[-8:]) - 1 for path in paths]
    labels = np.array([LABELS[path.parent.name] for path in paths])
    counted = [best[i] in real[n] for i, n in enumerate(numbers) if (real[n] >= 0).any()]
    assert len(counted) < 8 and sum(counted) > 0
    assert metrics["imagenet_val/real_top1"] == pytest.approx(100 * np.mean(counted))
    error = expected_calibration_error(found.max(axis=1), best == labels)
    assert metrics["imagenet_val/ece"] == pytest.approx(100 * error, abs=0.2)

    for name, variant in (
        ("", "matched-frequency"),
        ("_threshold", "threshold0.7"),
        ("_top", "top-images"),
    ):
        paths, found = probabilities(f"imagenetv2-{variant}-format-val")
        right = found.argmax(axis=1) == [int(path.parent.name) for path in paths]
        assert metrics[f"imagenet_v2{name}/top1"] == pytest.approx(100 * right.mean())
        confidence = metrics[f"imagenet_v2{name}/confidence"]
        assert confidence == pytest.approx(100 * found.max(axis=1).mean(), abs=0.2)

    # of the 200 classes that the set has
    paths, found = probabilities("imagenet-a")
    subset = np.array(subset_indices("imagenet_a"))
    found = found[:, subset] / found[:, subset].sum(axis=1, keepdims=True)
    right = subset[found.argmax(axis=1)] == [LABELS[path.parent.name] for path in paths]
    error = expected_calibration_error(found.max(axis=1), right)
    assert metrics["imagenet_a/ece"] == pytest.approx(100 * error, abs=0.2)

    paths, found = probabilities("cue-conflict")
    averages = np.stack([found[:, labels].mean(axis=1) for labels in CATEGORIES.values()], axis=1)
    decisions = [list(CATEGORIES)[place] for place in averages.argmax(axis=1)]
    cues = [re.match("([a-z]+).*-([a-z]+)", path.name).groups() for path in paths]
    pairs = [(one, *cue) for one, cue in zip(decisions, cues, strict=True) if cue[0] != cue[1]]
    assert len(pairs) == 5
    shape, texture = (sum(pair[0] == pair[i] for pair in pairs) for i in (1, 2))
    assert metrics["cue_conflict/shape"] == pytest.approx(100 * shape / 5)
    assert metrics["cue_conflict/texture"] == pytest.approx(100 * texture / 5)
    assert (shape, texture) == (1, 2)  # so that no constant answer would do
    assert metrics["cue_conflict/shape_bias"] == pytest.approx(100 * shape / (shape + texture))
    assert "shape bias" in out and "ReaL" in out


def test_timm_model_without_weights(test_tool):
    code, _, err = test_tool(CONFIGS / "timm_robustness_in1k.py")
    assert code == 2 and "CHECKPOINT is missing" in err


@pytest.mark.parametrize("name", ["test_vitt.r160_in1k", "test_vit.r161_in1k"])
def test_timm_model_that_there_is_not(name):
    with pytest.raises(ValueError, match=f"no model '{name}'; did you mean test_vit.r160_in1k"):
        TimmModel(name)


def test_timm_s_weights_without_a_network(test_tool, sets, monkeypatch):
    def offline(*args, **options):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(timm.models, "create_model", offline)
    options = ["model.pretrained=True", "model.model_name=test_vit.r160_in1k"]
    data = f"test_dataloader.dataset.data_root={sets}"
    code, _, err = test_tool(
        CONFIGS / "timm_robustness_in1k.py", "--cfg-options", *FAST, *options, data
    )
    assert code == 2
    assert "timm's weights of 'test_vit.r160_in1k' are neither in its cache" in err
    assert "give a CHECKPOINT" in err


def test_timm_model_with_timm_s_weights(test_tool, sets, monkeypatch):
    asked: list[bool] = []
    create_model = timm.models.create_model

    def without_download(*args, pretrained: bool, **options) -> torch.nn.Module:
        asked.append(pretrained)
        return create_model(*args, pretrained=False, **options)

    monkeypatch.setattr(timm.models, "create_model", without_download)
    options = ["model.pretrained=True", "model.model_name=test_vit.r160_in1k"]
    data = f"test_dataloader.dataset.data_root={sets}"
    code, _, err = test_tool(
        CONFIGS / "timm_robustness_in1k.py", "--cfg-options", *FAST, *options, data
    )
    assert code == 0, err
    assert asked == [True]
    record = only_record()
    assert record.initialisation == "test_vit.r160_in1k" and record.checkpoint is None


def test_checkpoint_of_another_model(test_tool, sets, tmp_path):
    tensors = timm.create_model("test_vit.r160_in1k").state_dict()
    tensors["head.weight"] = tensors["head.weight"][:10].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    options = ["model.model_name=test_vit.r160_in1k", f"test_dataloader.dataset.data_root={sets}"]
    code, _, err = test_tool(
        CONFIGS / "timm_robustness_in1k.py", "model.safetensors", "--cfg-options", *FAST, *options
    )
    assert code == 2
    assert "head.weight is (10, 64), model needs (1000, 64)" in err


def test_mmpretrain_config(test_tool, sets, tmp_path):
    init_default_scope("mmpretrain")
    backbone = dict(type="MobileNetV2", widen_factor=0.1)
    (tmp_path / "mobile.py").write_text(
        f"""
model = dict(type="ImageClassifier", backbone={backbone}, neck=dict(type="GlobalAveragePooling"),
             head=dict(type="LinearClsHead", num_classes=1000, in_channels=1280))
data_preprocessor = dict(num_classes=1000, mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type="LoadImageFromFile"), dict(type="ResizeEdge", scale=72, edge="short"),
    dict(type="CenterCrop", crop_size=64), dict(type="PackInputs")]))
"""
    )
    model = mmpretrain_model(str(tmp_path / "mobile.py"))
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    assert model.eval_transform.size == 64
    torch.save({"state_dict": model.state_dict(), "meta": {"epoch": 1}}, tmp_path / "mobile.pth")
    code, _, err = test_tool(
        CONFIGS / "mmpretrain_robustness_in1k.py",
        tmp_path / "mobile.pth",
        "--cfg-options",
        *FAST,
        f"model.config={tmp_path / 'mobile.py'}",
        f"test_dataloader.dataset.data_root={sets}",
    )
    assert code == 0, err
    record = only_record()
    assert record.data_counts["imagenet_c"] == 6 and record.cells == []


def test_mmpretrain_config_whose_base_imports_something():
    """MMEngine refuses it unless told the style of the file."""
    model = mmpretrain_model("replknet/replknet-31B_32xb64_in1k-384px.py")
    assert model.eval_transform.size == 384


@pytest.mark.parametrize("to_rgb", [True, False])
def test_normalised_as_the_preprocessor_does(to_rgb):
    init_default_scope("mmpretrain")
    options = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=to_rgb)
    preprocessor = MODELS.build(dict(type="ClsDataPreprocessor", **options))
    rgb = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = preprocessor(dict(inputs=rgb.flip(1)))["inputs"]
    assert torch.equal(normalise(rgb, preprocessor), expected)
    padding = MODELS.build(dict(type="ClsDataPreprocessor", pad_size_divisor=8, **options))
    assert normalise(rgb, padding).shape == (2, 3, 8, 8)


def test_logits_of_one_head_and_of_two():
    first, second = torch.rand(2, 3, 1000)
    assert torch.equal(class_logits(first, 1000), first)
    assert torch.equal(class_logits((first, second), 1000), first + second)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (torch.rand(3, 21841), r"outputs of \(3, 21841\)"),
        ((torch.rand(3, 64, 7, 7),), r"outputs of \(3, 64, 7, 7\)"),
        ({"a": torch.rand(3, 1000)}, "no logits"),
    ],
)
def test_outputs_that_are_no_logits_of_imagenet(output, found):
    with pytest.raises(ValueError, match=f"the model gives {found}; .* 1000 classes"):
        class_logits(output, 1000)


def test_counts_by_hand():
    a, r = (set(subset_indices(name)) for name in ("imagenet_a", "imagenet_r"))
    subsets = torch.zeros(2, 1000, dtype=torch.bool)
    subsets[0, list(a)], subsets[1, list(r)] = True, True
    logits = torch.zeros(4, 1000)
    # Stingray (6, in A and R) is second to tench (0, in neither): wrong 1000-way, right of 200.
    logits[0, 0], logits[0, 6] = 3.0, 2.0
    # Goldfish (1, in R alone) is first: right 1000-way and of R; not A's business.
    logits[1, 1] = 3.0
    # Tench is the label and best: right 1000-way, never right of a subset.
    logits[2, 0] = 3.0
    # No number.
    logits[3, 5] = torch.nan
    # ReaL: the first has its best class among several, the second has none.
    further = torch.tensor([[9, 0, 6], [-1, -1, -1], [1, 2, -1], [-1, -1, -1]])
    hits = count_hits(logits, torch.tensor([6, 1, 0, 7]), subsets, further)
    expected = [[0, 1, 1, 1, 0, 1], [1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert hits[:3].int().tolist() == expected
    assert hits[3, COUNTS.index("not_finite")]


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, with 15 bins."""
    error = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.sum() / len(confidence) * gap
    return error


def test_calibration_is_that_of_the_formula():
    torch.manual_seed(0)
    logits = 4 * torch.randn(500, 10)
    logits[:20] *= 100  # confidence 1, the end of the last bin
    logits[20:40] = 0  # confidence 1/10
    labels = torch.randint(0, 10, (500,))
    labels[::2] = logits[::2].argmax(dim=1)
    found = count_confidence(logits, labels).sum(dim=0)
    metrics = calibration_metrics(dict(zip(BIN_COUNTS, found.tolist(), strict=True)))
    probabilities = logits.double().softmax(dim=1).numpy()
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels.numpy()
    expected = expected_calibration_error(confidence, right)
    assert expected > 0.1
    assert metrics["ece"] == pytest.approx(100 * expected, rel=1e-9)
    assert metrics["confidence"] == pytest.approx(100 * confidence.mean(), rel=1e-9)


def test_decisions_for_shape_and_texture():
    """Averaged over a category's classes: by sums the 109 dogs would win the first picture."""
    order = list(CATEGORIES)
    dog, truck, knife = (order.index(name) for name in ("dog", "truck", "knife"))
    probabilities = torch.full((5, 1000), 1e-6)
    probabilities[0, list(CATEGORIES["dog"])] = 0.005  # 0.545 together
    probabilities[0, list(CATEGORIES["truck"])] = 0.04  # 0.32 together
    probabilities[1, CATEGORIES["knife"]] = 0.9
    probabilities[2, CATEGORIES["dog"][7]] = 0.9
    probabilities[3, CATEGORIES["truck"][3]] = 0.9
    probabilities[4, CATEGORIES["oven"]] = 0.9
    logits = (probabilities / probabilities.sum(dim=1, keepdim=True)).log()
    shapes = torch.tensor([truck, dog, dog, dog, dog])
    textures = torch.tensor([dog, knife, dog, truck, truck])
    # by shape; by texture; no conflict; by texture; by neither
    expected = [[1, 0], [0, 1], [0, 0], [0, 1], [0, 0]]
    assert count_cues(logits, shapes, textures).int().tolist() == expected


def test_categories_are_classes_of_their_name():
    """The words that WordNet has for ImageNet's classes, and how many there are of each."""
    lemmas = (files("timm.data") / "_info/imagenet_synset_to_lemma.txt").read_text().splitlines()
    words = dict(line.split("\t")[:2] for line in lemmas)
    names = [words[wordnet_id] for wordnet_id in imagenet_classes()]
    for category in ("bear", "bottle", "chair", "clock", "elephant", "keyboard"):
        others = dict(bottle=("jug",), chair=("throne",)).get(category, ())
        for label in CATEGORIES[category]:
            assert any(word in names[label] for word in (category, *others))
    counts = {name: len(labels) for name, labels in CATEGORIES.items()}
    # as many as the authors' lists have: 49 birds, 109 dogs
    assert counts == dict(
        airplane=1, bear=4, bicycle=2, bird=49, boat=5, bottle=7, car=3, cat=6, chair=4, clock=3,
        dog=109, elephant=2, keyboard=2, knife=1, oven=1, truck=8,
    )  # fmt: skip
    assert len({label for labels in CATEGORIES.values() for label in labels}) == 207


def test_real_labels_give_what_timm_gives():
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50001)]
    rng = np.random.default_rng(0)
    further = real_labels(names)
    # right for about half of the pictures that have labels
    predictions = np.where(
        rng.random(50000) < 0.5, further[:, 0].clip(0), rng.integers(0, 1000, 50000)
    )
    theirs = RealLabelsImagenet(names, topk=(1,))
    for part in np.split(predictions, 50):
        theirs.add_result(torch.nn.functional.one_hot(torch.from_numpy(part), 1000).float())
    labelled = (further >= 0).any(axis=1)
    assert labelled.sum() == 46837  # as the paper says
    right = (predictions[:, None] == further).any(axis=1)
    assert 100 * right[labelled].mean() == pytest.approx(theirs.get_accuracy(1))
    assert not right[~labelled].any()
    assert np.array_equal(real_labels([f"n01440764/{names[7]}"]), further[7:8])
    assert real_labels(["n01440764_2.JPEG"]) is None


def test_metrics_by_hand():
    class Images:
        def __init__(self, labels: list[int]) -> None:
            self.labels = np.array(labels)

        def __len__(self) -> int:
            return len(self.labels)

    def counted(top1: int, a: int = 0, r: int = 0, **bins: int) -> dict[str, int]:
        bins = bins or dict(seen_14=1)
        return (
            dict.fromkeys(COUNTS, 0) | dict(top1=top1, top5=top1, imagenet_a=a, imagenet_r=r) | bins
        )

    parts = [
        Part("imagenet_val", Images([0, 6, 6, 11, 1])),
        Part("imagenet_a", Images([6, 11, 11, 11])),
        *(Part(f"imagenet_c/{c}/{s}", Images([0] * 10)) for c in CORRUPTIONS for s in range(1, 6)),
    ]
    hits = {"imagenet_val": counted(4, a=2, r=3), "imagenet_a": counted(1, a=3)}
    # Severity s has s errors of 10 pictures: 30 % on average; its confidence is 90 %.
    for part in parts[2:]:
        right = 10 - int(part.name[-1])
        hits[part.name] = counted(right, seen_13=10, right_13=right, confidence_13=9 * UNIT)
    metrics = robustness_metrics(hits, parts)
    assert metrics["imagenet_val/top1"] == pytest.approx(80)
    assert metrics["imagenet_a/top1"] == pytest.approx(75)
    assert metrics["imagenet_a/top1_1000way"] == pytest.approx(25)
    # Three of the five val pictures are of A's classes, two of them right.
    assert metrics["imagenet_a/clean_top1"] == pytest.approx(200 / 3)
    assert metrics["imagenet_c/error/fog/4"] == pytest.approx(40)
    assert metrics["imagenet_c/mean_error"] == pytest.approx(30)
    expected = 100 / 15 * sum(0.3 / error for error in ALEXNET_ERRORS.values())
    assert metrics["imagenet_c/mCE"] == pytest.approx(expected)
    assert metrics["imagenet_c/confidence"] == pytest.approx(90)
    # |90 - 90|, |80 - 90|, ... over the severities
    assert metrics["imagenet_c/ece"] == pytest.approx((0 + 10 + 20 + 30 + 40) / 5)
    relative = 100 / 15 * sum(0.1 / (error - 0.43478) for error in ALEXNET_ERRORS.values())
    assert metrics["imagenet_c/relative_mCE"] == pytest.approx(relative)


def test_corruptions_have_denominators():
    assert set(CORRUPTIONS) == set(ALEXNET_ERRORS)
