"""A file of another library starts every task: as it is, and converted, alone and in a suite."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from mae_bench.checkpoint.format import read_metadata
from mae_bench.files import sha256_of
from mae_bench.results.record import read_record

from ..hugging_face_names import names_of_4
from .conftest import FEW_LABELS, ROOT, SHRINK

PRETRAIN = ROOT / "configs/pretrain/mae_vit_mini_miniworld.py"
FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
LINEAR = ROOT / "configs/cls/vit_mini_linear_miniworld.py"
ROBUSTNESS = ROOT / "configs/cls/vit_mini_robustness_miniworld.py"
DETECTION = ROOT / "configs/det/mask_rcnn_vit_mini_miniworld.py"
SEGMENTATION = ROOT / "configs/seg/upernet_vit_mini_miniworld.py"
OPTIONS = {
    PRETRAIN: [option for option in SHRINK if not option.startswith("val_")],
    FINETUNE: [*SHRINK, *FEW_LABELS],
    DETECTION: SHRINK,
    SEGMENTATION: SHRINK,
}


@pytest.fixture
def hugging_face(workplace) -> dict[str, torch.Tensor]:
    """``hf/model.safetensors`` as transformers writes it, of the size of MiniWorld's ViT."""
    config = ViTMAEConfig(
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        image_size=32,
        patch_size=4,
        decoder_hidden_size=64,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=256,
    )
    torch.manual_seed(0)
    model = ViTMAEForPreTraining(config)
    model.save_pretrained("hf")
    return names_of_4(model.state_dict(), ViTMAEForPreTraining)


def report_of(work_dir: str) -> dict:
    return json.loads(Path(work_dir, "record.json").read_text())["checkpoint"]["report"]


@pytest.mark.parametrize("config", OPTIONS, ids=lambda path: path.parent.name)
def test_foreign_file_starts_every_task(run_tool, hugging_face, config):
    foreign = ["--checkpoint", "hf/model.safetensors"]
    # Without a step of training, what is exported is what was loaded.
    still = "optim_wrapper.optimizer.lr=0.0"
    options = [*OPTIONS[config], still, "optim_wrapper.optimizer.weight_decay=0.0"]
    ended = run_tool("train.py", config, "--work-dir", "w", *foreign, "--cfg-options", *options)
    assert ended.code == 0, ended.stderr
    report = report_of("w")
    assert "blocks.3.attn.qkv.weight" in report["loaded"]
    exported = load_file("w/checkpoint.safetensors")
    key = "vit.encoder.layer.3.attention.attention.key.weight"
    assert torch.equal(exported["blocks.3.attn.qkv.weight"][96:192], hugging_face[key])
    mask_token = hugging_face["decoder.mask_token"]
    if config is PRETRAIN:
        assert report["dropped"] == [] and report["share"] == 1.0
        assert torch.equal(exported["decoder.mask_token"], mask_token)
    else:
        assert "decoder.mask_token" in report["dropped"]


def test_initialiser_in_the_config_is_what_the_record_says(run_tool, hugging_face):
    """As OpenMMLab's own docs have it; the run is the same as with ``--checkpoint``."""
    given = "model.backbone.init_cfg"
    options = [f"{given}.type=Pretrained", f"{given}.checkpoint=hf/model.safetensors"]
    for folder, extra in (("a", ["--checkpoint", "hf/model.safetensors"]), ("b", [])):
        ended = run_tool(
            *("train.py", FINETUNE, "--work-dir", folder, *extra, "--cfg-options"),
            *(*OPTIONS[FINETUNE], *(options if not extra else [])),
        )
        assert ended.code == 0, ended.stderr
    records = [read_record(f"{folder}/record.json") for folder in "ab"]
    assert records[0].checkpoint == records[1].checkpoint
    assert records[1].initialisation != "random" and records[0].metrics == records[1].metrics
    assert records[1].checkpoint["sha256"] == sha256_of("hf/model.safetensors")
    method = "as MAE (guessed from names)"
    assert records[1].checkpoint["metadata"]["method"] == method
    assert read_metadata("b/checkpoint.safetensors").method == f"{method} + supervised"


def test_training_state_is_read_by_every_command(run_tool, hugging_face):
    """A run that was killed left ``epoch_1.pth`` and no export."""
    ended = run_tool("train.py", FINETUNE, "--work-dir", "w", "--cfg-options", *OPTIONS[FINETUNE])
    assert ended.code == 0, ended.stderr
    exported = load_file("w/checkpoint.safetensors")
    ended = run_tool("convert_checkpoint.py", "w/epoch_1.pth", "c.safetensors")
    assert ended.code == 0, ended.stderr
    converted = load_file("c.safetensors")
    assert all(torch.equal(converted[name], value) for name, value in exported.items())
    metadata = read_metadata("c.safetensors")
    assert replace(metadata, source=None) == read_metadata("w/checkpoint.safetensors")
    ended = run_tool("inspect_checkpoint.py", "w/epoch_1.pth")
    assert ended.code == 0 and "method" in ended.stdout and "supervised" in ended.stdout
    metrics = {}
    for file in ("w/checkpoint.safetensors", "w/epoch_1.pth"):
        out = Path(file).with_suffix(".record.json")
        ended = run_tool("test.py", ROBUSTNESS, file, "--work-dir", "t", "--out", out)
        assert ended.code == 0, ended.stderr
        metrics[file] = read_record(out).metrics
    assert metrics["w/epoch_1.pth"] == metrics["w/checkpoint.safetensors"]
    ways = {
        "backbone": ["--checkpoint", "w/epoch_1.pth", "--cfg-options"],
        "whole": ["--cfg-options", "load_from=w/epoch_1.pth"],
    }
    for folder, way in ways.items():
        ended = run_tool("train.py", FINETUNE, "--work-dir", folder, *way, *OPTIONS[FINETUNE])
        assert ended.code == 0, ended.stderr
        started = read_record(f"{folder}/record.json").checkpoint
        assert started["metadata"]["method"] == "supervised"
        assert ("head.fc.weight" in started["report"]["loaded"]) is (folder == "whole")


def test_decoder_of_another_size_is_refused(run_tool, hugging_face):
    options = [*OPTIONS[PRETRAIN], "model.decoder.depth=2"]
    ended = run_tool(
        *("train.py", PRETRAIN, "--work-dir", "w", "--checkpoint", "hf/model.safetensors"),
        *("--cfg-options", *options),
    )
    assert ended.code == 2
    assert "its decoder differs in blocks.1." in ended.stderr


def test_kept_epochs_are_exported_beside_the_end(run_tool, workplace):
    options = [option for option in OPTIONS[PRETRAIN] if "max_epochs" not in option]
    options += ["train_cfg.max_epochs=3", "custom_hooks.0.kept_epochs=[1,2]"]
    ended = run_tool("train.py", PRETRAIN, "--work-dir", "w", "--cfg-options", *options)
    assert ended.code == 0, ended.stderr
    names = [f"w/checkpoint{suffix}.safetensors" for suffix in ("_epoch_1", "_epoch_2", "")]
    assert [read_metadata(name).epochs for name in names] == [1, 2, 3]
    tensors = [load_file(name) for name in names]
    assert all("decoder.mask_token" in tensor for tensor in tensors)
    first, second, last = (t["blocks.0.attn.qkv.weight"] for t in tensors)
    assert not torch.equal(first, second) and not torch.equal(second, last)
    exported = read_record("w/record.json").exported
    files = [*exported["kept"], exported]
    assert [f"w/{file['file']}" for file in files] == names
    assert [file["sha256"] for file in files] == [sha256_of(name) for name in names]
    ended = run_tool(
        *("train.py", PRETRAIN, "--work-dir", "x", "--cfg-options"),
        *(*OPTIONS[PRETRAIN], "custom_hooks.0.kept_epochs=[2]"),
    )
    assert ended.code == 2 and "kept_epochs [2] are not among the 1 epochs" in ended.stderr


@pytest.mark.slow
def test_suite_runs_from_a_converted_file(run_tool, hugging_face, monkeypatch):
    ended = run_tool(
        *("convert_checkpoint.py", "hf/model.safetensors", "c.safetensors", "--num-heads", "4")
    )
    assert ended.code == 0, ended.stderr
    assert read_metadata("c.safetensors").source.converter == "hf_vit_mae"

    def task(config: Path, options: list[str]) -> dict:
        pairs = (option.split("=") for option in options)
        overrides = {key: int(v) if v.isdigit() else v for key, v in pairs}
        return dict(config=str(config), overrides=overrides)

    metrics = dict(
        finetune="accuracy/top1",
        linear="accuracy/top1",
        detection="coco/bbox_mAP",
        segmentation="mIoU",
        robustness="imagenet_c/mean_error",
    )

    suite = dict(
        name="converted",
        seeds=[0],
        rows=dict(
            converted=dict(start=dict(checkpoint="c.safetensors")),
            foreign=dict(start=dict(checkpoint="hf/model.safetensors")),
        ),
        columns={name: dict(task=name, metric=metric) for name, metric in metrics.items()},
        tasks=dict(
            finetune=task(FINETUNE, OPTIONS[FINETUNE]),
            linear=task(LINEAR, OPTIONS[FINETUNE]),
            detection=task(DETECTION, SHRINK),
            segmentation=task(SEGMENTATION, SHRINK),
            robustness=dict(config=str(ROBUSTNESS), test="finetune"),
        ),
    )
    Path("suite.yaml").write_text(yaml.safe_dump(suite))
    Path("tools").symlink_to(ROOT / "tools")
    ended = subprocess.run(
        [sys.executable, ROOT / "tools/run_suite.py", "suite.yaml", "--work-dir", "work"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for task_name in suite["tasks"]:
        values = []
        for name in ("converted", "foreign"):
            record = read_record(f"work/seed0/{name}/{task_name}/record.json")
            assert record.status == "completed"
            values.append(record.metrics)
        assert values[0] == values[1]  # the same weights, the same seed
    report = report_of("work/seed0/converted/detection")
    assert "blocks.3.attn.qkv.weight" in report["loaded"]
