"""What people get wrong ends in one clear line, a code that is not 0, and nothing overwritten."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import FEW_LABELS, ROOT, SHRINK, Outcome

FINETUNE = ROOT / "configs/cls/vit_mini_finetune_miniworld.py"
PRETRAIN = ROOT / "configs/pretrain/mae_vit_mini_miniworld.py"
OPTIONS = ["--cfg-options", *SHRINK, *FEW_LABELS]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_one_line(ended: Outcome, *words: str) -> None:
    assert ended.code == 2
    assert "Traceback" not in ended.stdout + ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ended.stderr
    for word in words:
        assert word in lines[0], lines[0]
    # The line alone, not where in the code it came from: it is no surprise to us.
    assert "where:" not in ended.stderr


def write_config(path: Path, **changes: str) -> Path:
    """A config of one's own that inherits the fine-tuning recipe by hand, with lines replaced."""
    text = FINETUNE.read_text().replace("from ..default_runtime", "from .default_runtime")
    shutil.copy(ROOT / "configs/default_runtime.py", path.parent)
    for old, new in changes.items():
        assert f"\n{old} =" in text
        text = text.replace(f"\n{old} =", f"\n{new} =")
    path.write_text(text)
    return path


@pytest.mark.parametrize("command", ["train.py", "test.py"])
def test_missing_config(run_tool, command):
    extra = ["x.safetensors"] if command == "test.py" else []
    check_one_line(run_tool(command, "absent.py", *extra), "absent.py", "no such config file")
    assert not Path("work_dirs").exists()


def test_missing_and_misspelt_config_key(run_tool, workplace):
    config = write_config(workplace / "mine.py", model="modle")
    ended = run_tool("train.py", config, *OPTIONS[:1], "train_cfg.max_epochs=1")
    check_one_line(ended, "mine.py", "'model' is missing", "'modle'")
    config = write_config(workplace / "other.py", train_dataloader="train_dataloder")
    ended = run_tool("train.py", config)
    check_one_line(ended, "other.py", "'train_dataloder'", "did you mean 'train_dataloader'")
    assert not Path("work_dirs").exists()


def test_misspelt_override(workplace):
    # As people run it, once: the code and the streams of a real process.
    ended = subprocess.run(
        [sys.executable, ROOT / "tools/train.py", FINETUNE, "--cfg-options", "model.bakbone.x=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    check_one_line(
        Outcome(ended.returncode, ended.stdout, ended.stderr),
        "'bakbone'",
        "did you mean 'backbone'",
    )
    assert not Path("work_dirs").exists()


def test_checkpoint_of_another_architecture(run_tool):
    arch = ["model.backbone.arch.depth=2"]
    ended = run_tool("train.py", FINETUNE, "--work-dir", "a", *OPTIONS, *arch)
    assert ended.code == 0, ended.stderr
    checkpoint = "a/checkpoint.safetensors"
    before = contents(Path("a"))
    ended = run_tool("train.py", FINETUNE, "--work-dir", "b", "--checkpoint", checkpoint, *OPTIONS)
    check_one_line(ended, checkpoint, "depth 2", "model 4")
    assert not list(Path("b").rglob("*.safetensors")) and not Path("b/record.json").exists()
    ended = run_tool("test.py", FINETUNE.with_name("vit_mini_robustness_miniworld.py"), checkpoint)
    check_one_line(ended, checkpoint, "another model")
    assert contents(Path("a")) == before


def test_checkpoint_that_is_none(run_tool):
    ended = run_tool("train.py", FINETUNE, "--checkpoint", "absent.safetensors", *OPTIONS)
    check_one_line(ended, "absent.safetensors", "no such checkpoint file")
    Path("text.safetensors").write_text("not a checkpoint")
    ended = run_tool("train.py", FINETUNE, "--checkpoint", "text.safetensors", *OPTIONS)
    check_one_line(ended, "text.safetensors")


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_cannot_be_decoded(run_tool, workplace, tiny_world, workers):
    Path("data/miniworld").unlink()
    shutil.copytree(tiny_world, "data/miniworld")
    for image in Path("data/miniworld/imagenet/train").rglob("*.JPEG"):
        image.write_bytes(b"")
    ended = run_tool("train.py", FINETUNE, "--work-dir", "work", *OPTIONS)
    check_one_line(ended, "data/miniworld: its files are not those that were built")
    Path("data/miniworld/dataset.json").unlink()  # from here on it is somebody's own data
    option = f"train_dataloader.num_workers={workers}"
    ended = run_tool("train.py", FINETUNE, "--work-dir", "work", *OPTIONS, option)
    check_one_line(ended, "data/miniworld/imagenet/train/digit_", ".JPEG", "cannot be decoded")
    assert not Path("work/record.json").exists()


def test_input_size_that_the_patch_does_not_divide(run_tool):
    ended = run_tool("train.py", FINETUNE, *OPTIONS, "train_dataloader.dataset.pipeline.1.scale=30")
    check_one_line(ended, "30x30", "4x4 patches", "28x28")


def test_work_directory_of_another_config(run_tool):
    ended = run_tool("train.py", FINETUNE, "--work-dir", "work", *OPTIONS)
    assert ended.code == 0, ended.stderr
    before = contents(Path("work"))
    for config, options in (
        (PRETRAIN, ["train_cfg.max_epochs=3"]),
        (FINETUNE, [*SHRINK, *FEW_LABELS, "optim_wrapper.optimizer.lr=1.0"]),
    ):
        for resume in ([], ["--resume"]):
            ended = run_tool(
                "train.py", config, "--work-dir", "work", *resume, "--cfg-options", *options
            )
            check_one_line(ended, "work: holds a run with other settings", "--work-dir")
    ended = run_tool("train.py", FINETUNE, "--work-dir", "work", *OPTIONS)
    check_one_line(ended, "work: this run was started there before", "--resume")
    assert contents(Path("work")) == before


def test_missing_data(run_tool, workplace):
    Path("data/miniworld").unlink()
    ended = run_tool("train.py", FINETUNE, "--work-dir", "work")
    check_one_line(ended, "data/miniworld/imagenet", "make data")
    assert not Path("work").exists()


def test_mixed_precision_without_a_gpu(run_tool, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check_one_line(run_tool("train.py", FINETUNE, "--amp", "float16"), "--amp float16 needs a GPU")
    assert not Path("work_dirs").exists()
